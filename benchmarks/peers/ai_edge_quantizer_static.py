"""ai-edge-quantizer's static int8 recipe on the float file that litert-torch writes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import litert_torch
import torch
from ai_edge_quantizer import quantizer, recipe
from work import one_by_one, timed, torch_network


def quantize(folder: Path, file: Path) -> None:
    module = torch_network(folder)
    samples = [{"args_0": image} for image in one_by_one(folder)]
    with tempfile.TemporaryDirectory() as scratch:
        dense = Path(scratch, "fp32.tflite")
        litert_torch.convert(module, (torch.from_numpy(samples[0]["args_0"]),)).export(str(dense))
        tool = quantizer.Quantizer(str(dense))
        tool.load_quantization_recipe(recipe.static_wi8_ai8())
        calibrated = tool.calibrate({"serving_default": samples})
        tool.quantize(calibrated).export_model(str(file))


if __name__ == "__main__":
    timed(quantize)
