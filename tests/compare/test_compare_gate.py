"""Many reports as a gate: exit codes, who is compared with whom, Markdown and JUnit."""

from __future__ import annotations

import io
import json
import re
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from runner_fixtures import example_report

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import STEERING
from edgeticket.device_runner.report import Report, write_report
from edgeticket.device_runner.validity import Validity
from edgeticket.pipeline.cli import main
from edgeticket.pipeline.compare import Case, Gate, Limits, compare, run_gate
from edgeticket.pipeline.compare.formats import to_junit, to_markdown
from edgeticket.pipeline.compare.gate import HEADINGS

VALID = Validity("VALID", (), (), {})
BASE = replace(example_report(), validity=VALID)
NAMES = ("a", "b", "c")


def named(report: Report, name: str) -> Report:
    artifact = replace(report.artifact, id=name, sha256=name.encode().hex().rjust(64, "0"))
    session = replace(report.session, artifacts=(name,))
    return replace(report, artifact=artifact, session=session)


def elsewhere(report: Report) -> Report:
    return replace(report, machine=replace(report.machine, board="Raspberry Pi 5 Model B"))


def worse(report: Report) -> Report:
    """One more sample wrong, of four."""
    accuracy = replace(
        report.accuracy, predictions=(1, 1, 6, 6), top1=0.5, outputs_sha256="ee" * 32
    )
    return replace(report, accuracy=accuracy)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder of reports of three artifacts."""
    return fill(tmp_path / "good", {name: named(BASE, name) for name in NAMES})


def fill(folder: Path, reports: dict[str, Report]) -> Path:
    folder.mkdir()
    for name, report in reports.items():
        write_report(report, folder / f"{name}.json")
    return folder


def outcomes(gate: Gate) -> list[tuple[str, str]]:
    return [(case.artifact, case.outcome) for case in gate.cases]


def test_a_folder_against_a_folder(good: Path, tmp_path: Path) -> None:
    reports = {name: elsewhere(named(BASE, name)) for name in NAMES}
    new = fill(tmp_path / "new", {**reports, "b": worse(reports["b"])})
    kept = run_gate(good, [new], limits=Limits(max_drop_points=30))
    assert outcomes(kept) == [("a", "ok"), ("b", "ok"), ("c", "ok")]
    assert kept.exit_code == 0
    assert {case.comparison.kind for case in kept.cases if case.comparison} == {"platform"}
    broken = run_gate(good, [new], limits=Limits(max_drop_points=1, identical=True))
    assert outcomes(broken) == [("a", "ok"), ("b", "limit broken"), ("c", "ok")]
    assert broken.exit_code == 1
    assert broken.cases[1].comparison is not None
    assert broken.cases[1].comparison.broken_limits == (
        "top-1 dropped 25.00 points, allowed 1",
        "outputs are not identical",
    )


def test_one_report_stands_against_all_but_itself(good: Path) -> None:
    gate = run_gate(good / "a.json", [good], limits=Limits())
    assert outcomes(gate) == [("b", "ok"), ("c", "ok")]
    assert {case.comparison.kind for case in gate.cases if case.comparison} == {"fidelity"}


def test_what_cannot_be_compared_is_an_error_and_the_rest_goes_on(
    good: Path, tmp_path: Path
) -> None:
    new = fill(tmp_path / "new", {"b": named(BASE, "b"), "d": named(BASE, "d")})
    (new / "e.json").write_text("{")
    gate = run_gate(good, [new], limits=Limits())
    assert outcomes(gate) == [("b", "ok"), ("d", "not comparable"), ("e.json", "not comparable")]
    assert gate.exit_code == 2
    assert "none of the 3 reports" in (gate.cases[1].problem or "")
    assert "not usable as JSON" in (gate.cases[2].problem or "")


def test_nothing_to_judge_is_refused(good: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no report"):
        run_gate(good, [tmp_path / "empty"], limits=Limits())
    with pytest.raises(InputError, match="cannot read report"):
        run_gate(tmp_path / "none.json", [good], limits=Limits())


def test_limits_on_agreement_and_validity() -> None:
    other = worse(elsewhere(BASE))
    found = compare(BASE, other, limits=Limits(min_agreement=0.9))
    assert found.broken_limits == ("75.00% of samples are answered alike, wanted 90.00%",)
    invalid = elsewhere(example_report())
    assert compare(BASE, invalid, limits=Limits()).broken_limits == ()
    found = compare(BASE, invalid, limits=Limits(valid=True))
    assert found.broken_limits == ("after is INVALID: the governor is powersave",)
    assert found.verdicts == ("VALID", "INVALID")


def test_the_command_writes_both_files_whatever_the_outcome(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    reports = {name: elsewhere(named(BASE, name)) for name in NAMES}
    new = fill(tmp_path / "new", {**reports, "b": worse(reports["b"])})
    junit, markdown = tmp_path / "j.xml", tmp_path / "m.md"
    arguments = ["compare", good, new, "--identical", "--junit", junit, "--markdown", markdown]

    def call(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["edgeticket", *map(str, arguments), *more])
        with pytest.raises(SystemExit) as caught:
            main()
        assert isinstance(caught.value.code, int)
        return caught.value.code

    assert call() == 1
    assert "outputs are not identical" in capfd.readouterr().out.replace("\n", " ")
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    (failure,) = suite.iter("failure")
    assert failure.get("message") == "outputs are not identical"
    assert f"- {new / 'b.json'}: outputs are not identical".replace("_", r"\_") in (
        markdown.read_text()
    )
    assert call("--json") == 1
    assert [entry["outcome"] for entry in json.loads(capfd.readouterr().out)] == [
        *("ok", "limit broken", "ok"),
    ]
    (new / "z.json").write_text("{")
    assert call() == 2
    assert ElementTree.parse(junit).getroot()[0].get("errors") == "1"


LONG = (
    *("dense-onnx-fp32", "dense-tflite-fp32", "ticket-onnx-fp32", "ticket-tflite-fp32"),
    *("ticket-onnx-int8-s8", "ticket-onnx-int8-u8", "ticket-tflite-int8"),
    "a-network-of-somebody-with-a-name-that-is-far-longer-than-all-the-others-are-tflite-int8",
)


@pytest.mark.parametrize("names", [LONG[:4], LONG[:7], LONG])
def test_names_are_whole_at_80_columns(tmp_path: Path, names: tuple[str, ...]) -> None:
    base = named(BASE, "dense-onnx-fp32")
    cases = []
    for change in (elsewhere, lambda report: report):
        for name in names:
            after = worse(change(named(BASE, name)))
            found = replace(
                compare(base, worse(elsewhere(base)), limits=Limits(max_drop_points=1)),
                after=f"{name} on {after.machine.board}",
            )
            cases.append(Case(f"reports/{after.machine.board}/{name}.json", name, found, None))
    cases.append(Case("reports/[red]broken[/].json", "broken.json", None, "[/x] is no report"))
    console = Console(file=io.StringIO(), width=80)
    Gate(tuple(cases)).print(console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "…" not in text
    assert "reports/[red]broken[/].json: [/x] is no report" in text
    together = "".join(line.strip() for line in lines)
    for name in names:
        shown = [line for line in lines if line.split()[:1] == [name]]
        assert len(shown) == 2 or together.count(name) >= 2
    assert text.count("Raspberry Pi 5 Model B, against") == 1


def test_an_older_file_of_somebody_else_is_not_written_over(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.md"
    for flag in ("--markdown", "--junit"):
        mine.write_text("years of work")
        monkeypatch.setattr(
            sys, "argv", ["edgeticket", "compare", str(good), str(good), flag, str(mine)]
        )
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 2
        assert mine.read_text() == "years of work"


SPIKES = [
    *("]]>", "<script>", "&amp;", 'a"b', "|", "a\nb", "\x00\x1b[31m", "`x`", "\u2028"),
    *(
        "[a](b)",
        "\\|",
        "\ufffe",
        "[bold]",
        "[/etc/x]",
        "\ud800",
        "\x9b31m",
        "\u202e",
        "1. x",
        "- x",
    ),
    *("www.x.org", "https://x.org", "@x", "![x](y)", "=", "    x"),
]
anything = st.text(st.characters(), min_size=1, max_size=30)  # half surrogate pairs, too
hostile = st.text(min_size=1, max_size=30) | anything | st.sampled_from(SPIKES)
FOUND = compare(BASE, elsewhere(BASE), limits=Limits())


@settings(max_examples=200, deadline=None)
@given(names=st.lists(st.tuples(hostile, hostile, hostile), min_size=1, max_size=4))
def test_hostile_names_stay_text(names: list[tuple[str, str, str]]) -> None:
    cases = []
    for path, artifact, problem in names:
        found = replace(FOUND, after=f"{artifact} on {problem}", broken_limits=(problem,))
        cases += [Case(path, artifact, None, problem), Case(path, artifact, found, None)]
    gate = Gate(tuple(cases))
    suite = ElementTree.fromstring(to_junit(gate))[0]
    assert len(suite) == len(cases) == int(suite.get("tests", ""))
    assert [element.tag for element in suite[0]] == ["error", "system-out"]
    assert [element.tag for element in suite[1]] == ["failure", "system-out"]
    for test, case in zip(suite, cases, strict=True):
        kept = "".join(
            c
            for c in case.path
            if c in "\t\n\r" or " " <= c < "\ud800" or "\udfff" < c < "\ufffe" or c > "\uffff"
        )
        shown = (test.get("name") or "").replace("\ufffd", "")
        assert shown == kept.replace("\ufffd", "")
    table, _, wrongs = to_markdown(gate).partition("\n\n")
    to_markdown(gate).encode()
    assert not re.search(
        r"(?<!\\)(?:\\\\)*(@|://|www\.)|^- (\d*[.)]|[-+=])|- {4}", wrongs, re.MULTILINE
    )
    assert not {unicodedata.category(c) for c in table + wrongs} & {"Cf", "Cs", "Zl", "Zp"}
    screen = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    gate.print(screen)
    for case in cases:
        if case.comparison is not None:
            case.comparison.print(screen)
    assert isinstance(screen.file, io.StringIO)
    plain_screen = re.sub(
        "\x1b\\[[0-9;]*m", "", screen.file.getvalue()
    )  # rich's own bold and italic
    assert {c for c in plain_screen if unicodedata.category(c) in STEERING} <= {"\n"}
    rows = table.split("\n")
    assert len(rows) == 2 + len(cases)
    for row in (rows[0], *rows[2:]):
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == len(HEADINGS) + 1
    assert all(line.startswith("- ") for line in wrongs.rstrip("\n").split("\n"))
    assert not re.search(r"(?<!\\)(?:\\\\)*[<`\[]", table + wrongs)
