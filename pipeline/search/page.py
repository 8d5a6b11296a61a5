"""A front as a page: the point that was asked for, all points, and what was cut for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.strict_json import parse_json
from edgeticket.pipeline.output_folder import write_output
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.charts.front import Point, draw_front
from edgeticket.pipeline.page.file import is_page
from edgeticket.pipeline.page.listing import Part, Table, render_listing
from edgeticket.pipeline.page.sections.verdict.statement import BAD, GOOD, OPEN, Statement
from edgeticket.pipeline.recipe import check
from edgeticket.pipeline.search.front_file import FrontFile, PointEntry
from edgeticket.pipeline.text import plain

FRONT = "front.json"
LIMIT_BYTES = 64 * 2**20
WORDS = (
    ("point", "A trained network of this search, with its bundle, reports and page in a folder."),
    ("front", "The points that no other beats in score, p90 and bytes at once."),
    ("p90", "Nine of ten answers take at most so long, on the slowest target."),
    ("drop", "How far the score on validation is below that of the dense network."),
    ("dense", "The network as it was trained, before anything was removed."),
    ("validation, test", "Choices are made on validation; test is read once, at the end."),
    ("VALID, INVALID", "Whether the machine was steady enough for the times to be believed."),
)


def read_front(folder: Path) -> FrontFile:
    """The front.json of a search's folder.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    file = folder / FRONT
    data = read_regular(file, kind="front", limit_bytes=LIMIT_BYTES)
    document = parse_json(data, place=str(file))
    if not isinstance(document, dict):
        raise InputError(f"{file} is no front: a mapping of keys is wanted")
    return check(FrontFile, document, place=str(file))


def write_front_page(folder: Path, file: Path) -> None:
    """Make a page of a search's folder; an older page gives way.

    Raises:
        InputError: as `read_front`; another file is at ``file``.
    """
    write_output(file, render_front(read_front(folder), folder), ours=is_page)


def render_front(front: FrontFile, folder: Path) -> bytes:
    """The page as UTF-8; ``folder``: where the points' bundles lie."""
    parts = [Part("All points", table=_table(front), after=_left_out(front)), _trade(front)]
    if front.points:
        parts.append(_cuts(front, folder))
    chosen = front.chosen or front.nearest
    if chosen is not None:
        commands = (f"device-runner bench {chosen}/bundle.zip -o reports",)
        parts.append(Part("Take it", ("From the folder of the search:",), commands=commands))
    parts.append(Part("Words on this page", words=WORDS))
    count = words.plural(len(front.points), "point")
    return render_listing(
        parts,
        title=f"{front.name}: the smallest network that still does the job",
        eyebrow="edgeticket search",
        lead=f"{count} trained and measured for {words.listed(list(front.targets) or ['–'])}. "
        f"The dense network: {_score(front, front.dense_score)} on validation, "
        f"{front.dense_ms:.3f} ms as a probe.",
        statements=(_asked(front), _trust(front), _won(front)),
    )


def _asked(front: FrontFile) -> Statement:
    question = "Is there a network within the bounds?"
    aim = {"p90": "the shortest p90", "bytes": "the fewest bytes", "drop": "the smallest drop"}
    by_name = {point.name: point for point in front.points}
    if front.chosen in by_name:
        point = by_name[front.chosen]
        return Statement(
            question, GOOD, f"Yes: {point.name}, with {aim.get(front.minimise, front.minimise)}.",
            (_told(front, point),),
        )  # fmt: skip
    if front.nearest in by_name:
        point = by_name[front.nearest]
        return Statement(
            question, BAD, f"No. Nearest is {point.name}: {'; '.join(point.broken)}.",
            (_told(front, point),),
        )  # fmt: skip
    return Statement(question, OPEN, "No point was finished.", ())


def _trust(front: FrontFile) -> Statement:
    question = "Can the times be believed?"
    bad = [
        f"{point.name} on {label}: {'; '.join(one.reasons) or 'INVALID'}"
        for point in front.points
        for label, one in point.measured.items()
        if not one.valid
    ]
    count = sum(len(point.measured) for point in front.points)
    if not count:
        return Statement(question, OPEN, "Nothing was measured.", ())
    if bad:
        return Statement(
            question, BAD, f"No: {len(bad)} of {count} measurements are INVALID.",
            ("Run the same command with --remeasure on a quiet machine.",),
            more_title="Why", more=tuple(bad),
        )  # fmt: skip
    doubts = ("Probes, by which structures were chosen, were not VALID.",) if front.doubts else ()
    return Statement(
        question, GOOD, f"Yes: all {count} measurements are VALID.", doubts,
        more_title="Why the probes were not", more=front.doubts,
    )  # fmt: skip


def _won(front: FrontFile) -> Statement:
    question = "What was won, and what did it cost?"
    fitting = [point for point in front.points if point.name == (front.chosen or front.nearest)]
    if not fitting:
        return Statement(question, OPEN, "Nothing that could be told.", ())
    (point,) = fitting[:1]
    # Both as probes, which were timed in turns; a p90 beside a probe would be unlike things.
    faster = front.dense_ms / point.predicted_ms if point.predicted_ms else None
    drop = f"{point.drop:.2f} points" if _is_share(front) else f"{point.drop:.4g}"
    cost = f"{drop} lower on validation" if point.drop > 0 else "no drop on validation"
    is_valid = all(one.valid for one in point.measured.values())
    doubt = () if is_valid else ("By times that cannot be believed.",)
    size = f"{words.kilobytes(point.size_bytes)} kB for the largest file that targets run."
    return Statement(
        question,
        GOOD if is_valid else OPEN,
        f"{words.times(faster)} as fast as the dense network, {cost}.",
        (*doubt, size),
    )


def _told(front: FrontFile, point: PointEntry) -> str:
    return (
        f"{_score(front, point.score)} on validation, p90 {point.p90_ms:.3f} ms, "
        f"{words.kilobytes(point.size_bytes)} kB."
    )


def _table(front: FrontFile) -> Table:
    rows, featured = [], None
    for number, point in enumerate(front.points, start=1):
        if point.name == front.chosen:
            featured = number - 1
        tests = [one.test_score for one in point.measured.values() if one.test_score is not None]
        runtimes = "/".join(dict.fromkeys(one.runtime for one in point.measured.values()))
        valid = all(one.valid for one in point.measured.values())
        standing = "chosen" if point.name == front.chosen else "yes" if point.on_front else "no"
        rows.append(
            (
                f"{number} {point.name}",
                f"{runtimes} {point.precision}",
                _score(front, point.score),
                _score(front, min(tests)) if tests else words.NONE,
                f"{point.predicted_ms:.3f}",
                f"{point.p90_ms:.3f}",
                words.kilobytes(point.size_bytes),
                "VALID" if valid else "INVALID",
                standing,
                "; ".join(point.broken) or words.NONE,
            )
        )
    name = front.metric or "score"
    headings = (
        *("Point", "Format", f"{name}, validation", f"{name}, test", "Predicted ms", "p90 ms"),
        *("kB", "Times", "On the front", "Bounds that it breaks"),
    )
    caption = "Every point that was trained, the largest first; bold: the one that was asked for."
    return Table(caption, headings, tuple(rows), (2, 3, 4, 5, 6), featured)


def _trade(front: FrontFile) -> Part:
    scored = [
        (number, point, point.score)
        for number, point in enumerate(front.points, start=1)
        if point.score is not None and point.p90_ms > 0
    ]
    if len(scored) < 2:
        return Part("What accuracy costs", ("There are not two points to be held side by side.",))
    unit = ", %" if _is_share(front) else ""
    charts = []
    costs: tuple[tuple[str, str, Callable[[PointEntry], float]], ...] = (
        ("front-time", "p90, ms", lambda point: point.p90_ms),
        ("front-bytes", "kB", lambda point: point.size_bytes / 1000),
    )
    for name, axis, cost in costs:
        points = [
            Point(
                number, plain(point.name), plain(point.precision), point.precision == "int8",
                cost(point), 100 * score if _is_share(front) else score,
            )
            for number, point, score in scored
        ]  # fmt: skip
        charts.append(
            draw_front(
                points, name=name, title=f"{front.metric or 'score'} against {axis}", cost=axis,
                score=f"{plain(front.metric or 'score')} on validation{unit}",
                lower_is_better=_is_lower_better(front), caption="",
            )
        )  # fmt: skip
    text = (
        "Each mark is a point, with its number in the table. The dashed line joins those that no "
        "other beats in both directions at once; the best corner is the upper left one."
    )
    return Part("What accuracy costs", (text,), tuple(charts))


def _cuts(front: FrontFile, folder: Path) -> Part:
    groups = list(dict.fromkeys(name for point in front.points for name in point.structure.keep))
    rows = [
        (name, *(f"{point.structure.keep.get(name, 0):,}" if name in point.structure.keep else "all"
                 for point in front.points))
        for name in groups
    ]  # fmt: skip
    bypassed = ["; ".join(point.structure.bypass) or words.NONE for point in front.points]
    rows.append(("blocks left out", *bypassed))
    works = [_work(folder / point.name) for point in front.points]
    for title, key in (("weights left", "parameters"), ("work left", "macs")):
        if any(key in work for work in works):
            rows.append((title, *(work.get(key, words.NONE) for work in works)))
    table = Table(
        "Channels of each group of layers that are left, point by point.",
        ("Group", *(point.name for point in front.points)),
        tuple(rows),
        tuple(range(1, len(front.points) + 1)),
    )
    return Part("What was cut", table=table)


def _work(point: Path) -> Mapping[str, str]:
    """How many weights and multiply-accumulates are left, by the log in the point's bundle."""
    try:
        with open_bundle(point / "bundle") as bundle:
            steps = bundle.manifest.provenance.get("steps")
    except InputError:
        return {}
    if not isinstance(steps, list) or len(steps) < 2:
        return {}
    first, last = steps[0], steps[-1]
    return {
        key: f"{_number(last, key):,} ({words.percent(_number(last, key) / before, digits=1)})"
        for key in ("parameters", "macs")
        if (before := _number(first, key)) and _number(last, key)
    }


def _number(step: Any, key: str) -> int:
    value = step.get(key) if isinstance(step, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _left_out(front: FrontFile) -> tuple[str, ...]:
    return tuple(
        f"{name} was left out: {reason}"
        for name, reason in {**front.left_out, **front.unfinished}.items()
    )


def _is_share(front: FrontFile) -> bool:
    """Whether scores are shares: then drops are in points."""
    for point in front.points:
        if point.score is None or front.dense_score is None:
            continue
        lost = abs(front.dense_score - point.score)
        if lost:
            return abs(abs(point.drop) - 100 * lost) < abs(abs(point.drop) - lost)
    return front.metric in ("top-1", "mAP", "mAP50", "mIoU", "pck")


def _is_lower_better(front: FrontFile) -> bool:
    """A point that is worse than the dense network has a higher score, or the other way round."""
    dense = front.dense_score
    return dense is not None and any(
        point.score is not None and point.drop * (point.score - dense) > 0 for point in front.points
    )


def _score(front: FrontFile, value: float | None) -> str:
    if value is None:
        return words.NONE
    return words.percent(value) if _is_share(front) else f"{value:.4g}"
