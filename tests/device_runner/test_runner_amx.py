"""Withholding AMX: it cannot be got afterwards, and the report says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from runner_fixtures import write_tiny_bundle

from edgeticket.device_runner.report import read_report

ASK = """
import ctypes, sys
from edgeticket.device_runner.amx import withhold_amx
request = lambda: ctypes.CDLL(None).syscall(158, 0x1023, 18)  # ARCH_REQ_XCOMP_PERM, XTILEDATA
if sys.argv[1] == "first":
    assert request() == 0
withhold_amx()
print(request())
"""
HAS_AMX = "amx_tile" in Path("/proc/cpuinfo").read_text().split()


def ask(when: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ASK, when], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_no_permission_after_it_was_withheld() -> None:
    answer = ask("afterwards")
    assert answer.stdout.strip() == "-1", answer.stderr


@pytest.mark.skipif(not HAS_AMX, reason="this CPU has no AMX")
def test_too_late_once_it_was_given() -> None:
    assert "has been given AMX already" in ask("first").stderr


def test_the_report_tells_what_was_withheld(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    command = [
        *(
            sys.executable,
            "-m",
            "edgeticket.device_runner",
            "bench",
            str(bundle),
            "-o",
            str(tmp_path / "out"),
        ),
        *("--min-seconds", "0", "--min-queries", "1", "--warmup-seconds", "0", "--no-amx"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    reports = [read_report(file) for file in (tmp_path / "out").glob("*.json")]
    assert {report.runtime.withheld for report in reports} == {("amx",)}
