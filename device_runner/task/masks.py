"""Masks: what is each pixel? Mean intersection over union and pixel accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.activations import ACTIVATIONS
from edgeticket.device_runner.task.kind import (
    HIGHER,
    Flags,
    Floats,
    Integers,
    Metric,
    Outputs,
    Tally,
    Targets,
    Task,
    finite_samples,
    in_rows,
    pick,
)
from edgeticket.device_runner.task.resampling import Reweighted
from edgeticket.device_runner.task.settings import Settings, choice, integer, share
from edgeticket.device_runner.task.targets import check_count, check_integers, target
from edgeticket.device_runner.unavailable import Unavailable

MOST_CLASSES = 65535
_MASK = "give the class of each pixel, [N, H, W]"


@dataclass(frozen=True)
class MasksSettings(Settings):
    """Settings of the task `masks`."""

    output: int = integer(0, "the output to read")
    form: str = choice(
        "channels_first",
        ("channels_first", "channels_last", "classes"),
        "what the output is: a number for each class, [N, classes, H, W] or [N, H, W, classes] "
        "(one channel: how likely class 1 is), or the class itself, [N, H, W]",
    )
    activation: str = choice(
        "none", ("none", "sigmoid"), "what turns one channel into a probability"
    )
    threshold: float = share(0.5, "with one channel: class 1 where the probability is above this")
    enlarge: int = integer(
        1, "how many pixels of the target one of the output stands for, each way", least=1, most=64
    )
    by: str = choice(
        "nearest",
        ("nearest", "bilinear"),
        "how it is enlarged: classes repeated, or outputs in between (as torch's "
        "interpolate without align_corners)",
    )
    ignore: int = integer(255, "pixels of this class in the target count for nothing", least=-1)
    agree_share: float = share(0.99, "two answers agree if this share of pixels is equal")

    def contradiction(self) -> str | None:
        if self.form == "classes" and self.by == "bilinear" and self.enlarge > 1:
            return "by is bilinear, form is classes: between two classes is none, use nearest"
        return None


def metrics(settings: MasksSettings) -> tuple[Metric, ...]:
    """Of pixels, class by class and together."""
    return (
        Metric(
            "miou",
            HIGHER,
            "share",
            "mean of intersection / union over the classes that target or output have",
        ),
        Metric("pixel_accuracy", HIGHER, "share", "pixels of the right class"),
    )


def decode(output: npt.NDArray[Any], settings: MasksSettings) -> tuple[Integers, int]:
    """The network's output -> classes [N, H, W], and how many classes there can be (0: any).

    Of equal outputs the lowest class wins.

    Raises:
        InputError: an output of another shape.
    """
    index, factor = settings.output, settings.enlarge
    if settings.form == "classes":
        squeezed = output.reshape([n for i, n in enumerate(output.shape) if n != 1 or i == 0])
        mask = output if output.ndim == 3 else squeezed
        if mask.ndim != 3:
            raise InputError(
                f"output {index} has shape {list(output.shape)}: classes are [N, H, W]"
            )
        return _repeat(mask.astype(np.int64), factor), 0
    if output.ndim != 4 or 0 in output.shape[1:]:
        raise InputError(
            f"output {index} has shape {list(output.shape)}: masks are [N, classes, H, W] or "
            "[N, H, W, classes]; set form"
        )
    values = output if settings.form == "channels_first" else np.moveaxis(output, 3, 1)
    classes = max(values.shape[1], 2)
    if settings.by == "bilinear" and factor > 1:
        # One by one: what lies between is many times as large as the output.
        single = [
            _highest(bilinear(values[i : i + 1], factor), settings) for i in range(len(values))
        ]
        size = (values.shape[2] * factor, values.shape[3] * factor)
        return np.concatenate([np.zeros((0, *size), np.int64), *single]), classes
    return _repeat(_highest(values, settings), factor), classes


def _highest(values: npt.NDArray[Any], settings: MasksSettings) -> Integers:
    """[N, classes, H, W] -> [N, H, W]."""
    if values.shape[1] == 1:
        probability = ACTIVATIONS[settings.activation](values[:, 0])
        return np.asarray(probability > settings.threshold).astype(np.int64)
    return np.asarray(values.argmax(axis=1), dtype=np.int64)


def bilinear(maps: npt.NDArray[Any], factor: int) -> Floats:
    """Maps [N, C, H, W] -> ``factor`` times as high and wide, in float64."""
    rows, columns = _between(maps.shape[2], factor), _between(maps.shape[3], factor)
    enlarged: Floats = np.matmul(np.matmul(rows, maps.astype(np.float64)), columns.T)
    return enlarged


def _between(size: int, factor: int) -> Floats:
    """Weights [size * factor, size] of linear interpolation between the middles of pixels."""
    at = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0.0, size - 1.0)
    low = np.floor(at).astype(np.int64)
    weights = np.zeros((size * factor, size))
    row = np.arange(size * factor)
    weights[row, low] += 1.0 - (at - low)
    weights[row, np.minimum(low + 1, size - 1)] += at - low
    return weights


def _repeat(classes: Integers, factor: int) -> Integers:
    return classes if factor == 1 else classes.repeat(factor, axis=1).repeat(factor, axis=2)


def agree(outputs: Outputs, others: Outputs, settings: MasksSettings) -> Flags:
    """Enough pixels have the same class."""
    a, b = pick(outputs, settings.output), pick(others, settings.output)
    finite = finite_samples(a) & finite_samples(b)
    with np.errstate(invalid="ignore"):
        equal = decode(a, settings)[0] == decode(b, settings)[0]
    shares = in_rows(equal).mean(axis=1)
    flags: Flags = (shares >= settings.agree_share) & finite
    return flags


def check(targets: Targets, settings: MasksSettings, count: int) -> None:
    """Refuse what is no class."""
    mask = target(targets, "mask", _MASK)
    check_count(mask, "mask", count)
    check_integers(mask, "mask")
    if mask.ndim != 3:
        raise InputError(f"targets: 'mask' has shape {list(mask.shape)}: {_MASK}")
    for sample in range(count):  # one by one: masks may lie on a disk
        wrong = (mask[sample] != settings.ignore) & (mask[sample] < 0)
        if wrong.any():
            raise InputError(
                f"targets: the mask of sample {sample} has class {mask[sample][wrong][0]}: classes "
                f"are from 0 on; set ignore, which is {settings.ignore}, to what does not count"
            )


class _Tally(Tally):
    metrics_of = metrics

    def __init__(self, targets: Targets, settings: MasksSettings, count: int) -> None:
        super().__init__(targets, settings, count)
        # Pixels by class: right ones, those of the output, those of the target.
        self.counts = np.zeros((3, 1), dtype=np.int64)
        # The same of each sample, of the classes that it has: [entries, 5], sample and class first.
        self.entries: list[Integers] = []

    def take(self, outputs: Outputs, samples: slice) -> None:
        answer, classes = decode(pick(outputs, self.settings.output), self.settings)
        right = self.targets["mask"][samples].astype(np.int64)
        if answer.shape != right.shape:
            raw = pick(outputs, self.settings.output).shape
            turned = self.settings.form == "channels_first" and raw[1:3] == right.shape[1:]
            raise InputError(
                f"output {self.settings.output} gives masks of {_size(answer)} pixels, the "
                f"targets' are {_size(right)}: "
                + (
                    "its classes come last, so set form: channels_last"
                    if turned
                    else "set enlarge, or make masks of the output's size"
                )
            )
        counted = right != self.settings.ignore
        beyond = counted & (right >= classes) & (classes > 0)
        if beyond.any():
            i = int(np.flatnonzero(in_rows(beyond).any(axis=1))[0])
            raise InputError(
                f"targets: the mask of sample {samples.start + i} has class "
                f"{right[i][beyond[i]][0]}, the output has {classes} classes, counted from 0; set "
                f"ignore, which is {self.settings.ignore}, to what does not count"
            )
        whole = answer, right, counted
        answer, right = answer[counted], right[counted]
        if answer.size == 0:
            return
        worst = max(-int(answer.min()), int(answer.max()), int(right.max()))
        if answer.min() < 0 or worst > MOST_CLASSES:
            raise InputError(
                f"output {self.settings.output} or its target has class {worst}: classes are from "
                f"0 to {MOST_CLASSES}"
            )
        size = int(max(answer.max(), right.max(), self.counts.shape[1] - 1)) + 1
        if size > self.counts.shape[1]:
            self.counts = np.pad(self.counts, ((0, 0), (0, size - self.counts.shape[1])))
        parts = (answer[answer == right], answer, right)
        self.counts += np.stack([np.bincount(part, minlength=size) for part in parts])
        for i, (given, wanted, kept) in enumerate(zip(*whole)):
            self.entries.append(_entries(samples.start + i, given[kept], wanted[kept]))

    def reweighted(self) -> Reweighted:
        sample, label, *pixels = np.concatenate([*self.entries, np.zeros((0, 5), np.int64)]).T
        size = self.counts.shape[1]

        def score(counts: Integers) -> float | None:
            weights = counts[sample]
            hits, given, right = (
                np.bincount(label, weights=weights * part, minlength=size) for part in pixels
            )
            union = given + right - hits
            present = union > 0
            return float((hits[present] / union[present]).mean()) if present.any() else None

        return Reweighted(self.count, 3 * len(sample) + size, score)

    def finish(self) -> Mapping[str, float | Unavailable]:
        hits, given, right = self.counts
        union = given + right - hits
        if not union.any():
            nothing = Unavailable(f"all pixels of all targets are {self.settings.ignore}, ignored")
            return {"miou": nothing, "pixel_accuracy": nothing}
        present = union > 0
        return {
            "miou": float((hits[present] / union[present]).mean()),
            "pixel_accuracy": int(hits.sum()) / int(right.sum()),
        }


def _entries(sample: int, given: Integers, right: Integers) -> Integers:
    """Pixels of one sample -> its classes, each with those right, given and of the target."""
    size = int(max(given.max(initial=0), right.max(initial=0))) + 1
    parts = (given[given == right], given, right)
    pixels = np.stack([np.bincount(part, minlength=size) for part in parts])
    label = np.flatnonzero(pixels.any(axis=0))
    rows = np.stack([np.full(len(label), sample), label, *pixels[:, label]], axis=1)
    return rows.astype(np.int64)


def _size(masks: Integers) -> str:
    return f"{masks.shape[2]}x{masks.shape[1]}"


TASK = Task(
    name="masks",
    meaning="what each pixel is (segmentation)",
    settings=MasksSettings,
    targets={"mask": "[N, H, W] whole numbers: the class of each pixel"},
    metrics=metrics,
    headline="miou",
    check_targets=check,
    make_tally=_Tally,
    same_answers=agree,
)
