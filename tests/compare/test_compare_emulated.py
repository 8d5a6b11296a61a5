"""Emulated times are never compared; answers are, also between the two files for ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console
from runner_fixtures import example_report

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare import Limits, compare


def on(machine: str, report: Report, *, emulated: str | None = None) -> Report:
    by = Unavailable("no emulation seen") if emulated is None else emulated
    return replace(report, machine=replace(report.machine, board=machine, emulated=by))


HOST = on("PC", example_report())
BOARD = on("board", example_report(), emulated="cortex-a72 by QEMU")


@pytest.mark.parametrize(("before", "after"), [(HOST, BOARD), (BOARD, HOST)])
def test_answers_are_compared_and_times_are_not(before: Report, after: Report) -> None:
    found = compare(before, after, limits=Limits(min_agreement=1.0, identical=True))
    assert found.kind == "platform"
    assert found.identical_outputs
    assert not found.broken_limits
    for ratio in (found.speedup_p50, found.speedup_p90):
        assert isinstance(ratio, Unavailable)
        assert "are emulated (cortex-a72 by QEMU), not measured" in ratio.reason
    here = 0 if before is HOST else 1
    assert isinstance(found.p50_ms[here], float)
    assert isinstance(found.p50_ms[1 - here], Unavailable)
    console = Console(width=150, record=True)
    found.print(console)
    text = console.export_text()
    assert "identical outputs" in text
    assert "emulated" in text


@pytest.mark.parametrize("limits", [Limits(max_p90_ms=1e9), Limits(min_speedup=0.0)])
def test_a_limit_on_latency_is_refused(limits: Limits) -> None:
    with pytest.raises(InputError, match=r"no limit on latency can be judged: times of .* board"):
        compare(HOST, BOARD, limits=limits)
    compare(HOST, on("Pi", HOST), limits=replace(limits, min_speedup=None))


def test_files_for_arm_and_x86_are_one_network() -> None:
    def file(report: Report, sha256: str, *machines: str) -> Report:
        artifact = replace(report.artifact, sha256=sha256 * 64, architectures=machines)
        return replace(report, artifact=artifact)

    unsigned, signed = file(HOST, "a", "x86_64"), file(BOARD, "b", "aarch64", "armv7l")
    assert compare(unsigned, signed, limits=Limits()).kind == "platform"
    with pytest.raises(InputError, match="both the machine"):
        compare(unsigned, file(signed, "b", "aarch64", "x86_64"), limits=Limits())
    other = replace(signed, bundle=replace(signed.bundle, digest="c" * 64))
    with pytest.raises(InputError, match="both the machine"):
        compare(unsigned, other, limits=Limits())
