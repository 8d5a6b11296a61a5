"""What stands at the top follows from the reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from page_fixtures import (
    RECIPE,
    STEPS,
    four_reports,
    report_of,
    unlabelled,
    write_reports,
    write_run,
)

from edgeticket.device_runner.report import Report
from edgeticket.device_runner.validity import Finding, Validity
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.sections.answers import tell_changes, tell_confusion
from edgeticket.pipeline.page.sections.table import make_table
from edgeticket.pipeline.page.sections.verdict import BAD, GOOD, OPEN, Statement, give_verdict
from edgeticket.pipeline.page.sources import Sources, compose, gather

INVALID = Validity("INVALID", (Finding("hot", "it was 85 °C", "cool it"),), (), {})
TRUST, GAIN = "Can the times be believed?", "What was won, and what did it cost?"
ALIKE, BUDGET = "Does int8 answer alike everywhere?", "Is it within its budget?"


def of(reports: list[Report]) -> Sources:
    return compose([(Path(f"{i}.json"), report) for i, report in enumerate(reports)])


def statement(sources: Sources, question: str) -> Statement:
    return next(s for s in give_verdict(sources).statements if s.question == question)


def questions(sources: Sources) -> list[str]:
    return [s.question for s in give_verdict(sources).statements]


def test_all_valid_one_invalid_none_valid() -> None:
    good = four_reports()
    assert statement(of(good), TRUST).mark == GOOD
    assert "all 4 measurements are VALID" in statement(of(good), TRUST).answer
    one = statement(of([*good[:3], replace(good[3], validity=INVALID)]), TRUST)
    assert (one.mark, "1 of 4 measurements are INVALID" in one.answer) == (BAD, True)
    assert one.details == ("It was 85 °C (tiny-tflite-int8).",)
    assert "cool it" in one.more[0]
    every = statement(of([replace(report, validity=INVALID) for report in good]), TRUST)
    assert "all 4 measurements are INVALID" in every.answer
    assert every.details == ("It was 85 °C.",)


def test_a_gain_by_times_that_are_not_believed_is_none() -> None:
    good = four_reports()
    assert statement(of(good), GAIN).mark == GOOD
    invalid = [replace(report, validity=INVALID) for report in good]
    found = statement(of(invalid), GAIN)
    assert found.mark == OPEN
    assert "may be wrong" in found.details[-1]


def test_it_is_said_when_it_is_larger_or_slower() -> None:
    small = report_of(precision="fp32", time_ns=10_000)
    large = report_of(time_ns=50_000)
    large = replace(large, artifact=replace(large.artifact, size_bytes=10**6))
    found = statement(of([small, large]), GAIN)
    assert found.mark == OPEN
    assert "larger" in found.answer
    assert "5.0× slower" in found.answer or "4.9× slower" in found.answer


def test_int8_alike_and_one_answer_that_is_not() -> None:
    good = four_reports()
    assert statement(of(good), ALIKE).mark == GOOD
    other = four_reports(wrong=(3, 7))
    found = statement(of([good[0], good[1], good[2], other[3]]), ALIKE)
    assert found.mark == BAD
    assert "1 sample of 40 has another answer" in found.details[0]


def test_other_bits_with_the_same_answers_are_not_alike() -> None:
    good = four_reports()
    accuracy = replace(good[3].accuracy, outputs_sha256="00" * 32)
    found = statement(of([*good[:3], replace(good[3], accuracy=accuracy)]), ALIKE)
    assert found.mark == BAD
    assert "0 samples of 40" in found.details[0]


def test_one_int8_file_alone_is_not_called_alike() -> None:
    assert ALIKE not in questions(of([report_of(precision="fp32"), report_of()]))


@pytest.mark.parametrize(
    ("macs", "mark"), [(25_000, GOOD), (25_001, BAD), (20_000, GOOD), (None, OPEN)]
)
def test_the_budget_is_what_the_recipe_allowed(macs: int | None, mark: str, tmp_path: Path) -> None:
    steps = [STEPS[0], {**STEPS[1], "macs": macs}, {**STEPS[2], "macs": macs}]
    folder = write_run(tmp_path / "run", provenance={"recipe": RECIPE, "steps": steps})
    found = statement(gather([folder]), BUDGET)
    assert found.mark == mark


def test_reports_alone_say_nothing_of_a_budget(tmp_path: Path) -> None:
    sources = gather([write_reports(tmp_path, four_reports()) / "reports"])
    assert BUDGET not in questions(sources)


def test_the_table_has_what_was_measured() -> None:
    table = make_table(of(four_reports()))
    headings = [column.heading for column in table.columns]
    assert "Weights" not in headings  # nobody told: there is no bundle
    rows = table.groups[0][1]
    cells = dict(zip(headings, rows[3].cells, strict=True))
    report = rows[3].one.report
    assert cells["Size"] == words.kilobytes(report.artifact.size_bytes)
    assert isinstance(report.latency.p50_ns, int)
    assert cells["Median time"] == f"{report.latency.p50_ns / 1e6:.3f}"
    assert cells["Right answers"] == "97.50"
    assert cells["Change"] == "−2.50"
    assert cells["Same answer"] == "97.50"
    base = rows[2].one.report
    assert isinstance(base.latency.p50_ns, int)
    assert cells["Faster"] == f"{base.latency.p50_ns / report.latency.p50_ns:.2f}"


def test_an_emulators_times_make_no_ratio() -> None:
    reports = [
        replace(report, machine=replace(report.machine, emulated="QEMU"))
        for report in four_reports()
    ]
    table = make_table(of(reports))
    assert "Faster" not in [column.heading for column in table.columns]


def test_who_answers_alike_shares_a_column() -> None:
    reports = four_reports(wrong=(3, 5))
    changes = tell_changes(of(reports))
    assert changes is not None
    assert [voice.title for voice in changes.voices] == ["tiny fp32", "tiny int8"]
    assert [sample.index for sample in changes.samples] == [3, 5]
    assert [right for _, right in changes.samples[0].answers] == [True, False]
    assert changes.total == 2


def test_where_int8_parts_from_int8_comes_first() -> None:
    here = four_reports(wrong=(3, 5))
    there = four_reports(wrong=(3, 5, 39), board="other", session="9" * 32)
    changes = tell_changes(of([*here, *there]))
    assert changes is not None
    assert [sample.index for sample in changes.samples] == [39, 3, 5]
    assert changes.voices[2].title == "tiny int8 on other"


def test_without_labels_codes_are_compared_among_themselves() -> None:
    reports = [
        report_of("ort", "fp32", accuracy=unlabelled([9, 9, 9])),
        report_of("ort", "int8", accuracy=unlabelled([1, 2, 3])),
        report_of("tflite", "int8", accuracy=unlabelled([1, 2, 4])),
    ]
    changes = tell_changes(of(reports))
    assert changes is not None
    assert [sample.index for sample in changes.samples] == [2]
    assert changes.samples[0].answers == (("the same", None), ("another", None))


def test_the_matrix_counts_every_sample_once() -> None:
    sources = of(four_reports(wrong=(3, 5)))
    matrix = tell_confusion(sources)
    assert matrix is not None
    assert hasattr(matrix, "labels")
    total = sum(cell.count for row in matrix.rows for cell in row)
    diagonal = sum(row[i].count for i, row in enumerate(matrix.rows))
    assert (total, diagonal) == (40, 38)
