"""One export instead of two: the float32 graph is the int8 one without its rounding."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.export import export_onnx
from edgeticket.pipeline.quantize import fake_quantized, fold_bn, quantize
from edgeticket.pipeline.recipe import Ptq
from edgeticket.pipeline.run.checks import example_inputs


def export_once(network: Network) -> Mapping[str, bytes | InputError]:
    """fp32 and int8 -> ``network`` as ONNX, or why there is none.

    What takes long is the export; a look beforehand need not do it twice.
    """
    module = fold_bn(network.module())
    inputs = example_inputs(network)
    try:
        scales = quantize(module, [inputs], Ptq(method="ptq")).scales
        int8 = export_onnx(fake_quantized(module, scales), inputs[:1])
    except InputError as error:
        try:
            return {"fp32": export_onnx(module, inputs[:1]), "int8": error}
        except InputError as worse:
            return {"fp32": worse, "int8": error}
    return {"fp32": without_rounding(int8), "int8": int8}


def without_rounding(data: bytes) -> bytes:
    """An ONNX file without its QuantizeLinear and DequantizeLinear; its weights stay as they are.

    Args:
        data: as `export_onnx` writes it: everything that is rounded is float32 before.
    """
    model = onnx.load_model_from_string(data)
    graph = model.graph
    stands: dict[str, str] = {}  # what a name stood for before it was rounded
    kept = []
    for node in graph.node:
        if node.op_type in ROUNDING:
            stands[node.output[0]] = stands.get(node.input[0], node.input[0])
            continue
        node.input[:] = [stands.get(name, name) for name in node.input]
        kept.append(node)
    for value in graph.output:
        if value.name in stands:
            before = stands[value.name]
            for node in kept:
                node.output[:] = [value.name if name == before else name for name in node.output]
                node.input[:] = [value.name if name == before else name for name in node.input]
    used = {name for node in kept for name in node.input}
    for i in reversed(range(len(graph.node))):
        if graph.node[i].op_type in ROUNDING:
            del graph.node[i]
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in used:
            del graph.initializer[i]
    return bytes(model.SerializeToString(deterministic=True))


ROUNDING = ("QuantizeLinear", "DequantizeLinear")
