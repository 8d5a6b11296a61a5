"""What every page keeps to, whatever it is made of: read as a browser and a screen reader would."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from listing_fixtures import write_lines, write_search
from page_fixtures import (
    Page,
    diff_document,
    four_reports,
    report_of,
    task_scores,
    transcription,
    unlabelled,
    write_reports,
    write_run,
)
from runner_fixtures import example_report

import edgeticket
from edgeticket.device_runner.report import write_report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare import Limits, run_gate
from edgeticket.pipeline.page.render import render
from edgeticket.pipeline.page.sources import gather

GOLDEN = Path(__file__).parents[1] / "golden"


def a_run(folder: Path) -> bytes:
    return render(gather([write_run(folder)]))


def with_layers(folder: Path) -> bytes:
    write_run(folder)
    (folder / "diff.json").write_text(json.dumps(diff_document(over=True)))
    return render(gather([folder]))


def with_many_classes(folder: Path) -> bytes:
    labels = [f"class {i}" for i in range(7)]
    data = render(gather([write_run(folder, labels=labels, wrong=range(9))]))
    assert b"class 6" in data
    return data


def transcripts(folder: Path) -> bytes:
    said = ["one two", "three"]
    heard = transcription(["one two", "tree"], said), transcription(said, said)
    reports = [
        report_of("tflite", "int8", accuracy=heard[0]),
        report_of("tflite", "fp32", accuracy=heard[1]),
    ]
    return render(gather([write_reports(folder, reports) / "reports"]))


def nothing_asked(folder: Path) -> bytes:
    reports = [
        report_of("tflite", "int8", accuracy=unlabelled([1, 2, 3, 4, 5])),
        report_of("ort", "int8", accuracy=unlabelled([1, 2, 9, 4, 5])),
        report_of("ort", "fp32", accuracy=unlabelled([6, 7, 8, 9, 10])),
    ]
    return render(gather([write_reports(folder, reports) / "reports"]))


def a_task(folder: Path) -> bytes:
    reports = [
        report_of("tflite", "int8", accuracy=task_scores(0.5, [1, 2, 3, 4, 5])),
        report_of("ort", "int8", accuracy=task_scores(0.5, [1, 2, 3, 4, 5])),
        report_of("tflite", "fp32", accuracy=task_scores(0.25, [6, 7, 8, 9, 10])),
    ]
    data = render(gather([write_reports(folder, reports) / "reports"]))
    text = Page(data).text
    assert "All metrics of the task" in text
    assert "mae 0.25 → 0.5" in text
    assert "Sample 3" in text
    return data


def one_invalid_report(folder: Path) -> bytes:
    folder.mkdir()
    write_report(example_report(), folder / "one.json")
    return render(gather([folder / "one.json"]))


def a_fleet(folder: Path) -> bytes:
    for i, board in enumerate(("Raspberry Pi 4", "Raspberry Pi 5", "Jetson Orin")):
        write_reports(folder, four_reports(session=str(i) * 32, board=board), board)
    return render(gather([folder]))


def an_emulated_board(folder: Path) -> bytes:
    reports = [replace(r, machine=replace(r.machine, emulated="QEMU")) for r in four_reports()]
    return render(gather([write_reports(folder, reports) / "reports"]))


def of_version_4(folder: Path) -> bytes:
    del folder
    return render(gather([GOLDEN / "v4-report.json"]))


def speech_of_version_4(folder: Path) -> bytes:
    del folder
    return render(gather([GOLDEN / "v4-report-speech.json"]))


def a_comparison(folder: Path) -> bytes:
    write_reports(folder, four_reports(), "before")
    write_reports(folder, four_reports(wrong=(3, 4), board="Raspberry Pi 5 Model B"), "after")
    gate = run_gate(folder / "before", [folder / "after"], limits=Limits(max_drop_points=0.1))
    assert gate.exit_code == 1
    sources = gather([folder / "before", folder / "after"])
    return render(replace(sources, comparisons=gate.cases))


def a_search(folder: Path) -> bytes:
    return edgeticket.report(write_search(folder), out=folder / "page.html").read_bytes()


def an_experiment(folder: Path) -> bytes:
    return edgeticket.report(write_lines(folder), out=folder / "page.html").read_bytes()


def as_little_as_can_be(folder: Path) -> bytes:
    """Three queries, one sample, and a machine that tells nothing."""
    missing = Unavailable("not told")
    report = report_of(queries=3)
    silent = replace(
        report,
        machine=replace(
            report.machine, board=missing, cpu=missing, os=missing, int8_instructions=missing
        ),
        before=report.after,
        during=replace(report.during, clock_hz=missing, temperature_c=missing),
        runtime=replace(report.runtime, version=missing),
    )
    return render(gather([write_reports(folder, [silent]) / "reports"]))


KINDS: dict[str, Callable[[Path], bytes]] = {
    kind.__name__: kind
    for kind in (
        *(a_run, with_layers, with_many_classes, transcripts, nothing_asked, one_invalid_report),
        a_task,
        *(a_search, an_experiment),
        *(a_fleet, an_emulated_board, of_version_4, speech_of_version_4, a_comparison),
        as_little_as_can_be,
    )
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[bytes, Page]]:
    made: dict[str, tuple[bytes, Page]] = {}

    def page_of(kind: str) -> tuple[bytes, Page]:
        if kind not in made:
            data = KINDS[kind](tmp_path_factory.mktemp("pages") / kind)
            made[kind] = data, Page(data)
        return made[kind]

    return page_of


Pages = Callable[[str], tuple[bytes, Page]]


@pytest.mark.parametrize("kind", KINDS)
class TestEveryPage:
    def test_names_are_unique_and_what_is_referred_to_is_there(
        self, pages: Pages, kind: str
    ) -> None:
        _, page = pages(kind)
        names = Counter(e.attributes["id"] for e in page.elements if "id" in e.attributes)
        assert [name for name, count in names.items() if count > 1] == []
        for element in page.elements:
            for key in ("aria-labelledby", "aria-describedby"):
                assert set(element.attributes.get(key, "").split()) <= set(names)
            if element.attributes.get("href", "").startswith("#"):
                assert element.attributes["href"][1:] in names

    def test_headings_come_in_order(self, pages: Pages, kind: str) -> None:
        _, page = pages(kind)
        levels = [int(e.tag[1]) for e in page.all("h1", "h2", "h3", "h4")]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
        assert all(e.text.strip() for e in page.all("h1", "h2", "h3"))

    def test_pictures_and_charts_have_words(self, pages: Pages, kind: str) -> None:
        _, page = pages(kind)
        assert all(e.attributes.get("alt") for e in page.all("img"))
        for chart in page.all("svg"):
            if chart.attributes.get("aria-hidden") == "true":
                continue
            assert chart.attributes["role"] == "img"
            first = [child.tag for child in chart.children[:2]]
            assert "aria-label" in chart.attributes or first == ["title", "desc"]
        assert any(len(e.text) > 40 for e in page.all("desc"))

    def test_tables_have_captions_and_headings_with_a_scope(self, pages: Pages, kind: str) -> None:
        _, page = pages(kind)
        tables = page.all("table")
        assert tables
        for table in tables:
            assert table.children[0].tag == "caption"
            assert table.children[0].text.strip()
        assert all(e.attributes.get("scope") for e in page.all("th"))
        assert all(e.text.strip() for e in page.all("th"))
        for region in page.elements:
            if region.attributes.get("class") == "scroll":
                assert region.attributes["tabindex"] == "0"
                assert region.attributes["aria-label"]

    def test_rows_have_as_many_cells_as_their_table_has_columns(
        self, pages: Pages, kind: str
    ) -> None:
        _, page = pages(kind)

        def width(row: object) -> int:
            cells = getattr(row, "children", [])
            return sum(int(cell.attributes.get("colspan", 1)) for cell in cells)

        for table in page.all("table"):
            rows = [row for part in table.children for row in part.children if row.tag == "tr"]
            assert len({width(row) for row in rows}) <= 1, table.children[0].text

    def test_it_loads_nothing_and_runs_nothing(self, pages: Pages, kind: str) -> None:
        data, page = pages(kind)
        assert not page.all("script", "iframe", "object", "embed", "link", "form", "base")
        for element in page.elements:
            assert not [key for key in element.attributes if key.startswith("on")]
            assert "style" not in element.attributes
            for key in ("src", "href", "action", "data", "poster", "srcset"):
                value = element.attributes.get(key, "")
                assert value == "" or value.startswith(("#", "data:image/")), value
        assert not re.search(rb"url\((?!#)", data)
        assert b"@import" not in data
        assert b"http:" not in data.replace(b"http-equiv", b"")
        assert b"https:" not in data

    def test_its_policy_allows_its_own_style_sheet_alone(self, pages: Pages, kind: str) -> None:
        _, page = pages(kind)
        policy = next(
            e.attributes["content"]
            for e in page.all("meta")
            if e.attributes.get("http-equiv") == "Content-Security-Policy"
        )
        assert policy.startswith("default-src 'none';")
        (sheet,) = page.all("style")
        digest = base64.b64encode(hashlib.sha256(sheet.text.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}';" in policy
        assert "unsafe" not in policy

    def test_the_verdict_comes_first(self, pages: Pages, kind: str) -> None:
        _, page = pages(kind)
        first = page.all("h2")[0]
        assert first.text in (
            "Can the times be believed?",
            "Are all limits kept?",
            "Did every device measure?",
            "Is there a network within the bounds?",
            "grid: which did best?",
        )
        assert kind == "an_experiment" or "Can the times be believed?" in [
            e.text for e in page.all("h2")
        ]


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    assert render(gather([folder])) == render(gather([folder]))


def test_styles_of_the_user_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    folder = write_run(tmp_path / "run")
    usual = render(gather([folder]))
    with matplotlib.rc_context(
        {"axes.facecolor": "black", "font.size": 30, "svg.fonttype": "path"}
    ):
        assert render(gather([folder])) == usual
        assert matplotlib.rcParams["font.size"] == 30
