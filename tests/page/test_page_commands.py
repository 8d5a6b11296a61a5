"""`edgeticket report`, and the pages of `compare` and of a fleet."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from page_fixtures import Page, four_reports, write_reports, write_run

import edgeticket
from edgeticket.device_runner.report import read_report
from edgeticket.pipeline.cli import main
from edgeticket.pipeline.devices.bench import page_sources
from edgeticket.pipeline.devices.fleet_run import Outcome
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.page.render import render


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["edgeticket", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code is None or isinstance(caught.value.code, int)
    return caught.value.code or 0


def test_report_writes_a_page_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = write_run(tmp_path / "run"), tmp_path / "page.html"
    assert call(monkeypatch, "report", folder, "-o", out) == 0
    assert capsys.readouterr().out == f"{out}\n"
    first = out.read_bytes()
    assert Page(first).all("h1")[0].text == "tiny"
    assert call(monkeypatch, "report", folder, "-o", out) == 0  # a page of ours gives way
    assert out.read_bytes() == first


def test_a_file_of_the_users_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = write_run(tmp_path / "run"), tmp_path / "index.html"
    out.write_text("<!DOCTYPE html><html><title>mine</title></html>")
    for arguments in (
        ("report", folder, "-o", out),
        ("compare", folder / "reports", folder / "reports", "--page", out),
    ):
        assert call(monkeypatch, *arguments) == 2
        assert "is there already" in capsys.readouterr().err
    assert "mine" in out.read_text()


def test_what_is_no_report_ends_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "report", tmp_path, "-o", tmp_path / "p.html") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "there is no report in" in error
    assert not (tmp_path / "p.html").exists()


def test_compare_writes_a_page_with_its_cases_whatever_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reports(tmp_path, four_reports(), "before")
    write_reports(tmp_path, four_reports(wrong=(3, 4), board="other"), "after")
    out = tmp_path / "page.html"
    arguments = ("compare", tmp_path / "before", tmp_path / "after", "--page", out)
    assert call(monkeypatch, *arguments, "--max-drop", "0.1") == 1
    page = Page(out.read_bytes())
    assert page.all("h2")[0].text == "Are all limits kept?"
    assert "No: 2 of 4 reports" in page.text
    assert "platform" in page.text
    assert call(monkeypatch, *arguments) == 0
    assert "Yes, by 4 reports." in Page(out.read_bytes()).text


def test_a_fleet_has_this_machine_first_and_says_who_failed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", board="this PC")
    reports = [read_report(file) for file in sorted((folder / "reports").iterdir())]
    boards = four_reports(board="Raspberry Pi 5", session="5" * 32, digest=reports[0].bundle.digest)
    outcomes = [
        Outcome(Device("ssh://pi5", "pi5"), tuple(boards), None),
        Outcome(Device("ssh://dead", "dead"), (), "ssh://dead: no route"),
    ]
    sources = page_sources(folder, outcomes, out=tmp_path / "device-reports")
    assert sources.places == ("this PC", "Raspberry Pi 5")
    page = Page(render(sources))
    assert page.all("h2")[0].text == "Did every device measure?"
    assert "dead: ssh://dead: no route" in page.text
    assert "all 4 int8 measurements are identical" in page.text


def test_from_python(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    out = edgeticket.report(folder, out=tmp_path / "a.html")
    assert out == tmp_path / "a.html"
    assert edgeticket.report([folder / "reports"], out=str(tmp_path / "b.html")).is_file()
    with pytest.raises(edgeticket.InputError, match="there is no report"):
        edgeticket.report(tmp_path / "run" / "bundle", out=tmp_path / "c.html")
