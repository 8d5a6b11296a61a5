"""What can go wrong between a host and a board, on a real link to a real arm64 SSH server."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from network import BLACK_HOLE, FIFTH, RESET, ROOT, Device, wait_until
from resnet_bundle import SAMPLES

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.report import read_report
from edgeticket.pipeline.bundle import StoredInput, write_bundle

pytestmark = [pytest.mark.devices, pytest.mark.timeout(1800)]

QUICK = ("--", "--runtime", "tflite", "--samples", "4", "--min-seconds", "0.1",
         "--min-queries", "2", "--warmup-seconds", "0")  # fmt: skip
LONG = ("--", "--runtime", "tflite", "--min-seconds", "3600")


def bench(device: Device, bundle: Path, out: Path, *options: str) -> list[str]:
    return ["bench", str(bundle), "--on", device.target, "--out", str(out), *options]


def measure(device: Device, bundle: Path, out: Path, *options: str) -> None:
    """Measure, and see that the one report arrived whole."""
    done = device.host.edgeticket(*bench(device, bundle, out, *options, *QUICK), timeout_s=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*/*.json")
    assert read_report(path).accuracy.count == 4


@contextlib.contextmanager
def started(device: Device, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in the background; what is left of it is killed."""
    process = subprocess.Popen(
        device.host.command(*arguments), env=device.host.environment(), cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def measuring(device: Device) -> bool:
    return any("device_runner bench" in program for program in device.programs())


def parts(device: Device) -> list[Path]:
    """Contents that are half there."""
    return list((device.home / ".edgeticket/files").glob(".*.part"))


@pytest.fixture
def heavy(bundle: Path, tmp_path: Path) -> Path:
    """The bundle with 30 MB more of samples, so that bringing it takes a while."""
    rng = np.random.default_rng(os.getpid() + time.time_ns())
    with open_bundle(bundle) as small:
        manifest = small.manifest
        artifacts = [(entry, small.read(entry.file)) for entry in manifest.artifacts]
    folder = tmp_path / "heavy" / "bundle"
    folder.mkdir(parents=True)
    pixels = rng.integers(0, 256, (10_000, 32, 32, 3)).astype(np.uint8)
    write_bundle(
        folder, name="heavy", artifacts=artifacts,
        inputs=[StoredInput("input", pixels, (), manifest.preprocessing)],
        targets=np.zeros(10_000, np.int64), dataset="noise", labels=manifest.labels,
        networks=manifest.networks, provenance={},
    )  # fmt: skip
    return folder


def half_way(device: Device) -> bool:
    return any(path.stat().st_size > 2_000_000 for path in parts(device) if path.exists())


def test_every_fifth_packet_is_lost(ready: Device, bundle: Path, tmp_path: Path) -> None:
    with ready.fault(FIFTH):
        measure(ready, bundle, tmp_path, "--connect-timeout", "120")


def test_a_black_hole_ends_in_time_with_a_sentence(
    ready: Device, bundle: Path, tmp_path: Path
) -> None:
    with ready.fault(BLACK_HOLE):
        done = ready.host.edgeticket(*bench(ready, bundle, tmp_path, "--connect-timeout", "3"))
    assert done.returncode == 2
    assert "no answer for 3 s: is the device switched on" in done.stderr
    assert not list(tmp_path.rglob("*.json"))


def test_a_refused_connection_is_one_sentence(ready: Device, bundle: Path, tmp_path: Path) -> None:
    with ready.fault(RESET):
        done = ready.host.edgeticket(*bench(ready, bundle, tmp_path))
    assert done.returncode == 2
    assert f"`ssh pi@{ready.address}` must work first" in done.stderr


def test_a_cable_that_comes_back_in_mid_transfer(
    ready: Device, heavy: Path, tmp_path: Path
) -> None:
    with started(ready, *bench(ready, heavy, tmp_path / "out", *QUICK)) as ours:
        wait_until(lambda: half_way(ready), limit_s=600, what="half the bundle")
        with ready.link_down():
            time.sleep(5)
        printed, _ = ours.communicate(timeout=1500)
    assert ours.returncode == 0, printed
    assert len(list((tmp_path / "out").glob("*/*.json"))) == 1
    assert not parts(ready)


def test_an_ssh_server_that_stops_in_mid_transfer(
    ready: Device, heavy: Path, tmp_path: Path
) -> None:
    with started(ready, *bench(ready, heavy, tmp_path / "out", *QUICK)) as ours:
        wait_until(lambda: half_way(ready), limit_s=600, what="half the bundle")
        ready.stop_sshd()
        kept = max(path.stat().st_size for path in parts(ready))
        ready.start_sshd()
        printed, _ = ours.communicate(timeout=1500)
    assert kept > 2_000_000
    assert ours.returncode == 0, printed
    assert not parts(ready)


def test_a_reboot_in_mid_run(ready: Device, bundle: Path, tmp_path: Path) -> None:
    with started(ready, *bench(ready, bundle, tmp_path / "cut", *LONG)) as ours:
        wait_until(lambda: measuring(ready), limit_s=600, what="the runner to start")
        ready.reboot()
        printed, _ = ours.communicate(timeout=600)
    assert ours.returncode == 2, printed
    assert "the link broke" in printed
    assert not list((tmp_path / "cut").rglob("*.json"))
    measure(ready, bundle, tmp_path / "again")


def test_a_host_that_is_killed_in_mid_run(ready: Device, bundle: Path, tmp_path: Path) -> None:
    with started(ready, *bench(ready, bundle, tmp_path / "cut", *LONG)) as ours:
        wait_until(lambda: measuring(ready), limit_s=600, what="the runner to start")
        os.killpg(ours.pid, signal.SIGKILL)
    wait_until(lambda: not measuring(ready), limit_s=60, what="the runner to end by itself")
    measure(ready, bundle, tmp_path / "again")


# The environment's Python, with a wall clock that the test sets. libfaketime makes an error
# (EINVAL) of every wait until a moment of the monotonic clock, which is how Python 3.11 sleeps.
SLEEP = """import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
CLOCK = """#!/bin/sh
export PYTHONPATH=/home/pi/clock
export LD_PRELOAD=/home/pi/clock/faketime.so FAKETIME_TIMESTAMP_FILE=/home/pi/clock/offset
export FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
exec /home/pi/.edgeticket/environment/bin/python "$@"
"""


def test_a_clock_that_jumps_in_mid_run(
    ready: Device, bundle: Path, faketime: bytes, tmp_path: Path
) -> None:
    """It costs the measurement its validity; latencies and answers are as ever."""
    ready.put("/home/pi/clock/faketime.so", faketime)
    ready.put("/home/pi/clock/offset", b"+0")
    ready.put("/home/pi/clock/sitecustomize.py", SLEEP.encode())
    ready.put("/home/pi/clock/python", CLOCK.encode())
    ready.shell("chmod +x clock/python")
    options = (*QUICK, "--min-seconds", "15")
    argv = bench(ready, bundle, tmp_path, "--python", "/home/pi/clock/python", *options)
    with started(ready, *argv) as ours:
        assert ours.stdout is not None
        printed = ""
        while "timing queries" not in printed and (line := ours.stdout.readline()):
            printed += line
        ready.put("/home/pi/clock/offset", b"-3600")
        printed += ours.communicate(timeout=600)[0]
    assert ours.returncode == 0, printed
    (path,) = tmp_path.glob("*/*.json")
    report = read_report(path)
    assert report.during.clock_step_s == pytest.approx(-3600, abs=1)
    found = {finding.rule: finding.found for finding in report.validity.reasons}
    assert found["clock-step"].startswith("the wall clock was set by -3600")
    assert 0 < min(report.latency.samples_ns) <= max(report.latency.samples_ns) < 60e9
    assert report.accuracy.count == 4


def test_two_hosts_at_one_device(ready: Device, bundle: Path, tmp_path: Path) -> None:
    with started(ready, *bench(ready, bundle, tmp_path / "first", *LONG)) as first:
        wait_until(lambda: measuring(ready), limit_s=600, what="the runner to start")
        options = ("--lock-timeout", "1", *QUICK)
        second = ready.host.edgeticket(*bench(ready, bundle, tmp_path / "second", *options))
        assert first.poll() is None, "the first one goes on"
        assert measuring(ready)
    assert second.returncode == 2
    assert "the device is busy" in second.stderr
    wait_until(lambda: not measuring(ready), limit_s=60, what="the first one to end")


def test_a_full_disk_takes_nothing(ready: Device, heavy: Path, tmp_path: Path) -> None:
    with ready.small_disk(8_000_000):
        done = ready.host.edgeticket(
            *bench(ready, heavy, tmp_path, "--python", "/usr/bin/python3", *QUICK)
        )
        left = ready.shell("find ~/.edgeticket -type f -name '[0-9a-f]*' -size +1M | wc -l")
    assert done.returncode == 2
    assert "the disk is full" in done.stderr
    assert left.strip() == "0", "a half-written file has a name as if it were whole"


def test_a_changed_host_key_is_refused(ready: Device, bundle: Path, tmp_path: Path) -> None:
    ready.stop_sshd()
    ready.new_host_key()
    ready.start_sshd()
    try:
        done = ready.host.edgeticket(*bench(ready, bundle, tmp_path))
    finally:
        ready.host.trust()
    assert done.returncode == 2
    assert f"ssh-keygen -R {ready.address}" in done.stderr
    measure(ready, bundle, tmp_path / "again")


def test_a_stranger_is_not_let_in(ready: Device, bundle: Path, tmp_path: Path) -> None:
    keys = ready.shell("cat ~/.ssh/authorized_keys").encode()
    ready.put("/home/pi/.ssh/authorized_keys", b"")
    try:
        done = ready.host.edgeticket(*bench(ready, bundle, tmp_path))
    finally:
        ready.put("/home/pi/.ssh/authorized_keys", keys)
    assert done.returncode == 2
    assert "ssh-copy-id" in done.stderr


def test_afterwards_the_answers_are_as_before(ready: Device, bundle: Path, tmp_path: Path) -> None:
    """Whatever the faults left there, nothing half-written is used."""
    options = ("--", "--runtime", "tflite", "--min-seconds", "0.1", "--min-queries", "2")
    done = ready.host.edgeticket(*bench(ready, bundle, tmp_path, *options), timeout_s=1500)
    assert done.returncode == 0, done.stderr
    assert f"bit for bit, over {SAMPLES} samples" in done.stdout
    gone = ready.host.edgeticket("device", "remove", ready.target)
    assert gone.returncode == 0, gone.stderr
    assert not (ready.home / ".edgeticket").exists()
