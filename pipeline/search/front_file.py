"""A front as files: front.json for programs, summary.md for people, front.svg to look at."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure
from pydantic import Field

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.strict_json import format_json
from edgeticket.pipeline.recipe.config import Config
from edgeticket.pipeline.search.front import Front, Point, drop_of
from edgeticket.pipeline.search.structure import StructureFile
from edgeticket.pipeline.task.shown import metric_text


class TargetEntry(Config):
    """What the runner measured of a point on one target."""

    artifact: str = Field(description="Of the bundle.")
    runtime: str = Field(description="ort or tflite.")
    p90_ms: float = Field(description="90 % of the queries are answered by then.")
    size_bytes: int = Field(description="Of the artifact's file.")
    test_score: float | None = Field(description="Of the metric, by the runner, read at the end.")
    valid: bool = Field(description="Whether the measurement may be believed.")
    reasons: tuple[str, ...] = Field(description="Why it may not.")


class PointEntry(Config):
    """One trained network with its bundle."""

    name: str = Field(description="Its folder beside this file: bundle, reports, summary.")
    structure: StructureFile = Field(description="As `edgeticket predict --structure` takes it.")
    precision: str = Field(description="int8 or fp32.")
    opinion: str = Field(description="By what channels were judged: divergence, magnitude, even.")
    epochs: int = Field(description="That it was fine-tuned for.")
    score: float | None = Field(description="Of the metric on validation, where choices are made.")
    drop: float = Field(description="Below the dense network on validation, in points or units.")
    predicted_ms: float = Field(description="Measured untrained, as a probe, before training.")
    p90_ms: float = Field(description="On the slowest target.")
    size_bytes: int = Field(description="Of the largest file that targets run.")
    on_front: bool = Field(description="No other point is as good in drop, p90 and bytes.")
    broken: tuple[str, ...] = Field(description="Bounds that it does not keep to.")
    measured: dict[str, TargetEntry] = Field(description="By target's label.")


class FrontFile(Config):
    """front.json."""

    format: Literal[1] = Field(default=1, description="Of this file.")
    name: str = Field(description="Of the recipe.")
    targets: tuple[str, ...] = Field(description="As --on names them.")
    metric: str | None = Field(description="That stands for the task; none: nothing is asked.")
    dense_score: float | None = Field(description="Of the dense network, float32, on validation.")
    dense_ms: float = Field(description="Of the whole network as a probe, in the best format.")
    minimise: str = Field(description="p90, bytes or drop.")
    chosen: str | None = Field(description="The point that was asked for; none is within bounds.")
    nearest: str | None = Field(description="The point nearest to the bounds.")
    points: tuple[PointEntry, ...] = Field(description="The largest first.")
    left_out: dict[str, str] = Field(description="Target -> why it counts no more.")
    unfinished: dict[str, str] = Field(
        default={}, description="Point that is left out -> why: INVALID, or the time was over."
    )
    doubts: tuple[str, ...] = Field(description="Why probes were not VALID; none: they were.")


def front_json(front: Front) -> dict[str, Any]:
    """All of it, as `FrontFile` says."""
    document = FrontFile(
        name=front.name,
        targets=front.targets,
        metric=None if front.dense is None else front.dense.name,
        dense_score=None if front.dense is None else front.dense.value,
        dense_ms=front.dense_ms,
        minimise=front.bounds.minimise,
        chosen=front.chosen,
        nearest=front.nearest,
        points=tuple(_entry(point, front) for point in front.points),
        left_out=dict(front.left_out),
        unfinished=dict(front.unfinished),
        doubts=front.doubts,
    )
    return document.model_dump(mode="json")


def _entry(point: Point, front: Front) -> PointEntry:
    return PointEntry(
        name=point.name,
        structure=StructureFile(
            keep=dict(point.structure.keep), bypass=tuple(sorted(point.structure.bypass))
        ),
        precision=point.precision,
        opinion=point.opinion,
        epochs=point.epochs,
        score=point.score,
        drop=drop_of(point, front.dense),
        predicted_ms=point.predicted_ms,
        p90_ms=point.p90_ms,
        size_bytes=point.size_bytes,
        on_front=point.on_front,
        broken=point.broken,
        measured={
            label: TargetEntry(**{name: getattr(one, name) for name in TargetEntry.model_fields})
            for label, one in point.measured.items()
        },
    )


def schema() -> dict[str, Any]:
    """JSON schema of front.json."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **FrontFile.model_json_schema(mode="serialization"),
    }


def write_schema(folder: Path) -> None:
    """Write front.schema.json into ``folder``."""
    text = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    (folder / "front.schema.json").write_text(text, encoding="utf-8")


def write_front(front: Front, folder: Path) -> None:
    """Write all three."""
    write_atomic(folder / "front.json", format_json(front_json(front)))
    write_atomic(folder / "summary.md", to_markdown(front).encode())
    write_atomic(folder / "front.svg", plot(front))


def rows(front: Front) -> list[tuple[str, ...]]:
    """The table: headings, then a row for each point."""
    name = "score" if front.dense is None else front.dense.name
    table: list[tuple[str, ...]] = [
        ("point", "format", f"{name}, validation", "test", "p90 ms", "kB", "front", "why not")
    ]
    for point in front.points:
        marks = "chosen" if point.name == front.chosen else "yes" if point.on_front else ""
        runtimes = "/".join(dict.fromkeys(one.runtime for one in point.measured.values()))
        table.append(
            (
                point.name,
                f"{runtimes} {point.precision}",
                _shown(front, point.score),
                _shown(front, point.test_score),
                f"{point.p90_ms:.3f}{'' if _is_valid(point) else ' INVALID'}",
                f"{point.size_bytes / 1e3:.1f}",
                marks,
                "; ".join(point.broken),
            )
        )
    return table


def _is_valid(point: Point) -> bool:
    return all(one.valid for one in point.measured.values())


def _shown(front: Front, value: float | None) -> str:
    if front.dense is None or value is None:
        return "–"
    return metric_text(front.dense.metric, value)


def verdict(front: Front) -> str:
    """One sentence: the point that was asked for, or the nearest."""
    if front.chosen is not None:
        return f"{front.chosen} has the least {front.bounds.minimise} within the bounds."
    nearest = next((p for p in front.points if p.name == front.nearest), None)
    if nearest is None:
        return "No point was finished."
    return f"No point is within the bounds; {nearest.name} is nearest: {'; '.join(nearest.broken)}."


def to_markdown(front: Front) -> str:
    """For people."""
    head, *body = rows(front)
    lines = [
        f"# {front.name}: networks for {', '.join(front.targets)}",
        "",
        verdict(front),
        "",
        f"The dense network: {_shown(front, None if front.dense is None else front.dense.value)} "
        f"on validation, {front.dense_ms:.3f} ms as a probe.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in body),
        "",
        "![front](front.svg)",
    ]
    for name, reason in {**front.left_out, **front.unfinished}.items():
        lines += ["", f"{name} was left out: {reason}"]
    if front.doubts:
        lines += ["", "Probes were NOT VALID, their fastest queries were taken:"]
        lines += [f"- {doubt}" for doubt in front.doubts]
    return "\n".join(lines) + "\n"


def plot(front: Front) -> bytes:
    """An SVG file: score against p90; circles are as large as files."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    most = max((point.size_bytes for point in front.points), default=1)
    for point in front.points:
        drop = -drop_of(point, front.dense)
        color = "tab:blue" if point.on_front else "lightgray"
        edge = "black" if point.name == front.chosen else color
        axes.scatter(
            [point.p90_ms], [drop], s=20 + 180 * point.size_bytes / most, color=color,
            edgecolors=edge, linewidths=1.5,
        )  # fmt: skip
        label = f"{point.name.removeprefix(front.name)[1:]}, {point.size_bytes / 1e3:.0f} kB"
        axes.annotate(label, (point.p90_ms, drop), xytext=(6, 6), textcoords="offset points")
    axes.axhline(0, color="black", linestyle="--", linewidth=0.8)
    if front.bounds.max_p90_ms is not None:
        axes.axvline(front.bounds.max_p90_ms, color="tab:red", linestyle=":", linewidth=1)
    axes.set_xlabel("p90, ms, on the slowest target")
    metric = "score" if front.dense is None else front.dense.name
    axes.set_ylabel(f"{metric} against the dense network")
    axes.grid(visible=True, alpha=0.3)
    drawing = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "edgeticket", "svg.fonttype": "none"}):
        figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
    return drawing.getvalue()


if __name__ == "__main__":
    write_schema(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
