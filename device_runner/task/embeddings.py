"""Embeddings: are these two of the same? Verification of pairs by the distance of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
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
from edgeticket.device_runner.task.numbers import flat
from edgeticket.device_runner.task.ranking import BestSplit, best_split, roc_auc
from edgeticket.device_runner.task.resampling import Reweighted
from edgeticket.device_runner.task.settings import Settings, choice, integer, number
from edgeticket.device_runner.task.targets import check_count, check_integers, target
from edgeticket.device_runner.unavailable import Unavailable

MOST_PAIRS = 5_000_000  # of identities: some 3,160 samples, each with each
AT_ONCE = 65_536  # pairs whose vectors are held at a time
BITS = 40  # of likeness, that count
_PAIRS = (
    "give pairs of samples and whether they are of the same, [pairs, 3] (first, second, 1 or 0), "
    "or 'identity', [N], for all pairs"
)


@dataclass(frozen=True)
class EmbeddingsSettings(Settings):
    """Settings of the task `embeddings`."""

    output: int = integer(0, "the output to read, [N, ...]: one vector for each sample")
    by: str = choice(
        "cosine",
        ("cosine", "euclidean"),
        "what makes two vectors alike: their cosine (0 where one is zero), or a small distance",
    )
    tolerance: float = number(
        0.02,
        "two answers agree if their vectors are this near: 1 - cosine, or distance by the length "
        "of the first",
        least=0,
        most=1e6,
    )


def metrics(settings: EmbeddingsSettings) -> tuple[Metric, ...]:
    """Of pairs."""
    return (
        Metric("accuracy", HIGHER, "share", "pairs that are right at the best threshold for them"),
        Metric("auc", HIGHER, "share", "chance that a pair of the same is nearer than another one"),
    )


def likeness(a: Floats, b: Floats, by: str) -> Floats:
    """Vectors [P, D] and [P, D] -> how alike they are, [P]; higher is more."""
    if by == "euclidean":
        return np.asarray(-np.sqrt(((a - b) ** 2).sum(axis=1)))
    lengths = np.sqrt((a * a).sum(axis=1)) * np.sqrt((b * b).sum(axis=1))
    cosine: Floats = np.divide(
        (a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0
    )
    return cosine


def settled(alike: Floats, by: str) -> Floats:
    """Likeness to 40 bits, so that what is equal is a tie.

    Vectors of int8 codes have many equal cosines. In float64 they part in the last bit, by the
    order in which a machine adds: equal outputs would be ranked otherwise on another one.
    """
    if by == "cosine":  # from -1 to 1
        return np.asarray(np.ldexp(np.rint(np.ldexp(alike, BITS)), -BITS))
    fraction, exponent = np.frexp(alike)
    return np.asarray(np.ldexp(np.rint(np.ldexp(fraction, BITS)), exponent - BITS))


def agree(outputs: Outputs, others: Outputs, settings: EmbeddingsSettings) -> Flags:
    """The vectors are near enough to one another."""
    a, b = pick(outputs, settings.output), pick(others, settings.output)
    wide, other = flat(a), flat(b)
    with np.errstate(invalid="ignore", over="ignore"):
        if settings.by == "cosine":
            apart = 1.0 - likeness(wide, other, "cosine")
            limit: Any = settings.tolerance
            both_zero = ~wide.any(axis=1) & ~other.any(axis=1)
        else:
            apart = -likeness(wide, other, "euclidean")
            limit = settings.tolerance * np.sqrt((wide * wide).sum(axis=1))
            both_zero = apart == 0
        flags: Flags = ((apart <= limit) | both_zero) & finite_samples(a) & finite_samples(b)
    return flags


def read_pairs(targets: Targets) -> Integers:
    """Targets -> pairs [P, 3]: first, second, whether they are of the same."""
    if "pairs" in targets:
        return targets["pairs"].astype(np.int64)
    identity = targets["identity"]
    first, second = np.triu_indices(len(identity), k=1)
    same = (identity[first] == identity[second]).astype(np.int64)
    return np.stack([first, second, same], axis=1).astype(np.int64)


def check(targets: Targets, settings: EmbeddingsSettings, count: int) -> None:
    """Refuse pairs of samples that are not there."""
    if "pairs" not in targets and "identity" in targets:
        identity = targets["identity"]
        check_count(identity, "identity", count)
        check_integers(identity, "identity")
        if identity.ndim != 1:
            raise InputError(f"targets: 'identity' has shape {list(identity.shape)}: give [N]")
        if count * (count - 1) // 2 > MOST_PAIRS:
            raise InputError(
                f"targets: {count} samples make {count * (count - 1) // 2} pairs, more than "
                f"{MOST_PAIRS}: give 'pairs', or fewer samples"
            )
        return
    pairs = target(targets, "pairs", _PAIRS)
    check_integers(pairs, "pairs")
    if pairs.ndim != 2 or pairs.shape[1] != 3:
        raise InputError(f"targets: 'pairs' has shape {list(pairs.shape)}: {_PAIRS}")
    if len(pairs) == 0:
        return
    outside = (pairs[:, :2] < 0) | (pairs[:, :2] >= count)
    if outside.any():
        row = int(np.flatnonzero(outside.any(axis=1))[0])
        raise InputError(
            f"targets: pair {row} is {pairs[row, :2].tolist()}, there are {count} samples, counted "
            "from 0"
        )
    if not np.isin(pairs[:, 2], (0, 1)).all():
        row = int(np.flatnonzero(~np.isin(pairs[:, 2], (0, 1)))[0])
        raise InputError(f"targets: pair {row} ends in {pairs[row, 2]}: 1 is of the same, 0 not")


def take_first(targets: Targets, count: int) -> Targets:
    """The pairs within the first ``count`` samples."""
    taken = {name: array[:count] for name, array in targets.items() if name != "pairs"}
    if "pairs" in targets:
        pairs = targets["pairs"]
        taken["pairs"] = pairs[(pairs[:, :2] < count).all(axis=1)]
    return taken


class _Tally(Tally):
    metrics_of = metrics

    def __init__(self, targets: Targets, settings: EmbeddingsSettings, count: int) -> None:
        super().__init__(targets, settings, count)
        self.vectors: list[npt.NDArray[Any]] = []
        self.alike: Floats = np.zeros(0)  # of all pairs

    def take(self, outputs: Outputs, samples: slice) -> None:
        self.vectors.append(pick(outputs, self.settings.output).copy())

    def finish(self) -> Mapping[str, float | Unavailable]:
        vectors, pairs = np.concatenate(self.vectors), read_pairs(self.targets)
        vectors = in_rows(vectors)
        if len(pairs) == 0:
            return dict.fromkeys(("accuracy", "auc"), Unavailable("there are no pairs"))
        alike = np.concatenate(
            [
                likeness(
                    vectors[part[:, 0]].astype(np.float64),
                    vectors[part[:, 1]].astype(np.float64),
                    self.settings.by,
                )
                for part in (pairs[i : i + AT_ONCE] for i in range(0, len(pairs), AT_ONCE))
            ]
        )
        alike, same = settled(alike, self.settings.by), pairs[:, 2] == 1
        self.alike = alike
        split = best_split(alike, same)
        return {
            "accuracy": split if isinstance(split, Unavailable) else split.accuracy,
            "auc": roc_auc(alike, same),
        }

    def reweighted(self) -> Reweighted | None:
        """Listed pairs are drawn as they are; of identities samples are, with all their pairs."""
        pairs = read_pairs(self.targets)
        if len(pairs) == 0:
            return None
        split = BestSplit(self.alike, pairs[:, 2] == 1)
        if "pairs" in self.targets:
            return Reweighted(len(pairs), len(pairs), split.of)
        first, second, _ = pairs.T
        return Reweighted(
            self.count, len(pairs), lambda counts: split.of(counts[first] * counts[second])
        )


TASK = Task(
    name="embeddings",
    meaning="whether two are of the same, by the distance of their vectors",
    settings=EmbeddingsSettings,
    targets={
        "pairs?": "[pairs, 3] first sample, second sample, 1 if they are of the same",
        "identity?": "[N] whole numbers; without pairs: each sample with each",
    },
    metrics=metrics,
    headline="accuracy",
    check_targets=check,
    make_tally=_Tally,
    same_answers=agree,
    take_first=take_first,
)
