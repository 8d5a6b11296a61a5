"""Latency of recurrent layers, unrolled, against the runtime's own operator: ratios, one thread.

    python benchmarks/recurrent.py [--steps 64] [--inputs 40] [--size 64] [--runs 200]

ONNX Runtime has LSTM and GRU in float32; that is 1. All files are timed in turn, so that drift of
the machine hits each alike, and the fastest runs are compared: they say most where others use the
machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.graph.graph import IR_VERSION, OPSET
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq

Run = Callable[[], Any]
ORDER = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2]}  # ONNX's gates among PyTorch's


class Whole(nn.Module):
    """All steps of one layer, [N, T, I] -> [N, T, H]."""

    def __init__(self, kind: str, inputs: int, size: int) -> None:
        super().__init__()
        self.layer: nn.Module = getattr(nn, kind)(inputs, size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]  # type: ignore[no-any-return]


def main() -> None:
    """Print a line for each layer and file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--inputs", type=int, default=40)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for kind in ORDER:
        module = Whole(kind, given.inputs, given.size).eval()
        x = torch.randn(16, given.steps, given.inputs)
        folded = fold_bn(module, tuple(x.shape[1:]))
        plain = export(folded)
        rounded = export(fake_quantized(folded, calibrate(folded, [x], Ptq(method="ptq"))))
        runs = {"own operator": _onnx(_own(kind, module.layer, given.steps), x)}
        for name, graph in [("fp32", plain), ("int8", rounded)]:
            onnx_name = "onnx-fp32" if name == "fp32" else "onnx-int8-u8"
            runs[onnx_name] = _onnx(TARGETS[onnx_name].convert(graph).data, x)
            runs[f"tflite-{name}"] = _tflite(TARGETS[f"tflite-{name}"].convert(graph).data)
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(given.runs):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - start)
        for name, seconds in best.items():
            ratio = seconds / best["own operator"]
            print(f"{kind:5} {name:14} {seconds * 1e6:8.0f} µs  {ratio:5.2f} of ONNX Runtime's own")


def _own(kind: str, layer: nn.Module, steps: int) -> bytes:
    """An ONNX file of the operator itself, time first."""
    state = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    gates = ORDER[kind]

    def turned(name: str) -> Any:
        parts = np.split(state[name], len(gates))
        return np.concatenate([parts[gate] for gate in gates])[None]

    arrays = {
        "w": turned("weight_ih_l0"),
        "r": turned("weight_hh_l0"),
        "b": np.concatenate([turned("bias_ih_l0"), turned("bias_hh_l0")], 1),
    }
    size, inputs = arrays["r"].shape[2], arrays["w"].shape[2]
    more: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
    node = helper.make_node(kind, ["input", *arrays], ["output"], hidden_size=size, **more)
    body = helper.make_graph(
        [node],
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [steps, 1, inputs])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [steps, 1, 1, size])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(
        body, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    return bytes(model.SerializeToString())


def _onnx(data: bytes, x: Tensor) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    dtype = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}[source.type]
    numbers = np.abs(x[0].numpy() * (1 if dtype is np.float32 else 50))
    feed = {source.name: numbers.astype(dtype).reshape(source.shape)}
    return lambda: session.run(None, feed)


def _tflite(data: bytes) -> Run:
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    interpreter.set_tensor(source["index"], np.ones(source["shape"], source["dtype"]))
    return interpreter.invoke  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
