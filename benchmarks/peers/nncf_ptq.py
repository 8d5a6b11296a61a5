"""NNCF's post-training quantization of an ONNX file, with its defaults."""

from __future__ import annotations

from pathlib import Path

import nncf
import onnx
from work import one_by_one, timed


def quantize(folder: Path, file: Path) -> None:
    model = onnx.load(folder / "fp32.onnx")
    name = model.graph.input[0].name
    calibration = [{name: image} for image in one_by_one(folder)]
    onnx.save(nncf.quantize(model, nncf.Dataset(calibration), subset_size=len(calibration)), file)


if __name__ == "__main__":
    timed(quantize)
