"""What a network says about examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from device_runner.errors import InputError
from device_runner.preprocess import preprocess
from pipeline.data import Split

BATCH_PIXELS = 2**20  # 20 pictures of 224x224


def normalize(images: Tensor, preprocessing: Sequence[Mapping[str, Any]]) -> Tensor:
    """uint8 [N, H, W, C] -> float32 [N, C, H, W] in channels-last memory.

    The same float32 arithmetic as `device_runner.preprocess`, on any device.
    """
    values = images.float()
    for step in preprocessing:
        if step["op"] != "normalize":
            raise InputError(f"preprocessing {step['op']!r} cannot be trained with")
        values = (values - values.new_tensor(step["mean"])) / values.new_tensor(step["std"])
    return values.permute(0, 3, 1, 2)


def to_torch(inputs: npt.NDArray[np.uint8], preprocessing: Sequence[Mapping[str, Any]]) -> Tensor:
    """uint8 [N, H, W, C] as stored -> float32 [N, C, H, W] as networks take it."""
    values = preprocess(inputs, preprocessing)
    return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()


def batch_of(shape: Sequence[int], *, most: int) -> int:
    """How many inputs [H, W, C] to run at a time, so that large ones do not fill the memory."""
    return max(1, min(most, BATCH_PIXELS // (shape[0] * shape[1])))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network says about labelled examples."""

    outputs: npt.NDArray[np.float32]  # [N, classes]
    predictions: npt.NDArray[np.int64]  # [N]
    top1: float  # share of right predictions, 0..1


@torch.inference_mode()
def evaluate(
    module: nn.Module, split: Split, *, preprocessing: Sequence[Mapping[str, Any]]
) -> Evaluation:
    """Run ``module`` in evaluation mode, where it is, over all examples."""
    device = next(module.parameters()).device
    was_training = module.training
    module.eval()
    outputs = []
    at_a_time = batch_of(split.inputs.shape[1:], most=250)
    for start in range(0, len(split), at_a_time):
        images = preprocess(split.inputs[start : start + at_a_time], preprocessing)
        outputs.append(module(torch.from_numpy(images).permute(0, 3, 1, 2).to(device)).cpu())
    module.train(was_training)
    scores = torch.cat(outputs).numpy()
    predictions = scores.argmax(1)
    return Evaluation(scores, predictions, float((predictions == split.labels).mean()))
