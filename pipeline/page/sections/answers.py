"""Which answers are confused with which, and which samples changed theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeticket.device_runner.fidelity import OutputFidelity
from edgeticket.device_runner.report import (
    Accuracy,
    TaskScores,
    Transcription,
    Unlabelled,
)
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.drawn.draw import draw_samples
from edgeticket.pipeline.page.drawn.scene import Legend, Panel
from edgeticket.pipeline.page.pictures import Look, look_at
from edgeticket.pipeline.page.sources import Measured, Sources

MATRIX_CLASSES = 20  # more do not fit a screen: then the commonest confusions are listed
CONFUSIONS = 20
CHANGED = 40  # samples that are shown
DRAWN = 12  # samples that are shown with all answers drawn
EXAMPLES = 2  # samples that are drawn where none changed
LISTED = 60  # numbers of samples that are not shown
COLUMNS = 6  # ways in which all artifacts answered that are shown
LONGEST_ANSWER = 300  # characters


@dataclass(frozen=True)
class Cell:
    """How often; ``tint`` names its colour in the palette, or is empty."""

    count: int
    tint: str


@dataclass(frozen=True)
class Matrix:
    """Rows are the right classes, columns the answers."""

    of: str
    labels: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    shares: tuple[str, ...]  # right answers in each row


@dataclass(frozen=True)
class Confusion:
    """One class that was taken for another, so often, in so many samples of it."""

    right: str
    answer: str
    count: int
    of: int


@dataclass(frozen=True)
class Confusions:
    """The commonest of one artifact."""

    of: str
    rows: tuple[Confusion, ...]


@dataclass(frozen=True)
class Voice:
    """Artifacts that gave the same answer to every sample, and speak as one."""

    title: str
    members: str  # numbers of their rows in the table


@dataclass(frozen=True)
class Changed:
    """One sample to which not all gave the same answer; ``right``: whether each answer is."""

    index: int
    look: Look | None
    truth: str
    answers: tuple[tuple[str, bool | None], ...]
    panels: tuple[Panel, ...] = ()  # instead of ``look`` and ``answers``


@dataclass(frozen=True)
class Changes:
    """All samples that changed their answer, of which some are shown."""

    voices: tuple[Voice, ...]
    samples: tuple[Changed, ...]
    total: int
    count: int
    left_out: int  # voices
    noun: str
    asks: bool  # whether there is a right answer
    legend: tuple[Legend, ...] = ()
    others: tuple[int, ...] = ()  # samples that changed, too, and are not shown


@dataclass(frozen=True)
class OutputRow:
    """How near one output of one artifact is to the network in float32."""

    one: Measured
    output: str
    cells: tuple[str, ...]


def tell_confusion(sources: Sources) -> Matrix | Confusions | None:
    """Of the artifact that the page speaks of first; None: its answers are no classes."""
    one = sources.featured
    accuracy = one.report.accuracy
    if not isinstance(accuracy, Accuracy):
        return None
    names = class_names(sources, accuracy)
    pairs = Counter(zip(accuracy.labels, accuracy.predictions, strict=True))
    of = Counter(accuracy.labels)
    if len(names) > MATRIX_CLASSES:
        wrong = [(pair, count) for pair, count in pairs.most_common() if pair[0] != pair[1]][
            :CONFUSIONS
        ]
        rows = [Confusion(names[a], names[b], count, of[a]) for (a, b), count in wrong]
        return Confusions(one.title, tuple(rows))
    every = range(len(names))
    cells = tuple(
        tuple(Cell(pairs[a, b], _tint(pairs[a, b], of[a], right=a == b)) for b in every)
        for a in every
    )
    shares = tuple(
        words.percent(pairs[a, a] / of[a], digits=1) if of[a] else words.NONE for a in every
    )
    return Matrix(one.title, tuple(names), cells, shares)


def class_names(sources: Sources, accuracy: Accuracy) -> list[str]:
    """Those of the bundle; of classes that it does not name, their numbers."""
    named = [] if sources.manifest is None else [str(name) for name in sources.manifest.labels]
    highest = max((*accuracy.labels, *accuracy.predictions))
    return named + [str(i) for i in range(len(named), highest + 1)]


def tell_changes(sources: Sources) -> Changes | None:
    """Samples to which artifacts answered differently; None: no two can be held against another.

    Artifacts that answer all samples alike share a column. Where nothing is asked of the outputs,
    codes are compared, which float32 has none of.
    """
    if isinstance(sources.measured[0].report.accuracy, TaskScores):
        return tell_task_changes(sources)
    kind = type(sources.measured[0].report.accuracy)
    digest = sources.measured[0].report.accuracy.samples_sha256
    compared = [
        one
        for one in sources.measured
        if type(one.report.accuracy) is kind and one.report.accuracy.samples_sha256 == digest
        if kind is not Unlabelled or one.is_int8
    ]
    if len(compared) < 2:
        return None
    groups: dict[tuple[object, ...], list[Measured]] = {}
    for one in compared:
        groups.setdefault(tuple(one.report.accuracy.answers), []).append(one)
    first = compared[0].report.accuracy
    count = first.count
    voices = [_voice(ones, sources.places) for ones in groups.values()]
    answers = list(groups)
    coded = [of for of, ones in groups.items() if any(one.is_int8 for one in ones)]
    changed = [i for i in range(count) if len({of[i] for of in answers}) > 1]
    # Where int8 parts from int8 something is wrong; that it parts from float32 is its price.
    changed.sort(key=lambda i: (len({of[i] for of in coded}) == 1, i))
    asks = isinstance(first, Accuracy | Transcription)
    looks = look_at(sources.bundle, sources.manifest, changed[:CHANGED])
    names = class_names(sources, first) if isinstance(first, Accuracy) else None
    samples = []
    for index in changed[:CHANGED]:
        truth = first.truth[index] if isinstance(first, Accuracy | Transcription) else None
        told = []
        for of in answers[:COLUMNS]:
            same = of[index] == answers[0][index] if truth is None else of[index] == truth
            told.append((_answer(of[index], names, same=same, asks=asks), same if asks else None))
        samples.append(
            Changed(index, looks.get(index), _named(truth, names) if asks else "", tuple(told))
        )
    noun = {Accuracy: "class", Transcription: "text"}.get(kind, "output")
    return Changes(
        voices=tuple(voices[:COLUMNS]),
        samples=tuple(samples),
        total=len(changed),
        count=count,
        left_out=max(0, len(voices) - COLUMNS),
        noun=noun,
        asks=asks,
    )


def tell_task_changes(sources: Sources) -> Changes | None:
    """As `tell_changes`, of outputs such as boxes, which reports do not hold: by which samples each
    artifact answers otherwise than dense float32, as its runner judged by the task."""
    groups: dict[tuple[int, ...], list[Measured]] = {}
    counts = set()
    for one in sources.measured:
        fidelity, base = one.report.fidelity, sources.baseline_of(one)
        if isinstance(fidelity, Unavailable) or not fidelity.differing:
            continue
        network = one.report.artifact.network if base is None else base.report.artifact.network
        differing = fidelity.differing.get(network, next(iter(fidelity.differing.values())))
        if not isinstance(differing, Unavailable):
            groups.setdefault(tuple(differing), []).append(one)
            counts.add(fidelity.samples)
    if len(counts) != 1:
        return None
    changed = sorted({index for differing in groups for index in differing})
    columns = list(groups)[:COLUMNS]
    voices = [_voice(ones, sources.places) for ones in groups.values()]
    count = counts.pop()
    drawn = draw_samples(
        sources,
        _drawn_apart(groups, sources.places),
        changed[:DRAWN] or range(min(EXAMPLES, count)),
    )
    shown = tuple(drawn.panels) if drawn.panels else tuple(changed[:CHANGED])
    looks = look_at(sources.bundle, sources.manifest, [i for i in shown if not drawn.panels])
    samples = tuple(
        Changed(
            index,
            looks.get(index),
            "",
            tuple(("another" if index in of else "that of float32", None) for of in columns),
            drawn.panels.get(index, ()),
        )
        for index in shown
    )
    others = [index for index in changed if index not in set(shown)]
    return Changes(
        tuple(voices[:COLUMNS]), samples, len(changed), count,
        max(0, len(voices) - COLUMNS), "answer as dense float32", False,
        drawn.legend, tuple(others),
    )  # fmt: skip


def _drawn_apart(
    groups: Mapping[tuple[int, ...], Sequence[Measured]], places: tuple[str, ...]
) -> list[tuple[str, list[Measured]]]:
    """Who is drawn together: one network in one precision that answers alike. What others are held
    against, dense float32, comes first."""
    apart: dict[tuple[bool, tuple[int, ...], str, str], list[Measured]] = {}
    for differing, ones in groups.items():
        for one in ones:
            artifact = one.report.artifact
            key = (bool(differing), differing, artifact.network, artifact.precision)
            apart.setdefault(key, []).append(one)
    ranked = sorted(apart, key=lambda key: key[0])[:COLUMNS]
    voices = [(_voice(apart[key], places), apart[key]) for key in ranked]
    return [(f"{voice.title} ({voice.members})", ones) for voice, ones in voices]


def tell_outputs(sources: Sources) -> tuple[OutputRow, ...]:
    """Every output of every artifact against the network in float32, where reports tell."""
    rows = []
    for one in sources.measured:
        fidelity = one.report.fidelity
        if not isinstance(fidelity, Unavailable):
            rows += [OutputRow(one, output.name, _figures(output)) for output in fidelity.outputs]
    return tuple(rows)


def _figures(output: OutputFidelity) -> tuple[str, ...]:
    cosine, equal, largest = output.cosine, output.equal_share, output.largest_error
    return (
        words.decibels(output.sqnr_db, is_exact=largest == 0),
        words.NONE if isinstance(cosine, Unavailable) else f"{cosine:.6f}",
        words.NONE if isinstance(largest, Unavailable) else f"{largest:.3g}",
        words.NONE if isinstance(equal, Unavailable) else words.percent(equal).removesuffix(" %"),
        str(output.worst_sample),
    )


def _voice(ones: Sequence[Measured], everywhere: tuple[str, ...]) -> Voice:
    """Who gave these answers: as in "ticket int8 on the Pi", with the numbers of their rows."""
    by_network: dict[str, dict[str, None]] = {}
    for one in ones:
        title = f"{one.report.artifact.network} {one.report.artifact.precision}"
        by_network.setdefault(title, {})[one.place] = None
    by_places: dict[tuple[str, ...], list[str]] = {}
    for title, of in by_network.items():
        by_places.setdefault(tuple(of), []).append(title)
    parts = []
    for places, titles in by_places.items():
        where = f" on {words.listed(list(places))}" if len(places) < len(everywhere) else ""
        parts.append(words.listed(titles) + where)
    return Voice("; ".join(parts), words.numbers([one.number for one in ones]))


def _tint(count: int, of: int, *, right: bool) -> str:
    if not count:
        return ""
    share = count / max(of, 1)
    strength = 3 if share >= 0.5 else 2 if share >= 0.1 else 1
    return f"{'right' if right else 'wrong'}-{strength}"


def _named(answer: object, names: list[str] | None) -> str:
    text = str(answer) if names is None or not isinstance(answer, int) else names[answer]
    return text if len(text) <= LONGEST_ANSWER else text[: LONGEST_ANSWER - 1] + "…"


def _answer(answer: object, names: list[str] | None, *, same: bool, asks: bool) -> str:
    if not asks:
        return "the same" if same else "another"
    return _named(answer, names) or "(nothing)"
