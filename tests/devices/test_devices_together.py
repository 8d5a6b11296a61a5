"""Many devices at once: reports land whole, trouble stays with its device, a second run goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from devices_fixtures import PATIENCE, processes_with, stub_runner
from process_fixtures import running
from rich.console import Console
from runner_fixtures import example_report, write_tiny_bundle
from ssh_server import Device as Board
from ssh_server import lay_out, serve_apart, trust

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import read_report
from edgeticket.pipeline.cli import main
from edgeticket.pipeline.devices.bench import answer_here
from edgeticket.pipeline.devices.fleet import gather, make_device, read_fleet
from edgeticket.pipeline.devices.fleet_run import Outcome, measure_together
from edgeticket.pipeline.devices.runner import Device

ROOT = Path(__file__).parents[2]
REPORT = "tiny-tflite-int8.json"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle")


def local(tmp_path: Path, label: str, python: str, *, home: str | None = None) -> Device:
    return Device(label, f"local:{tmp_path}/homes/{home or label}", python)


def measure(
    bundle: Path, devices: list[Device], out: Path, **patience: float
) -> tuple[list[Outcome], str]:
    """Outcomes, and what was printed."""
    with (out.parent / "told.txt").open("w+") as file:
        outcomes = measure_together(
            bundle,
            devices,
            [],
            out=out,
            offline=False,
            patience=dataclasses.replace(PATIENCE, **patience),
            console=Console(file=file, width=300),
        )
        file.seek(0)
        return outcomes, file.read()


def test_ten_devices_at_once_one_hangs_and_one_fails(bundle: Path, tmp_path: Path) -> None:
    """No stub ends before all ten have begun: they measure at once, or all fail."""
    meet = tmp_path / "meet"
    meet.mkdir()
    arrive = f"touch {meet}/$$; n=0\nwhile [ $(ls {meet} | wc -l) -lt 10 ]; do\n"
    arrive += "sleep 0.1; n=$((n+1)); [ $n -lt 400 ] || exit 3\ndone\n"
    stub = tmp_path / "stub"
    well = stub_runner(stub / "well", bundle, arrive)
    hangs = stub_runner(stub / "hangs", bundle, f"{arrive} sleep 61.{os.getpid()}")
    fails = "echo 'device-runner: error: no tea' >&2; exit 2"
    pythons = {"d3": hangs, "d7": stub_runner(stub / "fails", bundle, arrive + fails)}
    devices = [local(tmp_path, f"d{i}", pythons.get(f"d{i}", well)) for i in range(10)]
    outcomes, told = measure(bundle, devices, tmp_path / "out", bench_s=12)
    failures = {o.device.label: o.failure for o in outcomes if o.failure}
    assert set(failures) == {"d3", "d7"}, failures
    assert "measuring took longer than 12 s and was stopped" in str(failures["d3"])
    assert str(failures["d7"]).endswith("measuring ended with 2: no tea")
    arrived = sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*.*"))
    assert arrived == [Path(f"d{i}") / REPORT for i in range(10) if i not in (3, 7)]
    assert not processes_with(f"sleep\x0061.{os.getpid()}")
    assert "d7: FAILED: " in told
    assert "d1: done in " in told


def test_a_second_run_replaces_a_report_and_a_failing_one_does_not(
    bundle: Path, tmp_path: Path
) -> None:
    well = stub_runner(tmp_path / "well", bundle)
    damages = 'cp /etc/hostname "$6/tiny-tflite-int8.json"; exit 0; '
    damaged = stub_runner(tmp_path / "damaged", bundle, damages)
    file = tmp_path / "out" / "d" / REPORT
    measure(bundle, [local(tmp_path, "d", well)], tmp_path / "out")
    before = file.stat().st_ino
    (outcome,), _ = measure(bundle, [local(tmp_path, "d", damaged)], tmp_path / "out")
    assert "is not usable as JSON" in str(outcome.failure)
    assert file.stat().st_ino == before
    measure(bundle, [local(tmp_path, "d", well)], tmp_path / "out")
    assert file.stat().st_ino != before
    assert [p.name for p in file.parent.iterdir()] == [REPORT]


def test_the_runners_own_no_is_not_a_failure(bundle: Path, tmp_path: Path) -> None:
    strict = stub_runner(tmp_path / "strict", bundle, "trap 'exit 1' EXIT")
    crash = stub_runner(tmp_path / "crash", bundle, "echo No module named numpy >&2; exit 1")
    devices = [local(tmp_path, "strict", strict), local(tmp_path, "crash", crash)]
    (no, failed), _ = measure(bundle, devices, tmp_path / "out")
    assert (no.failure, no.complaint) == (None, "a report is INVALID, and --strict was asked for")
    assert (tmp_path / "out" / "strict" / REPORT).exists()
    assert str(failed.failure).endswith("measuring ended with 1: No module named numpy")


def test_a_report_about_another_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    other = stub_runner(tmp_path / "other", write_tiny_bundle(tmp_path / "other-bundle", count=9))
    (outcome,), _ = measure(bundle, [local(tmp_path, "d", other)], tmp_path / "out")
    assert "is about another bundle" in str(outcome.failure)
    assert not (tmp_path / "out").exists()


def test_two_hosts_at_one_device_take_turns(bundle: Path, tmp_path: Path) -> None:
    """The stub fails if another one is at work."""
    mark = tmp_path / "at-work"
    script = f"mkdir {mark} || exit 2; sleep 1; rmdir {mark}"
    alone = stub_runner(tmp_path / "alone", bundle, script)
    devices = [local(tmp_path, label, alone, home="shared") for label in ("a", "b", "c")]
    outcomes, told = measure(bundle, devices, tmp_path / "out")
    assert [outcome.failure for outcome in outcomes] == [None, None, None]
    assert "waiting, the device is busy: " in told


def test_a_device_that_stays_busy_is_given_up(bundle: Path, tmp_path: Path) -> None:
    slow = stub_runner(tmp_path / "slow", bundle, "sleep 3")
    devices = [local(tmp_path, label, slow, home="shared") for label in ("a", "b")]
    outcomes, _ = measure(bundle, devices, tmp_path / "out", lock_s=1)
    (failure,) = [outcome.failure for outcome in outcomes if outcome.failure]
    assert "the device is busy: " in failure
    assert failure.endswith("; waited 1 s")


def test_a_host_that_is_killed_in_mid_run_and_run_again(bundle: Path, tmp_path: Path) -> None:
    word = f"62.{os.getpid()}"
    slow = stub_runner(tmp_path / "slow", bundle, f'[ -e "{tmp_path}/go" ] || sleep {word}')
    out, home = tmp_path / "out", tmp_path / "home"
    command = [sys.executable, "-m", "edgeticket.pipeline", "bench", str(bundle), "--out", str(out)]
    command += ["--on", f"local:{home}", "--python", slow]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    end = time.monotonic() + 30
    with running(command, env=environment, stdout=subprocess.PIPE) as first:
        while not processes_with(f"sleep\0{word}") and time.monotonic() < end:
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.communicate()
    while processes_with(f"sleep\0{word}") and time.monotonic() < end:
        time.sleep(0.05)
    assert not processes_with(f"sleep\0{word}")  # the device does not measure on for nobody
    assert not out.exists()
    (tmp_path / "go").touch()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "sending" not in again.stdout  # all files were there
    assert [p.name for p in out.rglob("*.json")] == [REPORT]


def test_over_ssh_with_the_real_runner(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A whole visit: the wheel of the runner, the bundle, a measurement, the verdict."""
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    lay_out(tmp_path / "board", tmp_path / "me")
    with serve_apart(tmp_path / "board") as port:
        board = Board(port, tmp_path / "board")
        trust(board, tmp_path / "me")
        options = ["--out", str(tmp_path / "out"), "--python", sys.executable]
        quick = ["--artifact", "tiny-tflite-int8", "--min-seconds", "0", "--min-queries", "64"]
        targets = ["--on", board.target, "--on", "local", "--on", "ssh://127.0.0.1:1"]
        argv = ["edgeticket", "bench", str(bundle), *targets, *options, "--", *quick]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as caught:
            main()
    told = capfd.readouterr().out
    assert caught.value.code == 1, told  # one of three could not be reached
    label = f"127.0.0.1-{board.port}"
    assert (
        f"tiny-tflite-int8 on {label}: all outputs equal this machine's, bit for bit, over 40"
        in told
    )
    assert "127.0.0.1-1: ssh://127.0.0.1:1: cannot connect" in told
    report = read_report(tmp_path / "out" / label / REPORT)
    assert report.accuracy.count == 40
    assert (tmp_path / "out" / "local" / REPORT).exists()
    assert not list((board.home / "trees").glob("*/*.tmp"))


def test_this_machine_answers_files_that_are_meant_for_others(bundle: Path, tmp_path: Path) -> None:
    """As on x86 with the S8 file of an ARM board: its answers are wanted, its times are not."""
    theirs = example_report()
    artifact = dataclasses.replace(theirs.artifact, id="tiny-ort-fp32")
    here = Device("local", f"local:{tmp_path}/home")
    local_outcome = Outcome(here, (dataclasses.replace(theirs, artifact=artifact),), None)
    board = Outcome(Device("board", "ssh://board"), (theirs,), None)
    outcomes = [local_outcome, board]
    (found,) = answer_here(bundle, local_outcome, outcomes, ["--samples", "9"], PATIENCE)
    assert (found.artifact.id, found.accuracy.count) == ("tiny-tflite-int8", 9)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["on which devices?", "--on ssh://pi@raspberrypi.local"]),
        (["--on", "telnet:x"], ["'telnet:x' is no target", "ssh://user@host"]),
        (["--on", "local", "--on", "local"], ["two devices are called 'local'", "fleet file"]),
        (["--on", "local", "--", "-o", "x"], ["-o is not for devices"]),
        (["--on", "ssh://127.0.0.1:1"], ["cannot connect"]),
        (["--devices", "none.yaml"], ["cannot read fleet none.yaml"]),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    parts: list[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["edgeticket", "bench", str(bundle), *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    told = capfd.readouterr().err
    assert (caught.value.code, told.count("\n")) == (2, 1), told
    assert all(part in told for part in parts), told


def test_fleet_files(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(
        "devices:\n"
        "  - {target: ssh://pi@pi5.local}\n"
        "  - {target: ssh://orin, label: jetson, python: /opt/venv/bin/python}\n"
        "  - {target: local}\n"
    )
    assert read_fleet(path) == [
        Device("pi5.local", "ssh://pi@pi5.local"),
        Device("jetson", "ssh://orin", "/opt/venv/bin/python"),
        Device("local", "local"),
    ]
    both = gather(["ssh://a:22", "local:/x/y"], [path], python="/py")
    assert [(d.label, d.python) for d in both] == [
        *(("a", "/py"), ("local-x-y", "/py"), ("pi5.local", "/py")),
        *(("jetson", "/opt/venv/bin/python"), ("local", "/py")),
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("devices: []", ["devices"]),
        ("device: [{target: local}]", ["unknown key", "did you mean devices"]),
        ("devices: [{target: local, lable: x}]", ["devices.0.lable", "did you mean label"]),
        ("devices: [{label: x}]", ["devices.0.target: missing"]),
        ("devices: [{target: local, label: ../x}]", ["devices.0.label"]),
        ("devices: [{target: nowhere}]", ["'nowhere' is no target"]),
        ("devices: [{target: 'ssh://pi:raspberry@x'}]", ["a password has no place"]),
        ("- local", ["a fleet is a mapping"]),
    ],
)
def test_fleet_files_that_are_none(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_fleet(path)
    assert all(part in str(caught.value) for part in parts), caught.value
    assert "raspberry" not in str(caught.value)


def test_labels_name_folders() -> None:
    assert make_device("ssh://pi@[fe80::1]:2222").label == "fe80-1-2222"
    assert json.dumps(make_device("local:/../x").label) == '"local-..-x"'
