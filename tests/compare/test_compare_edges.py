"""Limits at their very edge, which of two reports a number is of, and who is compared with whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runner_fixtures import example_report

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.latency import SINGLE_STREAM, percentile, summarise
from edgeticket.device_runner.report import Report, Transcription, write_report
from edgeticket.device_runner.transcripts import count_word_errors
from edgeticket.device_runner.validity import Validity
from edgeticket.pipeline.compare import Limits, compare, run_gate
from edgeticket.pipeline.compare.bootstrap import (
    errors_gained,
    latency_ratio,
    nearest_rank,
    points_lost,
)

BASE = replace(example_report(), validity=Validity("VALID", (), (), {}))


def timed(report: Report, samples_ns: list[int], scenario: str = SINGLE_STREAM) -> Report:
    latency = summarise(samples_ns, warmup_queries=1, scenario=scenario)
    return replace(report, latency=latency)


def elsewhere(report: Report) -> Report:
    return replace(report, machine=replace(report.machine, board="Raspberry Pi 5 Model B"))


def another_artifact(report: Report, **changes: object) -> Report:
    artifact = replace(report.artifact, id="other", sha256="0" * 64)
    return replace(report, artifact=replace(artifact, **changes))  # type: ignore[arg-type]


def worse(report: Report) -> Report:
    """One more sample wrong, of four."""
    accuracy = replace(
        report.accuracy, predictions=(1, 1, 6, 6), top1=0.5, outputs_sha256="ee" * 32
    )
    return replace(report, accuracy=accuracy)


SLOW = timed(BASE, [2_000_000] * 100)
FAST = timed(worse(elsewhere(BASE)), [1_000_000] * 100)


def test_what_meets_a_limit_exactly_keeps_it() -> None:
    met = Limits(max_drop_points=25, max_p90_ms=1, min_speedup=2, min_agreement=0.75)
    assert compare(SLOW, FAST, limits=met).broken_limits == ()
    missed = Limits(
        max_drop_points=24.999, max_p90_ms=0.999, min_speedup=2.001, min_agreement=0.751
    )
    assert len(compare(SLOW, FAST, limits=missed).broken_limits) == 4


def test_a_limit_of_nothing_is_a_limit() -> None:
    none = Limits(max_drop_points=0)
    assert compare(SLOW, FAST, limits=none).broken_limits == (
        "top-1 dropped 25.00 points, allowed 0",
    )
    assert compare(SLOW, elsewhere(SLOW), limits=none).broken_limits == ()


def test_a_speedup_is_judged_by_itself_and_not_by_its_interval() -> None:
    rng = np.random.default_rng(0)
    before = timed(BASE, rng.integers(1_000_000, 3_000_000, 200).tolist())
    after = timed(elsewhere(BASE), rng.integers(500_000, 1_500_000, 200).tolist())
    speedup = compare(before, after, limits=Limits()).speedup_p50
    assert speedup == compare(before, after, limits=Limits()).speedup_p50  # seeded
    wanted_more = Limits(min_speedup=(speedup.value + speedup.high) / 2)
    assert len(compare(before, after, limits=wanted_more).broken_limits) == 1
    wanted_less = Limits(min_speedup=(speedup.value + speedup.low) / 2)
    assert compare(before, after, limits=wanted_less).broken_limits == ()


def test_both_reports_must_be_valid() -> None:
    limits = Limits(valid=True)
    invalid = example_report()
    assert compare(invalid, elsewhere(BASE), limits=limits).broken_limits == (
        "before is INVALID: the governor is powersave",
    )
    assert compare(BASE, elsewhere(BASE), limits=limits).broken_limits == ()


def test_identical_means_every_bit_and_not_every_answer() -> None:
    after = elsewhere(replace(BASE, accuracy=replace(BASE.accuracy, outputs_sha256="ee" * 32)))
    found = compare(BASE, after, limits=Limits(identical=True, min_agreement=1))
    assert found.agreement == 1
    assert found.broken_limits == ("outputs are not identical",)


def test_two_wrong_answers_agree_only_if_they_are_the_same() -> None:
    other = replace(BASE.accuracy, predictions=(0, 1, 6, 7), outputs_sha256="ee" * 32)
    found = compare(BASE, elsewhere(replace(BASE, accuracy=other)), limits=Limits())
    assert (found.agreement, found.drop_points.value) == (0.75, 0)
    assert [(s.index, s.label, s.before, s.after) for s in found.changed] == [(3, 5, 6, 7)]


def test_each_number_is_of_the_right_report_and_percentile() -> None:
    before = timed(BASE, [1000] * 80 + [9000] * 20)
    half = replace(BASE.artifact, size_bytes=BASE.artifact.size_bytes * 2)
    after = timed(worse(elsewhere(BASE)), [1000] * 100)
    found = compare(replace(before, artifact=half), after, limits=Limits())
    assert found.size_ratio == 2
    assert (found.speedup_p50.value, found.speedup_p90.value) == (1, 9)
    assert (found.p50_ms, found.p90_ms) == ((0.001, 0.001), (0.009, 0.001))
    assert found.scores == (0.75, 0.5)
    assert found.interleaved
    paced = timed(before, [1000] * 100, "Paced"), timed(after, [1000] * 100, "Paced")
    assert not compare(*paced, limits=Limits()).interleaved


def test_another_scenario_clock_or_precision_is_another_thing() -> None:
    with pytest.raises(InputError, match="scenario SingleStream against Paced"):
        compare(SLOW, timed(elsewhere(BASE), [1000] * 100, "Paced"), limits=Limits())
    for change in (
        {"max_frequency_hz": {"policy0": 1}},
        {"cores": 99},
        {"int8_instructions": ("x",)},
    ):
        other = another_artifact(replace(BASE, machine=replace(BASE.machine, **change)))
        with pytest.raises(InputError, match="change one at a time"):
            compare(BASE, other, limits=Limits())
    x86 = replace(BASE, artifact=replace(BASE.artifact, architectures=("x86_64",)))
    arm = another_artifact(elsewhere(BASE), architectures=("aarch64",))
    assert compare(x86, arm, limits=Limits()).kind == "platform"
    with pytest.raises(InputError, match="change one at a time"):
        compare(x86, another_artifact(arm, precision="fp32"), limits=Limits())


def test_what_is_withheld_counts_on_one_machine_alone() -> None:
    """Another machine may have other extensions to withhold."""
    less = replace(BASE, runtime=replace(BASE.runtime, withheld=("avx512_vnni",)))
    assert compare(BASE, elsewhere(less), limits=Limits()).kind == "platform"
    with pytest.raises(InputError, match="nothing against avx512_vnni withheld"):
        compare(BASE, less, limits=Limits())


def with_threads(report: Report, threads: int) -> Report:
    return replace(report, runtime=replace(report.runtime, threads=threads))


def test_each_report_is_judged_by_the_one_of_as_many_threads(tmp_path: Path) -> None:
    """And a folder may hold folders; two that would do are one too many."""
    for name, change in (("good", lambda report: report), ("new", elsewhere)):
        (tmp_path / name / "deep").mkdir(parents=True)
        for threads in (1, 4):
            report = with_threads(change(BASE), threads)
            write_report(report, tmp_path / name / "deep" / f"{threads}.json")
    gate = run_gate(tmp_path / "good", [tmp_path / "new"], limits=Limits())
    assert [case.outcome for case in gate.cases] == ["ok", "ok"]
    write_report(with_threads(BASE, 4), tmp_path / "good" / "again.json")
    gate = run_gate(tmp_path / "good", [tmp_path / "new"], limits=Limits())
    assert [case.outcome for case in gate.cases] == ["ok", "not comparable"]
    assert "2 of the 3 reports" in (gate.cases[1].problem or "")


def test_a_report_that_is_named_is_judged_even_by_itself(tmp_path: Path) -> None:
    write_report(BASE, tmp_path / "a.json")
    gate = run_gate(tmp_path / "a.json", [tmp_path / "a.json"], limits=Limits())
    assert [case.outcome for case in gate.cases] == ["ok"]
    with pytest.raises(InputError, match="no report to compare"):
        run_gate(tmp_path / "a.json", [tmp_path], limits=Limits())


def test_the_interval_of_a_drop_is_as_wide_as_theory_says() -> None:
    before = np.ones(1000, dtype=bool)
    after = np.arange(1000) >= 50
    found = points_lost(before, after)
    assert found.value == 5
    half = 1.96 * 100 * (0.05 * 0.95 / 1000) ** 0.5
    assert found.low == pytest.approx(5 - half, abs=0.2)
    assert found.high == pytest.approx(5 + half, abs=0.2)


def test_an_error_rate_is_errors_by_words_in_every_resample() -> None:
    """Long and short utterances: a tenth of the words of each went wrong."""
    words = np.array([10, 20, 30, 1000])
    found = errors_gained(np.zeros(4, dtype=np.int64), words // 10, words)
    assert (found.value, found.low, found.high) == pytest.approx((10, 10, 10))


def hearing(*heard: str, decoder: str = "greedy") -> Report:
    """A report of texts: three words were said."""
    said = ("A B", "C")
    counted = count_word_errors(said, heard)
    wrong = sum(errors for errors, _ in counted)
    texts = Transcription(2, 3.5, decoder, wrong / 3, 0.1, heard, said, "cd" * 32, "ef" * 32)
    return replace(BASE, accuracy=texts)


def test_texts_that_are_heard_worse_are_a_loss() -> None:
    before, after = hearing("A B", "C"), elsewhere(hearing("A", "D"))
    found = compare(before, after, limits=Limits(max_drop_points=66))
    assert found.drop_points.value == pytest.approx(200 / 3)
    assert found.scores == pytest.approx((0, 2 / 3))
    assert (found.agreement, found.measure) == (0, "WER")
    assert found.broken_limits == ("WER rose 66.67 points, allowed 66",)
    assert compare(after, before, limits=Limits(max_drop_points=0)).broken_limits == ()


def test_texts_are_of_one_decoder() -> None:
    with pytest.raises(InputError, match="decoded by greedy, the other by beam 4"):
        compare(hearing("A", "C"), hearing("A", "C", decoder="beam 4"), limits=Limits())
    with pytest.raises(InputError, match="they answer different questions \\(top-1 against WER"):
        compare(BASE, hearing("A", "C"), limits=Limits())


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("count", [64, 100, 131])
def test_percentiles_here_are_those_of_reports(count: int, share: float) -> None:
    samples = np.random.default_rng(count).permutation(count)
    here = nearest_rank(samples.astype(np.float64), share)
    assert here == percentile(sorted(samples.tolist()), share) == int(count * share)


def test_one_query_has_a_ratio() -> None:
    found = latency_ratio(timed(BASE, [2000]), timed(BASE, [1000]), 0.5)
    assert (found.value, found.low, found.high) == (2, 2, 2)
