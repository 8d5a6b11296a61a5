"""Olive's `OnnxStaticQuantization` with its defaults for the CPU."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import onnx
from olive.data.template import raw_data_config_template
from olive.hardware import AcceleratorSpec
from olive.model import ONNXModelHandler
from olive.passes.olive_pass import create_pass_from_dict
from olive.passes.onnx.quantization import OnnxStaticQuantization
from work import one_by_one, timed


def quantize(folder: Path, file: Path) -> None:
    name = onnx.load(folder / "fp32.onnx").graph.input[0].name
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch, "images", name)
        raw.mkdir(parents=True)
        shape: list[int] = []
        for i, image in enumerate(one_by_one(folder)):
            image.tofile(raw / f"{i:05}.bin")
            shape = list(image.shape)
        data = raw_data_config_template(str(raw.parent), [name], [shape])
        step = create_pass_from_dict(
            OnnxStaticQuantization,
            {"data_config": data},
            disable_search=True,
            accelerator_spec=AcceleratorSpec("CPU", "CPUExecutionProvider"),
        )
        made = step.run(ONNXModelHandler(str(folder / "fp32.onnx")), str(Path(scratch, "out")))
        onnx.save(onnx.load(made.model_path), file)
        shutil.rmtree(Path(scratch, "out"), ignore_errors=True)


if __name__ == "__main__":
    timed(quantize)
