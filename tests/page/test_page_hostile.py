"""Names, labels and texts from elsewhere are text on a page, whatever is in them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_fixtures import (
    RECIPE,
    STEPS,
    Page,
    diff_document,
    four_reports,
    report_of,
    transcription,
    write_reports,
    write_run,
)

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import STEERING, plain
from edgeticket.device_runner.report import Report, parse_report
from edgeticket.device_runner.strict_json import format_json, parse_json, to_json
from edgeticket.device_runner.validity import Finding, Validity
from edgeticket.pipeline.page.render import render
from edgeticket.pipeline.page.sources import Sources, compose, gather

SCRIPT = "<script>alert(1)</script>"
ATTRIBUTE = '" onload="alert(2)" x="'
CLOSES = "</title></style></svg></pre><img src=x onerror=alert(3)>"
TURNED = "abc\u202egnp.exe\u2066"
ESCAPES = "\x1b[31mred\x1b[0m\x07\x00\x9b2J"
TEMPLATE = "{{ 7 * 7 }}{% raw %}"
MATH = r"$\frac{1}{0}$"
HOSTILE = SCRIPT + ATTRIBUTE + CLOSES + TURNED + ESCAPES + TEMPLATE + MATH
ALLOWED = {"\n"}


def check_harmless(data: bytes) -> Page:
    """No element, attribute or character that one of the texts above asked for."""
    text = data.decode()
    steering = {c for c in text if unicodedata.category(c) in STEERING} - ALLOWED
    assert steering == set()
    page = Page(data)
    assert page.all("script", "iframe", "object") == []
    for element in page.elements:
        assert not [key for key in element.attributes if key.startswith("on")], element
        source = element.attributes.get("src", "")
        assert source == "" or source.startswith("data:image/")
    assert len(page.all("title")) == 1 + len(
        [e for e in page.all("svg") if e.attributes.get("role") == "img" and e.children
         and e.children[0].tag == "title"]
    )  # fmt: skip
    return page


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where strings are in a JSON document."""
    if isinstance(document, str):
        yield path
    elif isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*path, key))
    elif isinstance(document, list):
        for i, value in enumerate(document):
            yield from places(value, (*path, i))


def with_text(document: Any, path: tuple[Any, ...], text: str) -> Any:
    changed = parse_json(format_json(document), place="test")
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = text
    return changed


def hostile_report(report: Report, text: str = HOSTILE) -> tuple[Report, list[tuple[Any, ...]]]:
    """A report with ``text`` in every place where the schema lets it be, and those places."""
    document = to_json(report)
    found = []
    for path in list(places(document)):
        if path == ("session", "id"):
            continue
        changed = with_text(document, path, text)
        if path[:1] == ("artifact",) and path[-1] == "id":
            changed["session"]["artifacts"] = [text]
        try:
            parse_report(format_json(changed), place="test")
        except InputError:
            continue
        document = changed
        found.append(path)
    return parse_report(format_json(document), place="test"), found


def test_every_text_of_a_report(tmp_path: Path) -> None:
    findings = (Finding("rule", "found", "cure"),)
    base = report_of(validity=Validity("INVALID", findings, findings, {"rule": "why"}))
    report, found = hostile_report(base)
    assert {("machine", "board"), ("machine", "cpu"), ("bundle", "name")} <= set(found)
    assert ("validity", "reasons", 0, "found") in found
    assert len(found) > 15
    page = check_harmless(render(compose([(tmp_path / "x.json", report)])))
    shown = plain(HOSTILE)
    assert shown in page.text.replace("\n", "")
    assert page.text.count("alert(1)") >= 8


def test_all_that_lies_in_the_folder_of_a_run(tmp_path: Path) -> None:
    steps = [
        {**STEPS[0], "step": HOSTILE},
        {**STEPS[1], "widths": {HOSTILE: [8, 16]}, HOSTILE: HOSTILE, "warnings": [HOSTILE]},
    ]
    recipe = {**RECIPE, "name": HOSTILE, "note": HOSTILE + "\nsecond: line"}
    folder = write_run(
        tmp_path / "run",
        labels=[HOSTILE + str(i) for i in range(7)],
        provenance={"recipe": recipe, "steps": steps, "tools": {HOSTILE: HOSTILE}},
        board=HOSTILE,
    )
    document = diff_document(over=True, name=HOSTILE)
    document["artifacts"][0].update(artifact=HOSTILE, runtime=HOSTILE, machine=HOSTILE)
    document["pairs"][0].update(one=HOSTILE, other=HOSTILE, first=HOSTILE)
    (folder / "diff.json").write_text(json.dumps(document))
    (folder / "reports" / "no report.json").write_text('{"' + "x" * 9 + '": 1}')
    page = check_harmless(render(gather([folder])))
    assert page.text.count("alert(1)") > 40
    assert "\\u202e" in page.text


def test_what_was_heard_and_said(tmp_path: Path) -> None:
    said, other = [HOSTILE, "two"], ["one", ESCAPES]
    reports = [
        report_of("tflite", "int8", accuracy=transcription(other, said)),
        report_of("tflite", "fp32", accuracy=transcription(said, said)),
    ]
    sources = compose([(tmp_path / f"{i}.json", r) for i, r in enumerate(reports)])
    assert "alert(1)" in check_harmless(render(sources)).text


def test_why_devices_failed_and_files_were_passed_over(tmp_path: Path) -> None:
    sources = compose([(tmp_path / "x.json", four_reports()[0])])
    sources = replace(sources, failures=(HOSTILE,), passed_over=(HOSTILE,), remarks=(HOSTILE,))
    assert check_harmless(render(sources)).text.count("alert(1)") == 3


@pytest.mark.parametrize(
    "document",
    [
        {"artifacts": 3, "pairs": None, "first_over": 1, "samples": "x"},
        {"artifacts": [1, {"layers": [2, {"own": 3}]}], "pairs": [[]], "first_over": {},
         "samples": 2},
        {"artifacts": [{"layers": [{"own": {"max": None, "equal": []}, "codes": 1}]}],
         "pairs": [{}], "first_over": {}, "samples": []},
    ],
)  # fmt: skip
def test_a_diff_of_any_form_is_no_traceback(document: dict[str, Any], tmp_path: Path) -> None:
    folder = write_reports(tmp_path, [report_of()])
    (tmp_path / "diff.json").write_text(json.dumps(document))
    check_harmless(render(gather([folder / "reports", tmp_path / "diff.json"])))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["step", "macs", "parameters", "widths", "warnings", "budget", "compress",
                         "method", "name", "validation_top1", "x"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(recipe=JSON, steps=JSON, tools=JSON)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_provenance_is_free_json(
    recipe: Any, steps: Any, tools: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What a bundle says of how it was made has no schema: no form of it stops a page."""
    from edgeticket.pipeline.page.sections.machine import tell_again
    from edgeticket.pipeline.page.sections.steps import tell_steps
    from edgeticket.pipeline.page.sections.verdict import give_verdict

    sources = of_provenance(
        tmp_path_factory.mktemp("run"), {"recipe": recipe, "steps": steps, "tools": tools}
    )
    tell_steps(sources)
    give_verdict(sources)
    tell_again(sources)


def of_provenance(folder: Path, provenance: dict[str, Any]) -> Sources:
    return gather([write_run(folder, provenance=provenance, count=5, wrong=(), queries=12)])


def test_samples_that_are_not_as_the_manifest_says_leave_the_page_without_pictures(
    tmp_path: Path,
) -> None:
    folder = write_run(tmp_path / "run")
    whole = Page(render(gather([folder])))
    (folder / "bundle" / "samples" / "inputs.npy").write_bytes(b"other")
    page = Page(render(gather([folder])))
    assert len(whole.all("img")) == 1
    assert page.all("img") == []
    assert "Sample 3" in page.text


def test_a_bundle_with_other_numbers_than_the_reports_is_not_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    for file in (folder / "reports").iterdir():
        document = json.loads(file.read_text())
        document["bundle"]["digest"] = "00" * 32
        file.write_text(json.dumps(document))
    page = Page(render(gather([folder])))
    assert page.all("img") == []
    assert "another one than they were measured with" in page.text


def test_classes_that_the_bundle_does_not_name_have_their_numbers(tmp_path: Path) -> None:
    sources = gather([write_run(tmp_path / "run", wrong=range(8))])
    assert sources.manifest is not None
    fewer = replace(sources.manifest, labels=("first", "second"))
    page = Page(render(replace(sources, manifest=fewer)))
    matrix = next(e for e in page.all("table") if e.attributes.get("class") == "matrix")
    assert [row.children[0].text for row in matrix.children[2].children] == [
        *("first", "second"), *map(str, range(2, 7))
    ]  # fmt: skip
