"""What a network says about examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.log_mel import FULL_SCALE, mel_filters
from edgeticket.device_runner.preprocess import preprocess
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.data.tensors import Tensors, channels_first
from edgeticket.pipeline.graph.batches import Batch, leaves_of, tensors_of
from edgeticket.pipeline.train.task import task_of

BATCH_PIXELS = 2**20  # 20 pictures of 224x224


def normalize(stored: Tensor, preprocessing: Sequence[Mapping[str, Any]]) -> Tensor:
    """Stored samples -> float32 [N, C, ...]; images in channels-last memory.

    The same as `device_runner.preprocess`, in float32 and on any device.
    """
    values = stored.float()
    for step in preprocessing:
        if step["op"] not in STEPS:
            raise InputError(f"preprocessing {step['op']!r} cannot be trained with")
        values = STEPS[step["op"]](values, step)
    return values.movedim(-1, 1)


def as_inputs(stored: Batch, preprocessing: Sequence[Mapping[str, Any]]) -> Batch:
    """A batch as it is stored -> as networks take it: pictures and recordings are `normalize`d,
    arrays for any inputs go in as they are."""
    return normalize(stored, preprocessing) if isinstance(stored, Tensor) else stored


def to_torch(
    inputs: npt.NDArray[Any] | Tensors, preprocessing: Sequence[Mapping[str, Any]]
) -> Batch:
    """Samples as stored -> float32 [N, C, ...] as networks take them; of networks with any inputs
    a tensor for each, whole numbers among them."""
    if isinstance(inputs, Tensors):
        return tuple(
            torch.from_numpy(np.ascontiguousarray(channels_first(array))) for array in inputs.arrays
        )
    values = preprocess(inputs, preprocessing)
    return torch.from_numpy(values).movedim(-1, 1).contiguous()


def batch_of(shape: Sequence[int], *, most: int) -> int:
    """How many inputs [H, W, C] or [samples] to run at a time, so that large ones do not fill the
    memory."""
    return max(1, min(most, BATCH_PIXELS // max(1, math.prod(shape[:2]))))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network says about examples, and how right it is."""

    # Of each output, [N, ...]: [N, classes], or of queries [M, symbols, frames].
    all_outputs: tuple[npt.NDArray[Any], ...]
    predictions: npt.NDArray[Any]  # [N], classes or texts
    scores: Mapping[str, float]  # by name, see `pipeline.train.task`

    @property
    def outputs(self) -> npt.NDArray[np.float32]:
        """The first output."""
        return self.all_outputs[0]

    def logged(self, suffix: str = "") -> dict[str, float]:
        """The scores as a log names those on the validation split."""
        return {f"validation_{name}{suffix}": score for name, score in self.scores.items()}

    @property
    def top1(self) -> float:
        """The share of right classes, 0..1."""
        return self.scores["top1"]


@torch.inference_mode()
def evaluate(
    module: nn.Module, split: Split, *, preprocessing: Sequence[Mapping[str, Any]]
) -> Evaluation:
    """Run ``module`` in evaluation mode, where it is, over all examples."""
    device = next(module.parameters(), torch.zeros(0)).device
    was_training = module.training
    module.eval()
    outputs: list[tuple[Tensor, ...]] = []
    queries = split.inputs if split.spoken is None else split.queries()
    if isinstance(queries, Tensors):
        at_a_time = min(batch_of(shape, most=250) for shape in queries.shapes)
    else:
        at_a_time = batch_of(queries.shape[1:], most=250)
    for start in range(0, len(queries), at_a_time):
        some = queries[start : start + at_a_time]
        if isinstance(some, Tensors):
            batch = tensors_of(to_torch(some, preprocessing))
        else:
            batch = (torch.from_numpy(preprocess(some, preprocessing)).movedim(-1, 1),)
        answers = leaves_of(module(*(tensor.to(device) for tensor in batch)))
        outputs.append(tuple(answer.cpu() for answer in answers))
    module.train(was_training)
    whole = tuple(torch.cat(parts).numpy() for parts in zip(*outputs, strict=True))
    task = task_of(split)
    predictions = task.predict(whole[0], split)
    return Evaluation(whole, predictions, task.score(predictions, split))


def _normalize(values: Tensor, step: Mapping[str, Any]) -> Tensor:
    return (values - values.new_tensor(step["mean"])) / values.new_tensor(step["std"])


def _log_mel(waveforms: Tensor, step: Mapping[str, Any]) -> Tensor:
    """`device_runner.log_mel`; what loud frames have 10^7 times weaker drowns in rounding."""
    spectrum = torch.stft(
        waveforms / FULL_SCALE,
        step["fft_samples"],
        hop_length=step["hop_samples"],
        win_length=step["window_samples"],
        window=torch.hann_window(step["window_samples"], device=waveforms.device),
        center=step["centred"],
        pad_mode="reflect",
        return_complex=True,
    )  # [N, frequencies, frames]
    filters = waveforms.new_tensor(mel_filters(step))
    energies = spectrum.abs().pow(step["power"]).transpose(1, 2) @ filters
    values = torch.log(energies + step["log_offset"])
    return values.unsqueeze(-1) if step["layout"] == "NHWC" else values


STEPS: dict[str, Callable[[Tensor, Mapping[str, Any]], Tensor]] = {
    "normalize": _normalize,
    "log_mel": _log_mel,
}
