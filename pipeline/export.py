"""Cross the border: a torch module becomes ONNX bytes, and its outputs are compared.

Steps of `export_onnx`:
1. trace with `torch.onnx.export` (the dynamo exporter), batch of one, fixed operator set;
2. name every value after the module that made it;
3. strip what the exporter leaves behind: stack traces with file paths, doc strings, shapes;
4. serialise deterministically.
"""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.graph import IR_VERSION, OPSET
from edgeticket.pipeline.errors import ConversionError, raised_as


@raised_as(ConversionError)
def export_onnx(module: nn.Module, example: Tensor) -> bytes:
    """A module in evaluation mode -> ONNX, with values named after its submodules.

    Args:
        module: float (`fold_bn`) or rounded (`fake_quantized`).
        example: one preprocessed input, float32 [1, C, H, W]; shapes are fixed to its shape.

    Raises:
        ConversionError: the module cannot be exported.
    """
    if module.training:
        raise InputError("a network is exported in evaluation mode; call .eval() first")
    try:
        with _quiet(), torch.inference_mode():
            program = torch.onnx.export(
                module,
                # A clone, because strides that look like channels-last would be traced as such.
                (example.clone(memory_format=torch.contiguous_format),),
                dynamo=True,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise InputError(f"{type(module).__name__} cannot be exported to ONNX: {reason}") from None
    assert program is not None
    model = program.model_proto
    _name_values(model.graph)
    _strip(model)
    return bytes(model.SerializeToString(deterministic=True))


def check_onnx(data: bytes, module: nn.Module, inputs: Tensor, *, tolerance: float = 1e-4) -> float:
    """Compare the outputs of an exported file in ONNX Runtime with those of the module.

    Args:
        inputs: float32 [N, C, H, W], run one by one.
        tolerance: the largest difference allowed, relative to the largest output or to 1,
            whichever is larger.

    Returns:
        The largest difference, relative likewise.

    Raises:
        InputError: the difference is larger than ``tolerance``, or not a number.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # As written: an optimised graph would answer for the optimiser as well.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    singles = torch.split(inputs, 1)
    with torch.inference_mode():
        expected = torch.cat([module(one) for one in singles]).numpy()
    outputs = [session.run(None, {name: one.numpy()})[0] for one in singles]
    difference = float(np.max(np.abs(np.concatenate(outputs) - expected)))
    difference /= max(1.0, float(np.max(np.abs(expected))))
    if not difference <= tolerance:
        raise InputError(
            f"the exported ONNX differs from torch by {difference:.3g} "
            f"over {len(inputs)} inputs, more than {tolerance:.3g}; "
            "an operator of the network is exported wrongly"
        )
    return difference


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, and nothing else."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            # torch.export's own use of its deprecated tree specification.
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`")
            # Of recurrent layers, which keep a list of their weights.
            warnings.filterwarnings("ignore", message="The tensor attributes? .* assigned during")
            yield
    finally:
        logger.setLevel(level)


def _name_values(graph: onnx.GraphProto) -> None:
    """Call each node and its output after the submodule it came from.

    The exporter names values after operators (``conv2d_7``), but records the module path of
    each node. The last node of a module takes its name, those before it a number.
    """
    kept = {value.name for value in (*graph.input, *graph.output)}
    new_names: dict[str, str] = {}
    taken = kept | {tensor.name for tensor in graph.initializer}
    for node in reversed(graph.node):
        records = [e.value for e in node.metadata_props if e.key == "pkg.torch.onnx.name_scopes"]
        # The record lists the root, the modules on the way, and the traced operator.
        modules = ast.literal_eval(records[0])[1:-1] if records else []
        stem = modules[-1] if modules else node.op_type.lower()
        for output in node.output:
            name, count = stem, 0
            while name in taken:
                count += 1
                name = f"{stem}.{count}"
            taken.add(name)
            node.name = name
            if output not in kept:
                new_names[output] = name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new_names.get(name, name) for name in names]


def _strip(model: onnx.ModelProto) -> None:
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "edgeticket", "", ""
    graph = model.graph
    graph.name, graph.doc_string = "network", ""
    del graph.value_info[:]
    for holder in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del holder.metadata_props[:]
        holder.doc_string = ""
