"""Sustained load: minutes, the one that throttles, and what stays; with a clock of our own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from board_fixtures import lay_out
from runner_fixtures import sustained_report, write_tiny_bundle

from edgeticket.device_runner import latency, sustained, watch
from edgeticket.device_runner.cli import main
from edgeticket.device_runner.commands.arguments import minutes
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import read_report, write_report
from edgeticket.device_runner.sustained import Minute, Sustained, measure_sustained, sustained_of
from edgeticket.device_runner.terminal import sustained_lines
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.watch import Watch

NOTHING = Unavailable("no sensor")
CPU = "sys/devices/system/cpu/cpufreq/policy0/"
ZONE = "sys/class/thermal/thermal_zone0/"


def minute(mean_ns: float = 1000.0, **more: object) -> Minute:
    values = {"p50_ns": int(mean_ns), "p90_ns": int(1.1 * mean_ns)}
    fields = {**values, "clock_hz": NOTHING, "temperature_c": NOTHING, "signs": (), **more}
    return Minute(queries=100, mean_ns=mean_ns, **fields)  # type: ignore[arg-type]


def of(*minutes: Minute) -> Sustained:
    return sustained_of(minutes, minute_s=60.0)


def test_the_first_minute_that_is_slower_is_named_with_what_shows_it() -> None:
    found = of(minute(), minute(1090), minute(1200), minute(2000), minute(2000), minute(2010))
    assert found.throttled_minute == 3
    assert found.throttled_by == (
        "the median is 20% above the first minute's; the mean is 20% above the first minute's"
    )
    assert found.steady_p90_ns == 2211


def test_a_quota_shows_in_the_mean_alone() -> None:
    """It stops the process for tens of milliseconds, which few queries meet."""
    held_up = minute(2000, p50_ns=1000, p90_ns=1100)
    found = of(minute(), held_up, held_up, held_up)
    assert (found.throttled_minute, found.steady_p90_ns) == (2, 1100)
    assert found.throttled_by == "the mean is 100% above the first minute's"


def test_the_machine_may_say_it_before_it_shows() -> None:
    fast, slow = {"policy0": 1.8e9, "policy4": 2e9}, {"policy0": 1.8e9, "policy4": 1.5e9}
    found = of(minute(clock_hz=fast), minute(clock_hz=slow), minute(clock_hz=fast))
    assert (found.throttled_minute, found.throttled_by) == (
        2,
        "policy4 at 1500 instead of 2000 MHz",
    )
    told = of(minute(), minute(), minute(signs=("the hardware throttled: core 3 times",)))
    assert (told.throttled_minute, told.throttled_by) == (3, "the hardware throttled: core 3 times")


def test_what_has_not_settled_has_no_steady_state() -> None:
    assert of(minute(), minute(), minute(1060)).steady_p90_ns == Unavailable(
        "the last 3 minutes still differ by 6.0%: sustain longer"
    )
    assert of(minute(), minute()).steady_p90_ns == Unavailable("2 minutes do not tell it, 3 do")
    assert isinstance(of(minute(), minute(), minute()).throttled_minute, Unavailable)


class Clock:
    """Time that passes by queries alone."""

    def __init__(self) -> None:
        self.now_ns = 10**12

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (latency, sustained, watch):
        monkeypatch.setattr(module, "perf_counter_ns", clock)
    return clock


def test_five_minutes_of_a_board_that_gets_hot_in_the_third(clock: Clock, tmp_path: Path) -> None:
    lay_out(tmp_path, {f"{CPU}scaling_cur_freq": "1800000\n", f"{CPU}affected_cpus": "0 1 2 3\n"})
    lay_out(tmp_path, {f"{ZONE}type": "cpu-thermal\n", f"{ZONE}temp": "50000\n"})
    start = clock.now_ns

    def query(x: int) -> None:
        hot = clock.now_ns - start >= 120e9
        clock.now_ns += 30_000_000 if hot else 20_000_000
        if hot:
            lay_out(tmp_path, {f"{CPU}scaling_cur_freq": "1200000\n", f"{ZONE}temp": "80000\n"})

    looking = Watch(tmp_path, command=lambda words: NOTHING, cpus=[0, 1, 2, 3])
    shares: list[float] = []
    latencies, (found,) = measure_sustained(
        [(query, [0])], minutes=5, warmup_seconds=0.0, watch=looking, progress=shares.append
    )
    assert [m.p50_ns for m in found.minutes] == [20_000_000] * 2 + [30_000_000] * 3
    assert found.throttled_minute == 3
    assert found.steady_p90_ns == 30_000_000
    # Of every turn of 0.1 s the first query is not timed.
    assert 2000 < found.minutes[0].queries < 3000
    assert latencies[0].samples_ns == (30_000_000,) * found.minutes[-1].queries
    assert latencies[0].scenario == "Sustained"
    heat = [m.temperature_c["thermal_zone0 cpu-thermal"] for m in found.minutes]  # type: ignore[index]
    assert heat == [50.0, 50.0, 80.0, 80.0, 80.0]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_artifacts_take_turns_in_every_minute(clock: Clock, tmp_path: Path) -> None:
    def taking(milliseconds: int) -> Callable[[int], None]:
        def query(x: int) -> None:
            clock.now_ns += milliseconds * 1_000_000

        return query

    looking = Watch(tmp_path, command=lambda words: NOTHING, cpus=[0])
    _, (fast, slow) = measure_sustained(
        [(taking(5), [0]), (taking(10), [0])], minutes=2, warmup_seconds=0.0, watch=looking
    )
    for a, b in zip(fast.minutes, slow.minutes, strict=True):
        assert (a.p50_ns, b.p50_ns) == (5_000_000, 10_000_000)
        assert 1.8 < a.queries / b.queries < 2.2


def test_a_report_of_it_must_follow_from_its_minutes(tmp_path: Path) -> None:
    report = sustained_report()
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report
    wrong = replace(report.sustained, throttled_minute=1)  # type: ignore[type-var]
    with pytest.raises(InputError, match="/sustained: it does not follow from its minutes"):
        write_report(replace(report, sustained=wrong), tmp_path / "wrong.json")
    with pytest.raises(InputError, match="/sustained: Sustained queries have it"):
        write_report(replace(report, sustained=NOTHING), tmp_path / "wrong.json")
    lines = "\n".join(sustained_lines([report]))
    assert "steady p90" in lines
    assert "throttles: vcgencmd get_throttled: soft temperature limit" in lines
    assert lines.count("throttles") == 1


@pytest.mark.parametrize(("text", "count"), [("30m", 30), ("2m", 2), ("2h", 120)])
def test_times_to_sustain(text: str, count: int) -> None:
    assert minutes(text) == count


@pytest.mark.parametrize("text", ["1m", "30", "30s", "m", "-2m", "25h", "2.5m", "²m"])
def test_other_times_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["bench", str(tmp_path), "--sustain", text])


def test_a_whole_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In minutes of a tenth of a second, as nobody waits for real ones."""
    monkeypatch.setattr(measure_sustained, "__kwdefaults__", {"minute_s": 0.1, "progress": None})
    bundle = write_tiny_bundle(tmp_path / "bundle")
    main(["bench", str(bundle), "-o", str(tmp_path / "r"), "--runtime", "tflite", "--sustain", "3m",
          "--warmup-seconds", "0", "--energy-seconds", "0"])  # fmt: skip
    for file in (tmp_path / "r").iterdir():
        report = read_report(file)
        assert isinstance(report.sustained, Sustained)
        assert len(report.sustained.minutes) == 3
        assert report.latency.queries == report.sustained.minutes[-1].queries


@pytest.mark.slow
def test_half_of_the_time_taken_away_after_a_minute(tmp_path: Path) -> None:
    """A runner that is stopped half of the time from its second minute on, as a quota does."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    command = [sys.executable, "-m", "edgeticket.device_runner", "bench", str(bundle), "-o",
               str(tmp_path / "report.json"), "--artifact", "tiny-tflite-int8", "--sustain", "5m",
               "--energy-seconds", "0"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as runner:
        assert runner.stderr is not None
        for line in runner.stderr:
            if "sustained load" in line:
                break
        reader = threading.Thread(target=runner.stderr.read)
        reader.start()
        time.sleep(70)
        while runner.poll() is None:
            os.kill(runner.pid, signal.SIGSTOP)
            time.sleep(0.05)
            os.kill(runner.pid, signal.SIGCONT)
            time.sleep(0.05)
        reader.join()
    assert runner.returncode == 0
    found = read_report(tmp_path / "report.json").sustained
    assert isinstance(found, Sustained)
    assert found.throttled_minute == 2
    assert found.minutes[3].queries < 0.7 * found.minutes[0].queries
