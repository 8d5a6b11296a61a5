"""Cross the border: a module of the graph, float or rounded, becomes a graph of numbers.

Behind the border nothing knows torch. What is exported is held against torch in ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import TensorSpec
from edgeticket.device_runner.preprocess import to_tensor
from edgeticket.pipeline.convert.read import rename
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.graph.batches import Batch, leaves_of, split, tensors_of
from edgeticket.pipeline.graph.graph import Array, Constant, Graph, Operator, Quantization
from edgeticket.pipeline.graph.module import Layer, StoredOnce, layer_constants
from edgeticket.pipeline.quantize.fake import FakeQuantize, QuantizedLayer

# Of the numbers of a rounded graph, the part that is held against torch. Softmax and sigmoid make
# several codes of a logit out of one that two computations round to different sides.
SHARE_WITHIN = 0.999


def export(module: fx.GraphModule, *, shared: bool = False) -> Graph:
    """A module of the graph (`fold_bn`, `fake_quantized`) -> the graph, with its present weights.

    A value that is rounded has its scale, a rounded weight its codes. The only input is called
    ``input``, the only output ``output``; several keep their names.

    Args:
        shared: float weights are those of ``module``, which never changes; else they are copied.
    """
    graph: Graph = module.meta["graph"]
    values, constants = dict(graph.values), dict(graph.constants)
    operators: list[Operator] = []
    names_of_weights = StoredOnce()
    ends = (node for node in module.graph.nodes if node.op == "placeholder")
    names = dict(zip(ends, graph.inputs, strict=True))
    for node in module.graph.nodes:
        if node.op == "get_attr":
            data = getattr(module, str(node.target)).detach().cpu().numpy()
            constants[node.meta["constant"]] = Constant(data if shared else data.copy())
        if node.op != "call_module":
            continue
        step = module.get_submodule(str(node.target))
        if isinstance(step, FakeQuantize):
            name = names[node] = names[node.all_input_nodes[0]]
            quantization = Quantization(np.float32(float(step.scale)), int(step.zero_point))
            values[name] = replace(values[name], quantization=quantization)
            continue
        operator: Operator = node.meta["operator"]
        names[node] = operator.output
        if isinstance(step, QuantizedLayer):
            operator, weights = _coded(operator, step, names_of_weights)
            constants |= weights
        elif isinstance(step, Layer):
            operator, weights = layer_constants(operator, step, names_of_weights, shared=shared)
            constants |= weights
        operators.append(operator)
    used = {name for op in operators for name in op.inputs}
    constants = {name: constant for name, constant in constants.items() if name in used}
    exported = Graph(graph.inputs, graph.outputs, tuple(operators), values, constants)
    return _with_plain_ends(exported)


def _with_plain_ends(graph: Graph) -> Graph:
    ends = {}
    if len(graph.inputs) == 1:
        ends[graph.inputs[0]] = "input"
    if len(graph.outputs) == 1:
        ends[graph.outputs[0]] = "output"
    return rename(graph, {old: new for old, new in ends.items() if old != new})


def _coded(
    operator: Operator, step: QuantizedLayer, names: StoredOnce
) -> tuple[Operator, dict[str, Constant]]:
    """A layer whose weights are codes; see the TFLite 8-bit quantisation specification."""
    layer = step.layer
    scales = step.scale.detach().cpu().numpy()
    data = layer.weight.detach().cpu().numpy()
    column = scales.reshape(-1, *[1] * (data.ndim - 1))
    with np.errstate(over="ignore"):  # infinity saturates like any other number
        codes = np.clip(np.rint(data / column), -127, 127).astype(np.int8)
    name = names(layer.weight, f"{operator.name}.weight", scales.tobytes())
    weights = {name: Constant(codes, scales.copy())}
    bias = step.rounded_bias()
    if bias is not None:
        assert layer.bias is not None
        numbers = bias.detach().cpu().numpy().copy()
        name = names(layer.bias, f"{operator.name}.bias", numbers.tobytes())
        weights[name] = Constant(numbers)
    return replace(operator, inputs=(operator.inputs[0], *weights)), weights


def check_export(
    graph: Graph, module: nn.Module, inputs: Batch, *, tolerance: float = 1e-4
) -> float:
    """Compare the outputs of an exported graph in ONNX Runtime with those of the module.

    Args:
        graph: what `export` made of ``module``.
        inputs: float32 [N, C, H, W], or a tensor for each input; run one by one.
        tolerance: the largest difference allowed, relative to the largest number of an output or
            to 1, whichever is larger; of an output of codes, at least four of them, as rounding
            near half way may differ by a code here and there, and that adds up. For the same
            reason one number in a thousand of a rounded graph may differ by more.

    Returns:
        The largest difference but for those, relative likewise.

    Raises:
        InputError: the difference is larger than ``tolerance``, or not a number.
    """
    is_int8 = graph.is_quantized()
    converted = TARGETS["onnx-int8-s8" if is_int8 else "onnx-fp32"].convert(graph)
    return _compare(
        converted.data,
        module,
        inputs,
        converted.inputs,
        converted.outputs,
        tolerance=tolerance,
        share=SHARE_WITHIN if is_int8 else 1.0,
    )


def _compare(
    data: bytes,
    module: nn.Module,
    inputs: Batch,
    taken: Sequence[TensorSpec] | None,
    given: Sequence[TensorSpec] | None,
    *,
    tolerance: float,
    share: float = 1.0,
) -> float:
    """A file of codes is fed the codes of ``inputs``, and its codes are read as numbers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # As written: an optimised graph would answer for the optimiser as well.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    singles = [tensors_of(one) for one in split(inputs, 1)]
    with torch.inference_mode():
        expected = [leaves_of(module(*one)) for one in singles]
    found = []
    for one in singles:
        specs: Sequence[TensorSpec | None] = taken or [None] * len(one)
        fed = [_as_taken(tensor, spec) for tensor, spec in zip(one, specs, strict=True)]
        found.append(session.run(None, dict(zip(names, fed, strict=True))))
    worst = 0.0
    for i, (answers, wanted) in enumerate(
        zip(zip(*found, strict=True), zip(*expected, strict=True), strict=True)
    ):
        spec = None if given is None else given[i]
        whole = torch.cat([tensor.reshape(1, -1) for tensor in wanted]).double().numpy()
        outputs = _as_reals(np.concatenate([a.reshape(1, -1) for a in answers]), spec)
        differences = np.abs(outputs.astype(np.float64) - whole)
        difference = float(np.quantile(differences, share, method="higher"))
        difference /= max(1.0, float(np.max(np.abs(whole))))
        code = 0.0 if spec is None or spec.scale is None else 4 * spec.scale
        allowed = max(tolerance, code)
        if not difference <= allowed:
            of = "" if len(found[0]) == 1 else f" in output {i}"
            raise InputError(
                f"the exported ONNX differs from torch by {difference:.3g}{of} "
                f"over {len(singles)} inputs, more than {allowed:.3g}; "
                "an operator of the network is exported wrongly"
            )
        worst = max(worst, difference)
    return worst


def _as_taken(one: Tensor, spec: TensorSpec | None) -> Array:
    values: Array = one.numpy()
    if spec is None or spec.scale is None:
        return values
    return to_tensor(np.moveaxis(values, 1, -1) if values.ndim > 2 else values, spec)


def _as_reals(values: Array, spec: TensorSpec | None) -> Array:
    if spec is None or spec.scale is None or spec.zero_point is None:
        return values
    reals: Array = (values.astype(np.float32) - spec.zero_point) * np.float32(spec.scale)
    return reals
