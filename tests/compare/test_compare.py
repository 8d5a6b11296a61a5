"""Comparisons: the right kind, honest intervals, limits that break, unlike things refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from runner_fixtures import QUICK, write_tiny_bundle

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.latency import summarise
from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare import Case, Gate, Limits, compare
from edgeticket.pipeline.compare.formats import to_junit, to_markdown

NO_LIMITS = Limits()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A real report of the tiny fp32 ONNX artifact."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    (report,) = bench(folder, artifact="tiny-ort-fp32", plan=QUICK)
    return report


def with_latency(report: Report, samples_ns: list[int]) -> Report:
    return replace(report, latency=summarise(samples_ns, warmup_queries=1))


def with_predictions(report: Report, predictions: list[int]) -> Report:
    labels = report.accuracy.labels
    right = sum(p == label for p, label in zip(predictions, labels, strict=True))
    accuracy = replace(
        report.accuracy,
        predictions=tuple(predictions),
        top1=right / len(labels),
        outputs_sha256=hashlib.sha256(bytes(predictions)).hexdigest(),
    )
    return replace(report, accuracy=accuracy)


def another_artifact(report: Report) -> Report:
    return replace(report, artifact=replace(report.artifact, id="other", sha256="0" * 64))


def another_machine(report: Report) -> Report:
    return replace(report, machine=replace(report.machine, board="Raspberry Pi 5 Model B"))


def test_a_report_against_itself_changes_nothing(measured: Report) -> None:
    same = compare(measured, measured, limits=NO_LIMITS)
    assert same.kind == "platform"
    assert same.agreement == 1.0
    assert same.identical_outputs
    assert same.speedup_p50.value == 1.0
    assert (same.drop_points.value, same.changed, same.size_ratio) == (0.0, (), 1.0)


def test_which_kind_it_is(measured: Report) -> None:
    assert compare(measured, another_artifact(measured), limits=NO_LIMITS).kind == "fidelity"
    assert compare(measured, another_machine(measured), limits=NO_LIMITS).kind == "platform"
    sweep = replace(measured, runtime=replace(measured.runtime, threads=4))
    assert compare(measured, sweep, limits=NO_LIMITS).kind == "threads"
    mode = replace(measured, before=replace(measured.before, power_mode="15W"))
    assert compare(measured, mode, limits=NO_LIMITS).kind == "platform"


def test_another_kernel_is_the_same_machine(measured: Report) -> None:
    machine = replace(measured.machine, kernel="9.9.9", memory_bytes=2 * 10**9)
    later = replace(measured, machine=machine)
    near = replace(measured, machine=replace(measured.machine, memory_bytes=2 * 10**9 + 4096))
    found = compare(near, another_artifact(later), limits=NO_LIMITS)
    assert found.kind == "fidelity"
    (note,) = found.notes
    assert note == f"the same machine with another kernel: {measured.machine.kernel} against 9.9.9"
    assert compare(measured, measured, limits=NO_LIMITS).notes == ()
    assert compare(near, later, limits=NO_LIMITS).kind == "platform"


def test_two_bundles_are_said(measured: Report) -> None:
    other = replace(measured, bundle=replace(measured.bundle, digest="ab" * 32))
    found = compare(measured, another_artifact(other), limits=NO_LIMITS)
    (note,) = found.notes
    assert "two bundles that differ" in note
    assert "abababababab" in note
    screen = Console(width=400, record=True, quiet=False)
    found.print(screen)
    assert "two bundles that differ" in screen.export_text()
    gate = Gate((Case("r.json", "other", found, None),))
    assert "two bundles that differ" in to_markdown(gate)
    assert b"two bundles that differ" in to_junit(gate)
    several = Console(width=400, record=True, quiet=False)
    Gate(
        (*gate.cases, Case("s.json", "same", compare(measured, measured, limits=NO_LIMITS), None))
    ).print(several)
    assert "note (1 of 2): they were measured with two bundles" in several.export_text()


@pytest.mark.parametrize("unlike", ["both", "samples", "threads", "amx"])
def test_unlike_reports_are_refused_with_the_reason(measured: Report, unlike: str) -> None:
    if unlike == "both":
        other, reason = another_machine(another_artifact(measured)), "one at a time"
    elif unlike == "samples":
        accuracy = replace(measured.accuracy, samples_sha256="0" * 64)
        other, reason = replace(measured, accuracy=accuracy), "different samples"
    elif unlike == "amx":
        runtime = replace(measured.runtime, withheld=("amx",))
        other, reason = replace(measured, runtime=runtime), "nothing against amx withheld"
    else:
        runtime = replace(measured.runtime, threads=4)
        other, reason = replace(another_artifact(measured), runtime=runtime), "1 against 4 threads"
    with pytest.raises(InputError, match=reason):
        compare(measured, other, limits=NO_LIMITS)


def test_speedup_is_the_ratio_of_medians_inside_its_interval(measured: Report) -> None:
    rng = np.random.default_rng(0)
    slow = rng.normal(2_000_000, 100_000, 800).astype(int).tolist()
    fast = rng.normal(500_000, 50_000, 900).astype(int).tolist()
    speedup = compare(
        with_latency(measured, slow),
        with_latency(another_artifact(measured), fast),
        limits=NO_LIMITS,
    ).speedup_p50
    assert speedup.value == pytest.approx(np.median(slow) / np.median(fast), rel=0.01)
    assert speedup.low <= 4.0 <= speedup.high
    assert speedup.low < speedup.value < speedup.high
    assert speedup.high - speedup.low < 0.2


def test_drifting_latencies_widen_the_interval(measured: Report) -> None:
    """Blocks keep neighbours together; drawing single samples would hide the drift."""
    rng = np.random.default_rng(0)
    drifting = (
        1_000_000 + 400_000 * np.sin(np.arange(900) / 100) + rng.normal(0, 1000, 900)
    ).astype(int)
    shuffled = rng.permutation(drifting)

    def width(samples: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
        after = with_latency(another_artifact(measured), samples.tolist())
        interval = compare(with_latency(measured, [1_000_000] * 700), after, limits=NO_LIMITS)
        return interval.speedup_p50.high - interval.speedup_p50.low

    assert width(drifting) > 2 * width(shuffled)


def test_accuracy_is_paired_by_sample(measured: Report) -> None:
    labels = list(measured.accuracy.labels)
    wrong = [(label + 1) % 7 for label in labels]
    before = with_predictions(measured, wrong[:2] + labels[2:])
    after = with_predictions(another_artifact(measured), labels[:2] + wrong[2:6] + labels[6:])
    result = compare(before, after, limits=NO_LIMITS)
    assert result.drop_points.value == pytest.approx(100 * 2 / len(labels))
    assert result.drop_points.low < result.drop_points.value < result.drop_points.high
    assert result.agreement == pytest.approx(1 - 6 / len(labels))
    assert [s.index for s in result.changed] == [0, 1, 2, 3, 4, 5]
    assert (result.changed[0].before, result.changed[0].after) == (wrong[0], labels[0])
    assert not result.identical_outputs


def test_limits(measured: Report) -> None:
    labels = list(measured.accuracy.labels)
    wrong = [(label + 1) % 7 for label in labels]
    before = with_latency(with_predictions(measured, labels), [1_000_000] * 100)
    after = with_predictions(another_artifact(measured), wrong[:2] + labels[2:])
    after = with_latency(after, [500_000] * 100)
    kept = Limits(max_drop_points=6.0, max_p90_ms=0.6, min_speedup=1.9)
    assert compare(before, after, limits=kept).broken_limits == ()
    tight = Limits(max_drop_points=4.0, max_p90_ms=0.4, min_speedup=2.1)
    drop, p90, speedup = compare(before, after, limits=tight).broken_limits
    assert drop == "top-1 dropped 5.00 points, allowed 4"
    assert p90 == "p90 is 0.500 ms, allowed 0.4 ms"
    assert speedup == "p50 is 2.00 times lower, wanted 2.1"


def test_too_few_queries_for_p90_breaks_the_p90_limit(measured: Report) -> None:
    few = with_latency(measured, [1000] * 20)
    result = compare(measured, few, limits=Limits(max_p90_ms=1000))
    assert isinstance(result.speedup_p90, Unavailable)
    assert "p90 is unknown (p90 needs 64 queries, 20 were timed)" in result.broken_limits[0]


def test_it_prints_and_dumps(measured: Report, tmp_path: Path) -> None:
    result = compare(measured, another_artifact(measured), limits=Limits(min_speedup=1e9))
    console = Console(width=120, record=True, file=(tmp_path / "out").open("w"))
    result.print(console)
    console.file.close()
    text = console.export_text()
    assert "fidelity: other on" in text
    assert "LIMIT BROKEN: p50 is" in text
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["kind"] == "fidelity"
    assert document["speedup_p50"]["low"] <= document["speedup_p50"]["high"]
