"""Histories of files: series, changes, the gate, the page; by the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from page_fixtures import VALID, report_of

from edgeticket.device_runner.report import Report, write_report
from edgeticket.device_runner.validity import Finding, Validity
from edgeticket.pipeline.cli import main
from edgeticket.pipeline.history import gather, judge_new

INVALID = Validity("INVALID", (Finding("load", "another program ran", "stop it"),), (), {})


def run_on(day: int, *, time_ns: int = 40_000, version: str = "2.3.0", **options: object) -> Report:
    report = report_of(time_ns=time_ns + 40 * (day * 7 % 5), session=f"{day:032d}", **options)  # type: ignore[arg-type]
    return replace(
        report,
        session=replace(report.session, started_utc=f"2026-01-{day + 1:02d}T12:00:00Z"),
        runtime=replace(report.runtime, version=version),
    )


def fill(folder: Path, reports: list[Report]) -> Path:
    folder.mkdir()
    for i, report in enumerate(reports):
        write_report(report, folder / f"{i}.json")
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["edgeticket", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_new_runtime_stands_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run_on(i, time_ns=40_000 if i < 8 else 44_000, version="2.3" if i < 8 else "2.4")
            for i in range(16)]  # fmt: skip
    hostile = replace(runs[3], bundle=replace(runs[3].bundle, name="<script>alert(1)</script>"),
                      machine=replace(runs[3].machine, board="<b>board"))  # fmt: skip
    runs[5] = replace(run_on(5, time_ns=400_000, version="2.3"), validity=INVALID)
    folder = fill(tmp_path / "runs", [*reversed(runs), hostile])
    (folder / "notes.json").write_text("{}")
    page, told = tmp_path / "h.html", tmp_path / "h.json"
    assert call(monkeypatch, "history", folder, "-o", page, "--json", told) == 0
    assert "2.3 → ai-edge-litert 2.4" in capsys.readouterr().out.replace("\n", " ")
    document = json.loads(told.read_text())
    assert len(document["passed_over"]) == 1
    (series,) = [s for s in document["series"] if len(s["runs"]) > 1]
    assert [c["at"] for c in series["changes"]] == [8]
    assert series["runs"][0]["started_utc"] < series["runs"][-1]["started_utc"]
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;b&gt;board" in text
    assert text.count("<svg") == 4
    assert call(monkeypatch, "history", folder, "-o", page) == 0  # an older page gives way


def test_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past = fill(tmp_path / "past", [run_on(i) for i in range(10)])
    same = fill(tmp_path / "same", [run_on(20)])
    slow = fill(tmp_path / "slow", [run_on(21, time_ns=42_500)])
    first = fill(tmp_path / "first", [run_on(22, board="a new board")])
    markdown = tmp_path / "comment.md"
    gate = ("--against", "history", "--markdown", markdown)
    assert call(monkeypatch, "compare", past, same, *gate) == 0
    assert call(monkeypatch, "compare", past, slow, *gate) == 1
    assert "| worse |" in markdown.read_text()
    capsys.readouterr()
    assert call(monkeypatch, "compare", past, first, "--against", "history", "--json") == 0
    verdicts = json.loads(capsys.readouterr().out)["verdicts"]
    assert {v["outcome"] for v in verdicts} == {"not judged"}
    assert call(monkeypatch, "compare", past, slow, "--against", "history", "--max-drop", "1") == 2
    assert call(monkeypatch, "compare", tmp_path / "none", slow, "--against", "history") == 2
    # A run that is among the past ones is not held against itself.
    mixed = judge_new(gather([past, slow]), [slow])
    assert [v.past for v in mixed.verdicts] == [10, 10]
    assert VALID.verdict == "VALID"
