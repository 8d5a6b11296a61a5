"""Run converted files in the real runtimes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from ai_edge_litert.interpreter import Interpreter

from device_runner.preprocess import to_tensor
from pipeline.convert import Converted

Array = npt.NDArray[Any]


def run_onnx(data: bytes, inputs: Array) -> Array:
    """Outputs [N, ...] for inputs [N, ...], one by one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # On x86 int8 activations are simulated in float unless told otherwise; ARM needs no telling.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[None]})[0] for x in inputs])


def run_tflite(data: bytes, inputs: Array) -> Array:
    """Outputs [N, ...] for inputs [N, ...], one by one."""
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for x in inputs:
        interpreter.set_tensor(source["index"], x[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target["index"]).copy())
    return np.concatenate(outputs)


def outputs(converted: Converted, images: Array, *, runtime: str) -> Array:
    """Outputs for float32 images [N, H, W, C], as float32 or as int8 codes in int32."""
    x = to_tensor(images, converted.input)
    y = (run_onnx if runtime == "ort" else run_tflite)(converted.data, x)
    assert y.shape[1:] == converted.output.shape[1:]
    assert str(y.dtype) == converted.output.dtype
    if y.dtype == np.float32:
        return y
    return y.astype(np.int32) - (128 if y.dtype == np.uint8 else 0)
