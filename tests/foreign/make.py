"""The TensorFlow models that tests/external/test_external.py reads, made once in an environment of
their own, because TensorFlow does not live beside this project's pins:

pip install tensorflow==2.21.0 && python tests/foreign/make.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

FOLDER = Path(__file__).parent
MEAN, STD = 127.5, 60.0
LEVELS = (np.array([60.0, 100.0, 140.0, 180.0]) - MEAN) / STD

rng = np.random.default_rng(1)
labels = rng.integers(0, 4, 24)
noise = rng.normal(60 + 40 * labels[:, None, None, None], 25, (24, 8, 10, 3))
inputs = np.clip(noise, 0, 255).astype(np.uint8)
values = ((inputs.astype(np.float32) - MEAN) / STD).astype(np.float32)

kernel = np.zeros((3, 3, 3, 4), np.float32)
kernel[1, 1, :, 0], kernel[1, 1, :, 1] = 1 / 3, -1 / 3
head = np.zeros((4, 4), np.float32)
head[0], head[1] = LEVELS / 2, -LEVELS / 2


@tf.function(input_signature=[tf.TensorSpec([1, 8, 10, 3], tf.float32)])
def classify(x):
    x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + np.float32([2, 2, 0, 0]))
    x = tf.reduce_mean(x, [1, 2])
    return tf.matmul(x, head) - (LEVELS**2 / 2).astype(np.float32)


def convert(codes: tf.DType | None) -> bytes:
    function = classify.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    if codes is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([value[None]] for value in values)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = codes
    return converter.convert()


def top1(model: bytes) -> float:
    interpreter = tf.lite.Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = source["quantization"]
    right = 0
    for value, label in zip(values, labels, strict=True):
        x = value[None]
        if scale:
            limits = np.iinfo(source["dtype"])
            x = np.clip(np.rint(x / scale) + zero_point, limits.min, limits.max)
        interpreter.set_tensor(source["index"], x.astype(source["dtype"]))
        interpreter.invoke()
        right += int(interpreter.get_tensor(target["index"])[0].argmax() == label)
    return right / len(labels)


facts = {"mean": MEAN, "std": STD, "labels": labels.tolist(), "macs": 80 * 4 * 27 + 16, "top1": {}}
for name, codes in {"float": None, "int8": tf.int8, "uint8": tf.uint8}.items():
    model = convert(codes)
    (FOLDER / f"{name}.tflite").write_bytes(model)
    facts["top1"][f"{name}.tflite"] = top1(model)
facts["made_with"] = f"tensorflow {tf.__version__}"
np.save(FOLDER / "inputs.npy", inputs)
(FOLDER / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
