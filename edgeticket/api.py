"""What edgeticket does, as functions; `import edgeticket` offers them, the commands call them.

Each takes its subject first and everything else by keyword, prints nothing unless it is given a
place to show its progress, and raises `InputError`, one sentence with the place, the value and the
way out, for whatever the caller can mend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import read_report
from edgeticket.pipeline.errors import ConversionError, DeviceError, raised_as

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy.typing as npt
    from rich.console import Console
    from torch import Tensor, nn

    from edgeticket.pipeline.compare import Gate
    from edgeticket.pipeline.convert import Converted
    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.devices.fleet_run import Outcome
    from edgeticket.pipeline.inspect.file import FileInspection
    from edgeticket.pipeline.inspect.network import Inspection
    from edgeticket.pipeline.progress import Progress
    from edgeticket.pipeline.quantize import Scales
    from edgeticket.pipeline.recipe import Ptq, Recipe
    from edgeticket.pipeline.run.summary import Summary

    StrPath: TypeAlias = str | Path

__all__ = [
    "Quantized",
    "bench",
    "compare",
    "convert",
    "inspect",
    "quantize",
    "read_recipe",
    "read_report",
    "run",
]

CALIBRATION_BATCH = 32  # inputs at a time: of 224x224 pixels, a gigabyte at most


def run(
    recipe: StrPath | Recipe,
    *,
    out: StrPath = "runs",
    overrides: Sequence[str] = (),
    data: StrPath | None = None,
    remeasure: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Carry out a recipe: network to ticket to int8 files to bundle, measured here and compared.

    ``out/NAME/``, NAME being the recipe's, then holds ``bundle`` and ``bundle.zip``, ``reports``,
    ``reference`` and the summary. What was done before is found again, so a run that was stopped
    goes on where it was.

    Args:
        recipe: a recipe file, the name of a ready one, or a recipe that was read. Relative paths in
            it start beside the file; of one that was read, in the current folder.
        out: where results go.
        overrides: ``key=value``, as ``--set`` takes them; only for a recipe that is named.
        data: where data sets and weights lie; None: ``$EDGETICKET_DATA``, else
            ``~/.cache/edgeticket/data``.
        remeasure: measure again, even if nothing has changed.
        progress: where to show how far it is; None: nowhere.

    Returns:
        Every artifact with size, latency, score, and what it lost or won; `Summary.to_json` has it
        as text.

    Raises:
        RecipeError: the recipe cannot be read, or says something that a recipe cannot.
        ConversionError: the network cannot become a file that the recipe asks for.
        InputError: data or weights are absent or do not fit, a training diverged, or measuring
            failed.
    """
    from edgeticket.pipeline.data import data_folder
    from edgeticket.pipeline.progress import QUIET
    from edgeticket.pipeline.recipe import Recipe
    from edgeticket.pipeline.recipe.ready import ready_file
    from edgeticket.pipeline.run.pipeline import run as carry_out

    if isinstance(recipe, Recipe):
        if overrides:
            raise InputError("overrides are for a recipe that is named by its file")
        whole, beside = recipe, Path()
    else:
        whole = read_recipe(recipe, overrides=overrides)
        beside = ready_file(Path(recipe), kind="recipe").parent
    return carry_out(
        whole,
        recipe_folder=beside,
        out=Path(out),
        data_folder=data_folder(_path(data)),
        remeasure=remeasure,
        progress=progress or QUIET,
    )


def read_recipe(recipe: StrPath, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        recipe: a YAML file, or the name of a ready recipe, such as ``demo``.
        overrides: ``key=value``, e.g. ``train.epochs=3`` or ``compress.0.budget.macs=0.3``.

    Raises:
        RecipeError: it cannot be read, or says something that a recipe cannot.
    """
    from edgeticket.pipeline.errors import RecipeError
    from edgeticket.pipeline.recipe import read_recipe as read
    from edgeticket.pipeline.recipe.ready import ready_file

    with raised_as(RecipeError):
        return read(ready_file(Path(recipe), kind="recipe"), overrides)


def bench(
    bundle: StrPath,
    *,
    on: Sequence[str] = (),
    devices: Sequence[StrPath] = (),
    options: Sequence[str] = (),
    out: StrPath = "device-reports",
    python: str | None = None,
    offline: bool = False,
    patience: Patience | None = None,
    console: Console | None = None,
) -> list[Outcome]:
    """Measure a bundle on devices, all at once; reports land in ``out/LABEL/ARTIFACT.json``.

    Args:
        bundle: a bundle, folder or .zip, or the folder of a run.
        on: targets: ``ssh://user@host[:port][/folder]``, ``emulated:cortex-a72``, ``local``.
        devices: files of devices, with labels.
        options: for `device-runner bench`.
        out: where reports go.
        python: one on the devices that has numpy and a runtime; None: an environment of our own.
        offline: this machine fetches the packages and brings them.
        patience: how long to wait for what; None: as the command does.
        console: where progress and the tables go; None: nowhere.

    Returns:
        What became of each device: its reports, or why there are none.

    Raises:
        DeviceError: no device measured anything.
        InputError: the bundle, a target or an option cannot be used.
    """
    from rich.console import Console

    from edgeticket.pipeline.devices.bench import bench_devices
    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.devices.fleet import gather

    outcomes = bench_devices(
        Path(bundle),
        gather(on, list(map(Path, devices)), python=python),
        options,
        out=Path(out),
        offline=offline,
        patience=patience or Patience(),
        console=console or Console(quiet=True),
    )
    if all(outcome.failure is not None for outcome in outcomes):
        raise DeviceError("; ".join(str(outcome.failure) for outcome in outcomes))
    return outcomes


def compare(
    before: StrPath,
    after: StrPath | Sequence[StrPath],
    *,
    max_drop_points: float | None = None,
    max_p90_ms: float | None = None,
    min_speedup: float | None = None,
    min_agreement: float | None = None,
    identical: bool = False,
    require_valid: bool = False,
) -> Gate:
    """Compare reports: what an artifact lost or won, or what a device does to it.

    Args:
        before: the report to compare with, or a folder of them.
        after: reports to judge, or folders of them.
        max_drop_points: top-1 may be lower, or the word error rate higher, by so many points.
        max_p90_ms: the p90 latency may be so long, in milliseconds.
        min_speedup: p50 is to be so many times lower than before.
        min_agreement: the share of samples, 0 to 1, that are to keep their answer.
        identical: outputs are to be equal bit for bit.
        require_valid: reports are to be VALID.

    Returns:
        A case for each report of ``after``: its comparison, or why there is none, and the limits
        that it breaks.

    Raises:
        InputError: ``before`` cannot be read, or there is nothing to judge.
    """
    from edgeticket.pipeline.compare import Limits, run_gate

    limits = Limits(
        max_drop_points=max_drop_points,
        max_p90_ms=max_p90_ms,
        min_speedup=min_speedup,
        min_agreement=min_agreement,
        identical=identical,
        valid=require_valid,
    )
    paths = [after] if isinstance(after, str | Path) else after
    return run_gate(Path(before), list(map(Path, paths)), limits=limits)


def inspect(
    subject: StrPath,
    *,
    size: tuple[int, ...] = (3, 224, 224),
    args: Mapping[str, bool | int | float | str] | None = None,
    data: StrPath | None = None,
    progress: Progress | None = None,
) -> Inspection | FileInspection:
    """Say what would happen to a network, before any work.

    Args:
        subject: a recipe; ``torchvision:NAME``, ``timm:NAME``, ``import:package.module:function``
            or one of this project's, such as ``resnet20``; or a .onnx or .tflite file.
        size: what a network from elsewhere takes, without the batch.
        args: of the network.
        data: as for `run`.
        progress: as for `run`.

    Returns:
        Its layers with their costs; which passes can act on it, and where; how each operator is
        written for each runtime; and what is in the way. ``usable`` says whether an int8 file can
        be made of it; of a file that is int8 already, or TFLite, whether its runtime loads it.

    Raises:
        InputError: there is no such network, or it does not run.
    """
    from edgeticket.pipeline.data import data_folder
    from edgeticket.pipeline.inspect.file import RUNTIMES, inspect_file
    from edgeticket.pipeline.inspect.network import inspect_network
    from edgeticket.pipeline.inspect.subject import network_of
    from edgeticket.pipeline.progress import QUIET

    if Path(subject).suffix in RUNTIMES:
        return inspect_file(Path(subject))
    network = network_of(
        str(subject),
        size=size,
        args=args or {},
        data_folder=data_folder(_path(data)),
        progress=progress or QUIET,
    )
    return inspect_network(network)


@dataclass(frozen=True)
class Quantized:
    """A network as ONNX twice, in float32 and rounded, and the scales that round it."""

    float_onnx: bytes
    onnx: bytes  # with QuantizeLinear and DequantizeLinear
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
        network: a module, or an ONNX file or its bytes; float32.
        inputs: preprocessed as the network takes them, float32 [N, C, H, W], [N, C, W] or [N, C];
            or a sequence of such batches.
        settings: what a recipe's `ptq` may say, e.g. ``{"ranges": "mse"}``; None: its defaults.

    Raises:
        RecipeError: ``settings`` say something that `ptq` cannot.
        ConversionError: the network cannot be read, rounded or exported.
    """
    import torch

    from edgeticket.pipeline.errors import RecipeError
    from edgeticket.pipeline.export import export_onnx
    from edgeticket.pipeline.onnx_import import network_of_onnx
    from edgeticket.pipeline.quantize import fake_quantized, fold_bn
    from edgeticket.pipeline.quantize import quantize as decide
    from edgeticket.pipeline.recipe import Ptq, check

    if not isinstance(settings, Ptq):
        with raised_as(RecipeError):
            settings = check(Ptq, {"method": "ptq", **(settings or {})}, place="settings")
    batches = _batches(inputs)
    with raised_as(ConversionError):
        if isinstance(network, torch.nn.Module):
            module = network.eval()
        else:
            data, place = _onnx(network)
            module = network_of_onnx(data, place, Path(place).name).module()
        done = decide(module, batches, settings)
        example = batches[0][:1]
        return Quantized(
            float_onnx=export_onnx(fold_bn(module), example),
            onnx=export_onnx(fake_quantized(done.folded, done.scales), example),
            scales=done.scales,
        )


def convert(onnx: StrPath | bytes, *, kinds: Sequence[str] | None = None) -> dict[str, Converted]:
    """Make the runtimes' files of an ONNX network.

    Args:
        onnx: a file or its bytes. Of a float32 network come float32 files, of one with
            QuantizeLinear and DequantizeLinear, such as `quantize` returns, int8 ones.
        kinds: ``onnx-fp32`` and ``tflite-fp32``, or ``onnx-int8-s8`` (ARM), ``onnx-int8-u8``
            (x86) and ``tflite-int8``; None: all that the network can become.

    Returns:
        By kind, the file's bytes, and what its input and output tensors are.

    Raises:
        ConversionError: the file cannot be read, or not be written for a runtime.
    """
    from edgeticket.pipeline.convert import CONVERTERS
    from edgeticket.pipeline.export import export_onnx
    from edgeticket.pipeline.onnx_import import is_quantized, network_of_onnx
    from edgeticket.pipeline.quantize import fold_bn

    with raised_as(ConversionError):
        data, place = _onnx(onnx)
        rounded = is_quantized(data, place=place)
        fitting = [kind for kind in CONVERTERS if ("int8" in kind) == rounded]
        for kind in kinds or ():
            if kind not in fitting:
                raise InputError(f"kinds: {place} becomes {', '.join(fitting)}, not {kind!r}")
        if not rounded:
            import torch

            network = network_of_onnx(data, place, Path(place).name)
            data = export_onnx(fold_bn(network.module()), torch.zeros(1, *network.input_shape))
        return {kind: CONVERTERS[kind](data) for kind in (fitting if kinds is None else kinds)}


def _onnx(given: StrPath | bytes) -> tuple[bytes, str]:
    """The bytes of an ONNX file, and what errors call it."""
    if isinstance(given, bytes):
        return given, "the ONNX file"
    try:
        return Path(given).read_bytes(), str(given)
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


def _path(given: StrPath | None) -> Path | None:
    return None if given is None else Path(given)
