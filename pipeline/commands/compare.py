"""``edgeticket compare``: two reports in detail, or many as a gate for CI."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

import edgeticket
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.text import open_console


def compare(
    before: Annotated[
        Path,
        typer.Argument(metavar="BEFORE", help="The report to compare with, or a folder of them."),
    ],
    after: Annotated[
        list[Path], typer.Argument(metavar="AFTER...", help="Reports to judge, or folders of them.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table as Markdown, too.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML, too, for a CI server.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page to look at, too: HTML, as `report` makes."),
    ] = None,
    max_drop: Annotated[
        str | None,
        typer.Option(
            metavar="POINTS|PERCENT%",
            help="Fail if the score is worse by more: top-1, WER, or the headline metric of the "
            "task (docs/tasks.md). 0.5: percentage points of shares, else dB or the metric's own "
            "unit; 1%: of the score before.",
        ),
    ] = None,
    max_p90_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="Fail if the p90 latency is above this.")
    ] = None,
    min_speedup: Annotated[
        float | None,
        typer.Option(metavar="X", help="Fail unless p50 is at least X times lower than before."),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            min=0, max=100, metavar="PERCENT", help="Fail if fewer samples keep their answer."
        ),
    ] = None,
    min_sqnr: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="Fail if an output is further from its float32 reference: a lower ratio of signal "
            "to noise.",
        ),
    ] = None,
    identical: Annotated[
        bool, typer.Option("--identical", help="Fail unless outputs are equal bit for bit.")
    ] = False,
    require_valid: Annotated[
        bool, typer.Option("--require-valid", help="Fail if a report is INVALID.")
    ] = False,
    against: Annotated[
        str,
        typer.Option(
            metavar="report|history",
            help="history: BEFORE is a folder of runs of many days. Fail if p90 is longer than "
            "what those runs differ by explains.",
        ),
    ] = "report",
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="A metric of your own, as in bench: f(outputs, targets), called here with the "
            "outputs beside each report, ARTIFACT.npz. Needs --bundle.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="BUNDLE", help="What was measured: the targets for --metric."),
    ] = None,
) -> None:
    """Compare reports: what an artifact lost or won, or what a device does to it.

    One thing may differ: the artifact (same machine: a *fidelity* comparison), the machine (same
    artifact: *platform*), or the number of threads. With two reports everything is shown. With
    more, each is one line: a folder BEFORE lends each report the one of the same artifact, threads
    and scenario; a single report BEFORE stands against all.

        edgeticket compare host.json device.json --max-drop 0.5

        edgeticket compare float.json int8.json --max-drop 1% --min-agreement 98

        edgeticket compare known-good/ reports/ --identical --require-valid --junit compare.xml

        edgeticket compare all-reports/ new/ --against history     # see docs/history.md

        edgeticket compare a.json b.json --metric mine:error --bundle runs/pose

    Exit codes: 0 fine, 1 a limit is broken,
    2 something cannot be compared; the files are written in any case.
    """
    from edgeticket.pipeline.compare.formats import is_junit, is_markdown, to_junit, to_markdown
    from edgeticket.pipeline.output_folder import check_output, write_output

    if against not in ("report", "history"):
        raise InputError(f"--against {against}: give report or history")
    if page is not None:
        from edgeticket.pipeline.page.file import check_place

        check_place(page)
    if markdown is not None:
        check_output(markdown, ours=is_markdown)
    if junit is not None:
        check_output(junit, ours=is_junit)

    gate = edgeticket.compare(
        before,
        after,
        **_drop(max_drop),
        max_p90_ms=max_p90_ms,
        min_speedup=min_speedup,
        min_agreement=None if min_agreement is None else min_agreement / 100,
        min_sqnr_db=min_sqnr,
        identical=identical,
        require_valid=require_valid,
        against="history" if against == "history" else "report",
        metric=metric,
        bundle=bundle,
    )
    if markdown is not None:
        write_output(markdown, to_markdown(gate).encode(), ours=is_markdown)
    if junit is not None:
        write_output(junit, to_junit(gate), ours=is_junit)
    if page is not None:
        from edgeticket.pipeline.page.render import write_page
        from edgeticket.pipeline.page.sources import gather

        sources = gather([before, *after])
        write_page(replace(sources, comparisons=gate.cases), page)
    is_pair = len(gate.cases) == 1 and not after[0].is_dir() and against == "report"
    single = gate.cases[0] if is_pair else None
    if single is not None and single.problem is not None:
        raise InputError(single.problem)
    if as_json:
        told = gate if single is None or single.comparison is None else single.comparison
        print(json.dumps(told.to_json(), indent=2, allow_nan=False))
    elif single is not None and single.comparison is not None:
        single.comparison.print(open_console())
    else:
        gate.print(open_console())
    raise typer.Exit(gate.exit_code)


def _drop(text: str | None) -> dict[str, float]:
    """The limit that --max-drop is."""
    from edgeticket.pipeline.compare.limits import parse_drop

    return {} if text is None else parse_drop(text, place="--max-drop")
