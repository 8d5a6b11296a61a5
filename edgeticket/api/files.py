"""Networks to files for runtimes, without a recipe."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeticket.api.paths import StrPath
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.errors import ConversionError, RecipeError, raised_as

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

    from edgeticket.pipeline.convert import Converted
    from edgeticket.pipeline.graph.graph import Graph
    from edgeticket.pipeline.quantize import Scales
    from edgeticket.pipeline.recipe import Ptq

ZIP = b"PK\x03\x04"  # what a .pt2 file begins with
CALIBRATION_BATCH = 32  # inputs at a time: of 224x224 pixels, a gigabyte at most


@dataclass(frozen=True)
class Quantized:
    """A network as a graph twice, in float32 and rounded, and the scales that round it."""

    float_graph: Graph
    graph: Graph  # whose values have scales, and whose weights are codes
    scales: Scales


def quantize(
    network: nn.Module | StrPath | bytes,
    inputs: npt.ArrayLike | Sequence[Tensor],
    *,
    settings: Ptq | Mapping[str, Any] | None = None,
) -> Quantized:
    """Decide the one set of int8 scales of a network from what it does to calibration inputs.

    `convert` makes the runtimes' files of what is returned.

    Args:
        network: a module, or an ONNX or .pt2 file or its bytes; float32.
        inputs: preprocessed as the network takes them, float32 [N, C, H, W], [N, C, W] or [N, C];
            or a sequence of such batches.
        settings: what a recipe's `ptq` may say, e.g. ``{"ranges": "mse"}``; None: its defaults.

    Raises:
        RecipeError: ``settings`` say something that `ptq` cannot.
        ConversionError: the network cannot be read, rounded or exported.
    """
    import torch

    from edgeticket.pipeline.export import export
    from edgeticket.pipeline.network.finished import module_of_file
    from edgeticket.pipeline.quantize import fake_quantized, fold_bn
    from edgeticket.pipeline.quantize import quantize as decide
    from edgeticket.pipeline.recipe import Ptq, check

    if not isinstance(settings, Ptq):
        with raised_as(RecipeError):
            settings = check(Ptq, {"method": "ptq", **(settings or {})}, place="settings")
    if settings.max_drop is not None:
        raise RecipeError(
            "settings.max_drop: a drop is measured on a recipe's validation set, and there is none "
            "here: name layers in keep_fp32, or run a recipe"
        )
    batches = _batches(inputs)
    with raised_as(ConversionError):
        if isinstance(network, torch.nn.Module):
            module = network.eval()
        else:
            data, place = _file(network)
            module = copy.deepcopy(module_of_file(data, place))
        done = decide(module, batches, settings)
        return Quantized(
            float_graph=export(fold_bn(module, tuple(batches[0].shape[1:]))),
            graph=export(fake_quantized(done.folded, done.scales)),
            scales=done.scales,
        )


def convert(
    network: StrPath | bytes | Graph, *, kinds: Sequence[str] | None = None
) -> dict[str, Converted]:
    """Make the runtimes' files of a network.

    Args:
        network: a graph that `quantize` returned, or an ONNX or .pt2 file or its bytes. Of a
            float32 network come float32 files, of an ONNX file that any tool quantised (QDQ or
            QOperator format) int8 ones with the same scales.
        kinds: ``onnx-fp32`` and ``tflite-fp32``, or ``onnx-int8-s8`` (ARM), ``onnx-int8-u8``
            (x86), ``tflite-int8``, and ``onnx-int8-trt`` (TensorRT); None: all that the network can
            become, but for the last, whose codes are others.

    Returns:
        By kind, the file's bytes, and what its input and output tensors are.

    Raises:
        ConversionError: the file cannot be read, or not be written for a runtime.
    """
    from edgeticket.pipeline.convert.foreign import read_any
    from edgeticket.pipeline.convert.settle import is_quantized
    from edgeticket.pipeline.convert.targets import TARGETS
    from edgeticket.pipeline.graph.fold import fold
    from edgeticket.pipeline.graph.graph import Graph

    with raised_as(ConversionError):
        source: Graph | bytes
        if isinstance(network, Graph):
            source, place, rounded = network, "the graph", network.is_quantized()
        else:
            source, place = _file(network)
            rounded = not source.startswith(ZIP) and is_quantized(source, place=place)
        fitting = [kind for kind in TARGETS if ("int8" in kind) == rounded]
        for kind in kinds or ():
            if kind not in fitting:
                raise InputError(f"kinds: {place} becomes {', '.join(fitting)}, not {kind!r}")
        if isinstance(source, bytes) and not rounded:  # what loads torch, which takes seconds
            from edgeticket.pipeline.export import export
            from edgeticket.pipeline.network.finished import module_of_file
            from edgeticket.pipeline.quantize import fold_bn

            module = module_of_file(source, place)
            source = export(fold_bn(module, module.takes))
        elif isinstance(source, bytes):
            source = fold(read_any(source, place=place))
        wanted = [k for k in fitting if not TARGETS[k].optional] if kinds is None else kinds
        return {kind: TARGETS[kind].convert(source) for kind in wanted}


def read_graph(model: StrPath) -> Graph:
    """Read an ONNX file, float32 or quantised by any tool, as a graph that `convert` takes.

    Nothing is calibrated anew: codes and scales are what the file has.

    Raises:
        ConversionError: the file cannot be read, or has what no graph can say.
    """
    from edgeticket.pipeline.convert.foreign import read_any
    from edgeticket.pipeline.formats.onnx_model import read_onnx
    from edgeticket.pipeline.graph.fold import fold

    with raised_as(ConversionError):
        return fold(read_any(read_onnx(Path(model)), place=str(model)))


def _file(given: StrPath | bytes) -> tuple[bytes, str]:
    """The bytes of a file, and what errors call it."""
    from edgeticket.pipeline.formats.onnx_model import read_onnx

    if isinstance(given, bytes):
        return given, "the .pt2 file" if given.startswith(ZIP) else "the ONNX file"
    path = Path(given)
    try:
        with path.open("rb") as file:
            is_program = file.read(len(ZIP)) == ZIP
        return path.read_bytes() if is_program else read_onnx(path), str(given)
    except OSError as error:
        raise InputError(f"cannot read {given}: {error.strerror}") from None


def _batches(inputs: npt.ArrayLike | Sequence[Tensor]) -> list[Tensor]:
    """Calibration inputs as batches, float32 [n, ...]."""
    import numpy as np
    import torch

    if isinstance(inputs, Sequence) and inputs and isinstance(inputs[0], torch.Tensor):
        batches = [batch.detach() for batch in inputs if isinstance(batch, torch.Tensor)]
    else:
        whole = (
            inputs.detach()
            if isinstance(inputs, torch.Tensor)
            else torch.from_numpy(np.array(inputs))
        )
        batches = list(torch.split(whole, CALIBRATION_BATCH))
    if not any(len(batch) for batch in batches):
        raise InputError("inputs: there are none; give some hundred that are like those of its use")
    for batch in batches:
        if batch.dtype != torch.float32 or batch.ndim < 2:
            raise InputError(
                f"inputs are {batch.dtype} of shape {list(batch.shape)}: give them as the network "
                "takes them, float32 with the batch first"
            )
    return batches
