"""What a task is: its settings, its metrics, how outputs are judged, and when two answers agree."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, ClassVar, Union

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.resampling import Reweighted, resampled
from edgeticket.device_runner.task.settings import Settings
from edgeticket.device_runner.unavailable import Unavailable

Outputs = Sequence[npt.NDArray[Any]]
"""One array [N, ...] for each output of the network, real values (int8 codes dequantised)."""

Targets = Mapping[str, npt.NDArray[Any]]
"""What is right, as the arrays of an .npz file; each task says which."""

Metrics = dict[str, Union[float, Unavailable]]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

HIGHER, LOWER = "higher", "lower"
PIECE_BYTES = 4 * 2**20  # of outputs that are read at a time


@dataclass(frozen=True)
class Metric:
    """A number about outputs: its name, which direction is better, its unit, what it means."""

    name: str
    direction: str  # HIGHER or LOWER
    unit: str  # "share": from 0 to 1; "dB"; "pixels"; "target": as the targets; "": none
    meaning: str

    def better(self, new: float, old: float) -> bool:
        """Whether ``new`` is better than ``old``."""
        return new > old if self.direction == HIGHER else new < old

    def tell(self, value: float | Unavailable) -> str:
        """A value in a cell of a table, with its unit."""
        if isinstance(value, Unavailable):
            return "-"
        if self.unit == "share":
            return f"{value:.2%}"
        if self.unit == "dB":
            return f"{value:.2f} dB"
        return f"{value:.4g}" + " px" * (self.unit == "pixels")


def first_rows(targets: Targets, count: int) -> Targets:
    """Targets with a row for each sample -> those of the first ``count`` samples."""
    return {name: array[:count] for name, array in targets.items()}


class Tally:
    """Takes outputs batch by batch, in the order of the samples, and gives the metrics at last.

    Batches bound the memory and change no number. Where an output that counts is not finite, no
    metric can be had, and the reason names the first such sample.
    """

    metrics_of: ClassVar[Callable[[Any], tuple[Metric, ...]]]

    def __init__(self, targets: Targets, settings: Any, count: int) -> None:
        self.targets, self.settings, self.count = targets, settings, count
        self.seen = 0
        self.broken: Unavailable | None = None
        # What each sample brings to the headline, where that is a ratio of sums over samples.
        self.parts: list[tuple[float, float]] = []  # value and weight

    def add(self, outputs: Outputs) -> None:
        """Take the outputs for the next samples.

        Raises:
            InputError: an output that is missing or of a shape that the task cannot read, or more
                outputs than there are targets.
        """
        used = {i: pick(outputs, i) for i in self.settings.used(len(outputs))}
        sizes = {len(array) for array in used.values()}
        if len(sizes) > 1:
            raise InputError(f"outputs are for {sorted(sizes)} samples: they must be for the same")
        size = sizes.pop() if sizes else 0
        if self.seen + size > self.count:
            raise InputError(
                f"outputs for sample {self.count} and beyond, but targets for {self.count} "
                "samples: give the targets of all samples"
            )
        for i, array in used.items():
            sample = first_nonfinite(array)
            if sample is not None and self.broken is None:
                self.broken = Unavailable(
                    f"output {i} is not finite for sample {self.seen + sample}"
                )
        if self.broken is None:
            for part in _pieces(list(used.values())):
                samples = slice(self.seen + part.start, self.seen + part.stop)
                with np.errstate(over="ignore"):
                    self.take([array[part] for array in outputs], samples)
        self.seen += size

    def metrics(self) -> Metrics:
        """All metrics of the task by name."""
        names = [metric.name for metric in type(self).metrics_of(self.settings)]
        if self.broken is None and self.seen == 0:
            self.broken = Unavailable("there are no samples")
        if self.broken is None and self.seen < self.count:
            self.broken = Unavailable(f"outputs for {self.seen} of {self.count} samples only")
        if self.broken is not None:
            return dict.fromkeys(names, self.broken)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is said
            values = self.finish()
        return {name: _number(values[name]) for name in names}

    def per_sample(self) -> tuple[list[float], list[float]] | Unavailable:
        """Values and weights of all samples, whose sums make the headline: their ratio."""
        if self.broken is not None:
            return self.broken
        if not self.seen or len(self.parts) != self.seen:
            return Unavailable("the metric is no mean over samples")
        if not any(weight for _, weight in self.parts):
            return Unavailable("no sample counts")
        return [value for value, _ in self.parts], [weight for _, weight in self.parts]

    def resampled(self) -> tuple[float, ...] | Unavailable:
        """The headline of samples drawn with replacement, draw by draw, where `per_sample` does
        not tell it."""
        if self.broken is not None:
            return self.broken
        if not isinstance(self.per_sample(), Unavailable):
            return Unavailable("per_sample tells what it would be of other samples")
        metric = self.reweighted() if self.seen else None
        if metric is None:
            return Unavailable("the task does not tell what its metric would be of other samples")
        return resampled(metric)

    def reweighted(self) -> Reweighted | None:
        """The headline as a function of how often each sample counts; after `metrics`."""
        return None

    def take(self, outputs: Outputs, samples: slice) -> None:
        """Take finite outputs for ``samples``."""
        raise NotImplementedError

    def finish(self) -> Mapping[str, float | Unavailable]:
        """All metrics; at least one sample was taken."""
        raise NotImplementedError


@dataclass(frozen=True)
class Task:
    """What is asked of outputs.

    Attributes:
        meaning: one line about it.
        settings: its settings' class.
        targets: the arrays of targets, by name, with their shapes; a name with "?" may be missing.
        metrics: settings -> what `score` gives.
        headline: the metric that stands for all.
        check_targets, make_tally, same_answers: what `check`, `tally` and `agree` call.
        take_first: the targets of the first so many samples.
        check_shapes: of outputs that `check_outputs` cannot judge by having no samples.
    """

    name: str
    meaning: str
    settings: type[Settings]
    targets: Mapping[str, str]
    metrics: Callable[[Any], tuple[Metric, ...]]
    headline: str | None
    check_targets: Callable[[Targets, Any, int], None]
    make_tally: Callable[[Targets, Any, int], Tally]
    same_answers: Callable[[Outputs, Outputs, Any], Flags]
    take_first: Callable[[Targets, int], Targets] = first_rows
    check_shapes: Callable[[Sequence[Sequence[int]], Any], None] | None = None

    def metric(self, name: str, settings: Any) -> Metric:
        """The metric of that name, which must be one of `metrics`."""
        return next(metric for metric in self.metrics(settings) if metric.name == name)

    def check_outputs(self, shapes: Sequence[Sequence[int]], settings: Any) -> None:
        """Look at a network's outputs before it is run.

        Args:
            shapes: those of one sample, in the network's own order of axes.
            settings: of the task.

        Raises:
            InputError: an output that is missing, or of a shape that the task cannot read.
        """
        for i in settings.used(len(shapes)):
            if i >= len(shapes):
                raise InputError(
                    f"the task reads output {i}, the network has {len(shapes)}: outputs are "
                    "counted from 0"
                )
        if self.check_shapes is not None:
            self.check_shapes(shapes, settings)
            return
        try:
            nothing = [np.zeros((0, *shape), np.float32) for shape in shapes]
        except ValueError:
            raise InputError(
                f"outputs of shape {[list(s) for s in shapes]} are too large"
            ) from None
        self.same_answers(nothing, nothing, settings)

    def check(self, targets: Targets, settings: Any, count: int) -> None:
        """Look at targets before anything is run.

        Raises:
            InputError: targets that cannot be right for ``count`` samples: names the array, the
                sample and the value.
        """
        known = [name.rstrip("?") for name in self.targets]
        for name in targets:
            if name not in known:
                raise InputError(
                    f"targets hold {name!r}, which {self.name} does not know; "
                    f"known: {', '.join(known) or 'nothing'}: {_way_out(name, known, targets)}"
                )
        self.check_targets(targets, settings, count)

    def tally(self, targets: Targets, settings: Any, count: int) -> Tally:
        """Start to score ``count`` samples whose outputs come in batches; errors as `check`."""
        arrays = {name: targets[name] for name in targets}  # of an .npz: each is read once
        self.check(arrays, settings, count)
        return self.make_tally(arrays, settings, count)

    def score(self, outputs: Outputs, targets: Targets, settings: Any) -> Metrics:
        """Outputs for all samples -> metrics.

        Raises:
            InputError: targets or outputs that do not fit the settings or one another.
        """
        tally = self.tally(targets, settings, len(outputs[0]) if outputs else 0)
        tally.add(outputs)
        return tally.metrics()

    def agree(self, outputs: Outputs, others: Outputs, settings: Any) -> Flags:
        """Outputs of two networks -> for each sample whether the answer is the same, [N].

        Outputs that are not finite agree with nothing.

        Raises:
            InputError: outputs that cannot be compared.
        """
        if len(outputs) != len(others) or not outputs:
            raise InputError(
                f"{len(outputs)} and {len(others)} outputs cannot be compared: give those of one "
                "network"
            )
        for a, b in zip(outputs, others):
            if a.shape != b.shape or a.ndim == 0:
                raise InputError(
                    f"outputs of shape {list(a.shape)} and {list(b.shape)} cannot be compared: "
                    "both must be of one network"
                )
        flags = [
            self.same_answers([a[i] for a in outputs], [b[i] for b in others], settings)
            for i in _pieces(outputs)
        ]
        return np.concatenate([np.zeros(0, dtype=np.bool_), *flags])


def _way_out(name: str, known: Sequence[str], targets: Targets) -> str:
    """What to do about an array that a task does not know."""
    free = [other for other in known if other not in targets]
    near = difflib.get_close_matches(name, free, n=1)
    if near or len(known) == 1 == len(free):
        return f"call it {(near or free)[0]!r}, or leave it out"
    return "leave it out"


def _pieces(outputs: Outputs) -> Iterator[slice]:
    """Samples in pieces of `PIECE_BYTES`: tasks make several float64 copies of a piece."""
    count = min((len(array) for array in outputs), default=0)
    size = sum(array.nbytes for array in outputs)
    step = max(1, PIECE_BYTES * count // max(size, 1))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def pick(outputs: Outputs, index: int) -> npt.NDArray[Any]:
    """
    Raises:
        InputError: there is no such output.
    """
    if index >= len(outputs):
        raise InputError(
            f"the task reads output {index}, the network has {len(outputs)}: "
            "outputs are counted from 0"
        )
    return outputs[index]


def in_rows(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[N, ...] -> [N, numbers of a sample]; N may be 0."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def first_nonfinite(array: npt.NDArray[Any]) -> int | None:
    """The first sample with a value that is not finite."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return None
    return int(np.flatnonzero(~finite_samples(array))[0])


def finite_samples(array: npt.NDArray[Any]) -> Flags:
    """For each sample whether all of its values are finite."""
    if array.dtype.kind != "f":
        return np.ones(len(array), dtype=np.bool_)
    flags: Flags = np.isfinite(in_rows(array)).all(axis=1)
    return flags


def _number(value: float | Unavailable) -> float | Unavailable:
    if isinstance(value, Unavailable):
        return value
    return float(value) if np.isfinite(value) else Unavailable(f"it would be {float(value)}")
