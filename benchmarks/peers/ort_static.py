"""ONNX Runtime's static quantization, per channel, QDQ, min-max: uint8 or int8 activations."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from work import one_by_one, timed


class Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        name = onnx.load(folder / "fp32.onnx").graph.input[0].name
        self.batches = iter([{name: image} for image in one_by_one(folder)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)


def quantize(folder: Path, file: Path, *, activations: QuantType) -> None:
    quantize_static(
        folder / "fp32.onnx",
        file,
        Images(folder),
        quant_format=QuantFormat.QDQ,
        activation_type=activations,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


if __name__ == "__main__":
    kinds = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
    timed(functools.partial(quantize, activations=kinds[sys.argv[3]]))
