"""What a network says about examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.log_mel import FULL_SCALE, mel_filters
from edgeticket.device_runner.preprocess import preprocess
from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.data.tensors import Tensors, channels_first
from edgeticket.pipeline.graph.batches import Batch, leaves_of, tensors_of
from edgeticket.pipeline.task import Judge, Scores, Task, task_of
from edgeticket.pipeline.task.nothing import Noise

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


def check_as_they_are(preprocessing: Sequence[Mapping[str, Any]]) -> None:
    """Look at the steps for inputs that are arrays, which go into the network as they are.

    Raises:
        InputError: there are some.
    """
    if preprocessing:
        steps = ", ".join(str(step["op"]) for step in preprocessing)
        raise InputError(
            f"preprocessing: {steps} is for pictures and recordings, and these inputs are arrays, "
            "which go in as they are: scale them before, and leave preprocessing empty"
        )


def to_torch(
    inputs: npt.NDArray[Any] | Tensors, preprocessing: Sequence[Mapping[str, Any]]
) -> Batch:
    """Samples as stored -> float32 [N, C, ...] as networks take them; of networks with any inputs
    a tensor for each, whole numbers among them.

    Raises:
        InputError: as `check_as_they_are`, and `device_runner.preprocess`.
    """
    if isinstance(inputs, Tensors):
        check_as_they_are(preprocessing)
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
    """How right a network is about examples; of classes and texts also what it says."""

    # Of each output, [N, ...]: [N, classes], or of queries [M, symbols, frames]; of others none.
    all_outputs: tuple[npt.NDArray[Any], ...]
    predictions: npt.NDArray[Any]  # [N], classes or texts; of others none
    scores: Scores  # by name, see `pipeline.task`
    headline: str | None  # the name of the one that stands for all

    @property
    def outputs(self) -> npt.NDArray[np.float32]:
        """The first output."""
        return self.all_outputs[0]

    @property
    def score(self) -> float | Unavailable:
        """The score that stands for all.

        Raises:
            KeyError: nothing is asked of the outputs.
        """
        return self.scores[str(self.headline)]

    def logged(self, suffix: str = "") -> dict[str, Any]:
        """The scores as a log names those on the validation split, as JSON."""
        return {f"validation_{n}{suffix}": to_json(score) for n, score in self.scores.items()}

    @property
    def top1(self) -> float:
        """The share of right classes, 0..1."""
        top1 = self.scores["top1"]
        assert not isinstance(top1, Unavailable)
        return top1


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two networks say about the same examples: the first, held against the second."""

    first: Evaluation
    second: Evaluation
    agreement: float | None  # share of the examples that both answer alike; None: nothing is asked
    sqnr_db: float | None  # the lowest of all outputs; None: they are equal


def evaluate(
    module: nn.Module, split: Split, *, preprocessing: Sequence[Mapping[str, Any]]
) -> Evaluation:
    """Run ``module`` in evaluation mode, where it is, over all examples.

    Outputs are judged batch by batch; only those of classes and texts, which are small, are kept.
    """
    task = task_of(split)
    judge = task.judge(split)
    for (outputs,) in _answers([module], split, preprocessing):
        judge.add(outputs)
    return _judged(judge, task)


def compare(
    first: nn.Module,
    second: nn.Module,
    split: Split,
    *,
    preprocessing: Sequence[Mapping[str, Any]],
) -> Comparison:
    """`evaluate` both in one go, and hold their answers against one another."""
    task = task_of(split)
    judges = task.judge(split), task.judge(split)
    noise, same = Noise(), 0
    for outputs, wanted in _answers([first, second], split, preprocessing):
        judges[0].add(outputs)
        judges[1].add(wanted)
        noise.add(outputs, wanted)
        if task.agree is not None:
            same += int(task.agree(outputs, wanted).sum())
    one, other = (_judged(judge, task) for judge in judges)
    agreement = None
    if task.agree is not None:
        agreement = same / len(split)
    elif len(one.predictions):
        agreement = float((one.predictions == other.predictions).mean())
    return Comparison(one, other, agreement, noise.decibels)


def _judged(judge: Judge, task: Task) -> Evaluation:
    judged = judge.finish()
    name = None if task.headline is None else task.headline.name
    return Evaluation(judged.outputs, judged.predictions, judged.scores, name)


def _answers(
    modules: Sequence[nn.Module], split: Split, preprocessing: Sequence[Mapping[str, Any]]
) -> Iterator[list[tuple[npt.NDArray[Any], ...]]]:
    """The outputs of each of ``modules`` for one batch of queries after the other."""
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
        yield [_answer(module, batch) for module in modules]


@torch.inference_mode()
def _answer(module: nn.Module, batch: tuple[Tensor, ...]) -> tuple[npt.NDArray[Any], ...]:
    """The outputs of ``module``, in evaluation mode and where it is."""
    device = next(module.parameters(), torch.zeros(0)).device
    was_training = module.training
    module.eval()
    answers = leaves_of(module(*(tensor.to(device) for tensor in batch)))
    module.train(was_training)
    return tuple(answer.cpu().numpy() for answer in answers)


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
