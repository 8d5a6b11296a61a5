"""Series of reports, and the gate that knows their noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from history_fixtures import INVALID, run_of, write
from page_fixtures import Page, answers
from typer.testing import CliRunner

import edgeticket
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.page.over_time import render_history

DAYS = 20


@pytest.fixture
def past(tmp_path: Path) -> Path:
    """Twenty quiet days."""
    return write(tmp_path / "past", [run_of(day) for day in range(DAYS)])


# --- series


def test_reports_become_series_in_the_order_of_their_days(past: Path, tmp_path: Path) -> None:
    write(past, [run_of(3, board="Jetson Orin"), run_of(1, board="Jetson Orin")])
    (past / "notes.json").write_text("{}")
    (past / "copy.json").write_bytes(next(past.rglob("*int8*.json")).read_bytes())
    found = edgeticket.history(past)
    assert len(found.passed_over) == 1
    (one, other) = sorted(found.stories, key=lambda story: len(story.series.runs))
    assert [run.started_utc[:10] for run in one.series.runs] == ["2026-01-02", "2026-01-04"]
    assert len(other.series.runs) == DAYS - 2  # two days' files were replaced by the other board's
    assert other.times == other.answers == ()
    assert other.noise == pytest.approx(0.02, rel=0.5)


def test_a_change_is_told_with_what_changed_along(tmp_path: Path) -> None:
    quiet = [run_of(day) for day in range(15)]
    slow = [run_of(day, slower=0.2, version="2.2.0") for day in range(15, 25)]
    (story,) = edgeticket.history(write(tmp_path, quiet + slow)).stories
    (change,) = story.times
    assert change.at == 15
    assert change.share == pytest.approx(0.2, abs=0.03)
    assert change.behind_ms / change.before_ms == pytest.approx(1 + change.share)
    assert len(change.along) == 1
    assert change.along[0].endswith("2.1.0 → 2.2.0")
    assert story.level_from == 15
    assert story.standing_out == change


def test_other_answers_are_told(tmp_path: Path) -> None:
    before = [run_of(day) for day in range(3)]
    behind = [run_of(day, accuracy=answers(40, wrong=(1, 2))) for day in range(3, 5)]
    (story,) = edgeticket.history(write(tmp_path, before + behind)).stories
    (change,) = story.answers
    assert change.at == 3
    assert change.scores == (1.0, 0.95)
    assert change.along == ()


def test_invalid_runs_have_no_time(tmp_path: Path) -> None:
    busy = [run_of(day, slower=1.0, validity=INVALID) for day in range(10, 14)]
    (story,) = edgeticket.history(write(tmp_path, [run_of(d) for d in range(10)] + busy)).stories
    assert story.times == ()
    assert len(story.series.timed) == 10


# --- the gate


def test_a_run_like_those_before_passes(past: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new", [run_of(DAYS)])
    gate = edgeticket.compare(past, new, against="history")
    assert gate.exit_code == 0
    assert "chance explains" in " ".join(gate.cases[0].notes)


def test_a_slower_machine_is_stopped(past: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new", [run_of(DAYS + i, slower=0.08) for i in range(3)])
    gate = edgeticket.compare(past, new, against="history")
    assert gate.exit_code == 1
    assert len(gate.cases) == 3
    for case in gate.cases:
        assert "slower than in 20 runs before" in case.wrongs[0]
    # Once they are history, they are the level that new ones are held against.
    write(past, [run_of(DAYS + i, slower=0.08) for i in range(6)])
    next_day = write(tmp_path / "next", [run_of(DAYS + 7, slower=0.08)])
    assert edgeticket.compare(past, next_day, against="history").exit_code == 0


def test_new_reports_that_lie_in_the_history_already(past: Path, tmp_path: Path) -> None:
    slow = [run_of(DAYS + i, slower=0.1) for i in range(2)]
    write(past, slow)
    new = write(tmp_path / "new", slow)
    gate = edgeticket.compare(past, new, against="history")
    assert gate.exit_code == 1
    assert "in 20 runs before" in gate.cases[0].wrongs[0]


def test_other_limits_hold_against_the_newest_run(past: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new", [run_of(DAYS, accuracy=answers(40, wrong=(0, 1)))])
    gate = edgeticket.compare(past, new, against="history", max_drop_points=1.0, identical=True)
    assert gate.exit_code == 1
    assert any("dropped 5.00 points" in line for line in gate.cases[0].wrongs)
    assert any("not identical" in line for line in gate.cases[0].wrongs)


@pytest.mark.parametrize(
    ("days", "options", "sentence"),
    [
        (0, {}, "the history has no run of .* on this machine: measure 5 first"),
        (4, {}, "4 VALID runs of the history are level with the newest, and 5 are needed"),
        (9, {"validity": INVALID}, "none of its 1 new runs is VALID"),
    ],
)
def test_what_cannot_be_judged_is_no_pass(
    days: int, options: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    other = write(tmp_path / "past" / "other", [run_of(1, board="another")])
    write(other.parent, [run_of(day) for day in range(days)])
    new = write(tmp_path / "new", [run_of(DAYS, **options)])
    gate = edgeticket.compare(tmp_path / "past", new, against="history")
    assert gate.exit_code == 2
    with pytest.raises(InputError, match=sentence):
        raise InputError(gate.cases[0].problem or "")


def test_times_of_emulated_boards_are_not_judged(tmp_path: Path) -> None:
    """Their answers are."""

    def emulated(day: int, **options: object) -> object:
        report = run_of(day, **options)
        return replace(report, machine=replace(report.machine, emulated="qemu"))

    past = write(tmp_path / "past", [emulated(day) for day in range(3)])  # type: ignore[misc]
    new = write(tmp_path / "new", [emulated(9, slower=3.0)])  # type: ignore[list-item]
    assert edgeticket.compare(past, new, against="history", identical=True).exit_code == 0


# --- what people see


def test_the_command_shows_writes_and_is_a_gate(past: Path, tmp_path: Path) -> None:
    write(past, [run_of(DAYS + i, slower=0.3, version="9.9") for i in range(5)])
    page, told = tmp_path / "page.html", tmp_path / "all.json"
    shown = CliRunner().invoke(
        app, ["history", str(past), "--page", str(page), "--json", str(told)]
    )
    assert shown.exit_code == 0, shown.output
    assert "9.9" in shown.output
    (series,) = json.loads(told.read_text())["series"]
    assert len(series["runs"]) == DAYS + 5
    assert series["changes_of_time"][0]["at"] == DAYS
    assert "+3" in page.read_text()
    new = write(tmp_path / "new", [run_of(DAYS + 9, slower=0.9)])
    judged = CliRunner().invoke(app, ["compare", str(past), str(new), "--against", "history"])
    assert judged.exit_code == 1, judged.output
    wrong = CliRunner().invoke(app, ["compare", str(past), str(new), "--against", "weather"])
    assert "--against weather: give report or history" in str(wrong.exception)


def test_foreign_names_are_text_on_the_page(tmp_path: Path) -> None:
    hostile = '<script>alert(1)</script>\x1b[31m\u202e"'
    reports = [run_of(day, board=hostile) for day in range(8)]
    found = edgeticket.history(write(tmp_path, reports))
    data = render_history(found.stories, [hostile])
    page = Page(data)
    assert page.all("script") == []
    assert b"\x1b" not in data
    assert "\u202e" not in data.decode()
    assert "<script>alert(1)" in page.all("h2")[1].text
