"""Times of layers beside what `edgeticket diff` says of the same layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.layers.report import LayerReport
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.strict_json import parse_json
from edgeticket.device_runner.terminal import finding_lines

LIMIT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class LayerError:
    """A layer's own error: codes of int8, else reals."""

    codes: bool
    largest: float | None  # None: not a number
    equal: float  # share of the numbers that are the reference's, 0..1
    over: bool  # beyond the bounds of the diff


@dataclass(frozen=True)
class TimedLayers:
    """One artifact on one device; errors by the names that its report has."""

    report: LayerReport
    errors: Mapping[str, LayerError]

    @property
    def unmatched(self) -> int:
        """Layers that the diff says nothing of: copies, paddings, what was fused otherwise."""
        return sum(layer.name not in self.errors for layer in self.report.layers)


def read_errors(path: Path) -> dict[str, dict[str, LayerError]]:
    """JSON of `edgeticket diff` -> by artifact, the errors of its layers by step and by value.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    data = read_regular(path, kind="diff", limit_bytes=LIMIT_BYTES)
    document = parse_json(data, place=str(path))
    try:
        return {
            str(entry["artifact"]): {
                str(layer[key]): _error(layer)
                for key in ("value", "name")
                for layer in entry["layers"]
            }
            for entry in document["artifacts"]
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{path} is no JSON of `edgeticket diff --json`") from None


def _error(layer: Mapping[str, Any]) -> LayerError:
    largest = layer["own"]["max"]
    return LayerError(
        codes=bool(layer["codes"]),
        largest=None if largest is None else float(largest),
        equal=float(layer["own"]["equal"]),
        over=bool(layer["over"]),
    )


def joined(
    report: LayerReport, errors: Mapping[str, Mapping[str, LayerError]] | None
) -> TimedLayers:
    """A report with the errors of its artifact; a layer is found by the step or the value that it
    is called after.

    Raises:
        InputError: the diff is of other artifacts.
    """
    if errors is None:
        return TimedLayers(report, {})
    if report.artifact.id not in errors:
        raise InputError(
            f"the diff has no {report.artifact.id} (it has: {', '.join(errors) or 'nothing'}): "
            "name one of them with --artifact"
        )
    known = errors[report.artifact.id]
    return TimedLayers(report, {layer.name: known[layer.name] for layer in report.layers
                                if layer.name in known})  # fmt: skip


def print_layers(timed: Sequence[TimedLayers], console: Console) -> None:
    """A table for each artifact: time, share, who ran it, error; then the sum against the whole."""
    for one in timed:
        console.print(_table(one))
        lines = finding_lines(one.report.validity)
        if one.report.statistic == "min":
            lines.append("INVALID, so times are those of the fastest queries")
        if one.errors and one.unmatched:
            lines.append(f"the diff says nothing of {one.unmatched} of these layers")
        for line in lines:
            console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)


def _table(one: TimedLayers) -> Table:
    report = one.report
    runtime = report.runtime
    table = Table(
        title=Text(
            plain(f"{report.artifact.id}, {runtime.package} {runtime.version} on "
                  f"{report.machine.cpu}, {runtime.threads} thread{'s' * (runtime.threads > 1)}")
        ),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for heading in ("layer", "operator", "format", "by"):
        table.add_column(heading, overflow="fold")
    for heading in ("µs", "share", *(("own max", "equal") if one.errors else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    whole = max(1, report.whole_ns)
    for layer in report.layers:
        error = one.errors.get(layer.name)
        words = [layer.name, layer.kind, layer.precision, layer.by]
        cells: list[Text | str] = [*(Text(plain(word)) for word in words)]
        cells += _time(layer.time_ns, whole)
        style = "bold red" if error is not None and error.over else None
        table.add_row(*cells, *(_cells(error) if one.errors else ()), style=style)
    for title, time in (("sum", report.sum_ns), ("rest", report.rest_ns), ("whole", whole)):
        table.add_row(title, "", "", "", *_time(time, whole))
    return table


def _time(time_ns: float, whole_ns: int) -> tuple[str, str]:
    return f"{time_ns / 1e3:.1f}", f"{time_ns / whole_ns:.1%}"


def _cells(error: LayerError | None) -> tuple[str, str]:
    if error is None:
        return "", ""
    largest = "nan" if error.largest is None else f"{error.largest:.4g}"
    return f"{largest} LSB" if error.codes else largest, f"{error.equal:.2%}"
