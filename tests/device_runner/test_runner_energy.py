"""Power sensors of laid-out boards, a meter's log, and what both make of an inference."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import runner_fixtures as tiny
from board_fixtures import (
    AGX_ORIN,
    HWMON,
    ORIN,
    PI4,
    PI5,
    PMIC_W,
    XAVIER,
    Board,
    ina3221,
    lay_out,
)
from hypothesis import given
from hypothesis import strategies as st

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.cli import main
from edgeticket.device_runner.energy import (
    Energy,
    Interval,
    _rest,
    _sampled,
    _worker,
    add_meter,
    measure_energy,
)
from edgeticket.device_runner.energy.meter import MeterLog, read_meter
from edgeticket.device_runner.energy.sensors import Sensor, find_sensors
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import read_report, write_report
from edgeticket.device_runner.unavailable import Unavailable

NONE = Board("", "", "", 1, {}, {})


def sensor(root: Path, board: Board) -> Sensor:
    (found,), _ = find_sensors(board.lay_out(root), command=board.command)
    return found


def test_a_jetson_module_has_one_rail_for_all(tmp_path: Path) -> None:
    found = sensor(tmp_path, ORIN)
    assert found.source == "INA3221 VDD_IN"
    assert found.scope == "the whole module"
    assert found.read_w() == pytest.approx(5.008 * 0.9)


def test_a_xavier_adds_its_rails(tmp_path: Path) -> None:
    found = sensor(tmp_path, XAVIER)
    assert found.source == "INA3221 GPU + CPU + SOC + CV + VDDRQ + SYS5V"
    assert "sum of the module's rails" in found.scope
    assert found.read_w() == pytest.approx(19 * (0.01 + 0.04 + 0.05 + 0 + 0.01) + 5 * 0.4)


def test_an_agx_orin_counts_each_rail_once(tmp_path: Path) -> None:
    """What is not connected is left out; the memory is fed by the 5 V rail, and part of it."""
    found = sensor(tmp_path, AGX_ORIN)
    assert found.source == "INA3221 VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    assert found.read_w() == pytest.approx(19 * (0.2 + 0.1) + 4.968 * 0.9)


def test_equal_labels_are_told_apart(tmp_path: Path) -> None:
    rails = [("CORE", 5000, 100), ("CORE", 5000, 200), ("nc", 5000, 999)]
    files = {**ina3221(2, *rails), **ina3221(3, ("CORE", 5000, 400), ("IO", 5000, 50))}
    files[f"{HWMON}/hwmon3/in2_enable"] = "0\n"  # switched off
    found = sensor(tmp_path, ORIN.but(files=files))
    assert found.source == (
        "INA3221 CORE (hwmon2 channel 1) + CORE (hwmon2 channel 2) + CORE (hwmon3 channel 1)"
    )
    assert found.read_w() == pytest.approx(5 * 0.7)


def test_a_memory_rail_alone_counts(tmp_path: Path) -> None:
    found = sensor(tmp_path, ORIN.but(files=ina3221(1, ("VDDQ_VDD2_1V8AO", 4968, 220))))
    assert found.read_w() == pytest.approx(4.968 * 0.22)


def test_a_pi_5_adds_what_is_behind_its_pmic(tmp_path: Path) -> None:
    found = sensor(tmp_path, PI5)
    assert found.source == "PMIC rails"
    assert "less than wall power" in found.scope
    assert found.read_w() == pytest.approx(PMIC_W)  # EXT5V and BATT tell no current


def test_boards_without_a_sensor_say_why(tmp_path: Path) -> None:
    board = PI4.but(answers={"vcgencmd pmic_read_adc": "error=1 error_msg='unknown'"})
    found, missing = find_sensors(board.lay_out(tmp_path), command=board.command)
    assert found == []
    assert set(missing) == {"INA3221", "PMIC", "RAPL"}
    assert missing["INA3221"] == "no ina3221 with labelled rails (a Jetson has one)"
    assert "a Pi 5 has rails" in missing["PMIC"]
    _, missing = find_sensors(tmp_path / "none", command=NONE.command)
    assert missing["PMIC"] == "no vcgencmd (a Raspberry Pi 5 has one)"


def rapl(root: Path, *energies_uj: int) -> None:
    for i, energy in enumerate(energies_uj):
        zone = f"sys/class/powercap/intel-rapl:{i}"
        files = {"name": f"package-{i}", "energy_uj": energy, "max_energy_range_uj": 1_000_000_000}
        lay_out(root, {f"{zone}/{name}": f"{value}\n" for name, value in files.items()})
    lay_out(root, {"sys/class/powercap/intel-rapl:0:0/name": "core\n"})


def test_rapl_counts_and_begins_anew(tmp_path: Path) -> None:
    rapl(tmp_path, 990_000_000, 5_000_000)
    now = [0.0]
    (found,), _ = find_sensors(tmp_path, command=NONE.command, clock=lambda: now[0])
    rapl(tmp_path, 10_000_000, 25_000_000)  # 20 J over the end, and 20 J
    now[0] = 4.0
    assert found.read_w() == pytest.approx(40 / 4)
    assert "memory, disks and supply losses are not in it" in found.scope


def test_rapl_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    rapl(tmp_path, 1)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    _, missing = find_sensors(tmp_path, command=NONE.command)
    assert "reading it may need root" in missing["RAPL"]


def test_energy_of_an_inference(tmp_path: Path) -> None:
    root = ORIN.lay_out(tmp_path)
    (found,) = measure_energy(
        [(lambda x: time.sleep(0.01), [0])], seconds=0.4, root=root, command=ORIN.command
    )
    assert isinstance(found, Energy)
    (told,) = found.sources
    seconds = (found.load.ended_ns - found.load.started_ns) / 1e9
    assert seconds >= 0.4
    assert told.mean_w == pytest.approx(5.008 * 0.9)
    assert told.per_inference_j == pytest.approx(told.mean_w * seconds / found.inferences)
    assert told.above_idle_j == pytest.approx(0.0)  # this board draws the same at rest
    assert found.idle.ended_ns <= found.load.started_ns
    assert set(found.missing) == {"PMIC", "RAPL"}


def test_no_sensor_no_part_unless_asked(tmp_path: Path) -> None:
    artifact = [(lambda x: None, [0])]
    (found,) = measure_energy(artifact, seconds=None, root=tmp_path, command=NONE.command)
    assert isinstance(found, Unavailable)
    assert found.reason.startswith("there is no power sensor (INA3221: no ina3221")
    (found,) = measure_energy(artifact, seconds=0, root=tmp_path, command=NONE.command)
    assert found == Unavailable("it was not asked for")
    (asked,) = measure_energy(artifact, seconds=0.01, root=tmp_path, command=NONE.command)
    assert isinstance(asked, Energy)
    assert asked.sources == ()


def log(text: str, folder: Path, **options: float) -> MeterLog:
    (folder / "m.csv").write_text(text)
    return read_meter(folder / "m.csv", **options)


@given(
    st.lists(st.floats(0.3, 0.8), min_size=20, max_size=60),
    st.floats(0.5, 50.0), st.floats(-2.0, 2.0),
)  # fmt: skip
def test_the_mean_of_a_straight_line_is_its_middle(
    steps: list[float], level: float, slope: float
) -> None:
    """The trapezoidal rule is exact for it, however rows are spaced, if there is no hole."""
    times = [100 + sum(steps[:i]) for i in range(len(steps) + 1)]
    power = tuple(level + slope * (t - 100) for t in times)
    found = MeterLog("m", tuple(times), power)
    start, end = times[1] + 0.003, times[-2] - 0.003
    middle = level + slope * ((start + end) / 2 - 100)
    assert found.mean_w(round(start * 1e9), round(end * 1e9)) == pytest.approx(middle, abs=1e-5)


def test_time_stamps_and_columns(tmp_path: Path) -> None:
    iso = "time,note,voltage_v,current_a\n" + "".join(
        f"2026-01-31T12:00:0{i}+02:00,x,5.0,0.{i}\n" for i in range(5)
    )
    found = log(iso, tmp_path, offset_s=1.5)
    assert found.times_s[0] == 1769853600 + 1.5
    assert found.power_w == pytest.approx((0.0, 0.5, 1.0, 1.5, 2.0))
    plain = log("time,power_w\n1.0,3\n2.0,4\n3.5,5\n", tmp_path)
    assert (plain.times_s, plain.power_w) == ((1.0, 2.0, 3.5), (3.0, 4.0, 5.0))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has 0 rows of readings"),
        ("time,power_w\n1,2\n", "has 1 rows"),
        ("t,power_w\n1,2\n", r"line 2: no column time \(there are: t, power_w\)"),
        ("time,p\n1,2\n", "no column power_w, nor voltage_v and current_a"),
        ("time,power_w\n1,nan\n", "line 2: power_w is 'nan', not a number"),
        ("time,power_w\n1\n", "line 2: power_w is '', not a number"),
        ("time,power_w\nyesterday,2\n", "line 2: time is 'yesterday', not a number"),
        ("time,power_w\n2026-01-31T12:00:00,2\n", "has no zone"),
        ("time,power_w\n2,2\n1,2\n3,3\n", "line 3: its time is not after"),
        ("time,power_w\n2,2\n2,2\n3,3\n", "line 3: its time is not after"),
    ],
)
def test_logs_that_cannot_be_used(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        log(text, tmp_path)


def test_a_log_that_does_not_cover_the_run() -> None:
    found = MeterLog("m.csv", (10.0, 11.0, 12.0, 13.0, 14.0), (1.0,) * 5)
    outside = found.mean_w(9_000_000_000, 12_000_000_000)
    assert isinstance(outside, Unavailable)
    assert "check both clocks" in outside.reason
    few = found.mean_w(10_500_000_000, 11_500_000_000)
    assert isinstance(few, Unavailable)
    assert "has 1 rows within" in few.reason


def test_a_meter_joins_the_sensors() -> None:
    energy = Energy(Interval(0, 10**10), Interval(10**10, 2 * 10**10), 1000, (), {"RAPL": "no"})
    times = tuple(i / 2 for i in range(60))
    power = tuple(2.0 if t < 10 else 5.0 for t in times)
    found = add_meter(energy, MeterLog("m.csv", times, power))
    (told,) = found.sources
    assert told.source == "meter m.csv"
    assert told.per_inference_j == pytest.approx(5.0 * 10 / 1000, rel=0.01)
    assert told.above_idle_j == pytest.approx(3.0 * 10 / 1000, rel=0.03)
    assert add_meter(found, MeterLog("m.csv", times, power)) == found  # not twice
    short = add_meter(found, MeterLog("m.csv", times[:3], power[:3]))
    assert short.sources == ()
    assert "check both clocks" in short.missing["meter m.csv"]


def test_a_log_is_added_to_reports_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny.write_tiny_bundle(tmp_path / "b")
    plan = replace(tiny.QUICK, energy_seconds=0.3)
    (report,) = bench(path, plan=plan, artifact="tiny-tflite-int8", root=tmp_path / "none")
    write_report(report, tmp_path / "r.json")
    start = time.time() - 30
    rows = "".join(f"{start + i / 20},4.0\n" for i in range(1200))
    (tmp_path / "m.csv").write_text("time,power_w\n" + rows)
    assert main(["energy", str(tmp_path / "r.json"), "--meter", str(tmp_path / "m.csv")]) == 0
    found = read_report(tmp_path / "r.json").energy
    assert isinstance(found, Energy)
    assert [source.source for source in found.sources] == ["meter m.csv"]
    assert found.sources[0].mean_w == pytest.approx(4.0)
    assert "4.000" in capsys.readouterr().out
    far = ["--offset", "9999"]
    before = (tmp_path / "r.json").read_bytes()
    assert main(["energy", str(tmp_path / "r.json"), "--meter", str(tmp_path / "m.csv"), *far]) == 2
    assert (tmp_path / "r.json").read_bytes() == before


def test_the_whole_platform_is_no_package(tmp_path: Path) -> None:
    """Laptops have a zone psys, which the packages are part of."""
    now = [0.0]
    zone = "sys/class/powercap/intel-rapl:1"
    for joules in (1, 5):
        rapl(tmp_path, joules * 1_000_000)
        files = {"name": "psys", "energy_uj": joules * 10**8, "max_energy_range_uj": 10**12}
        lay_out(tmp_path, {f"{zone}/{name}": f"{value}\n" for name, value in files.items()})
        if joules == 1:
            (found,), _ = find_sensors(tmp_path, command=NONE.command, clock=lambda: now[0])
    now[0] = 2.0
    assert found.read_w() == pytest.approx(4 / 2)


def test_rapl_counts_since_it_was_last_asked(tmp_path: Path) -> None:
    now = [0.0]
    rapl(tmp_path, 1_000_000)
    (found,), _ = find_sensors(tmp_path, command=NONE.command, clock=lambda: now[0])
    for moment, joules, watts in [(2.0, 5, 2.0), (3.0, 9, 4.0), (4.0, 9, 0.0), (6.0, 11, 1.0)]:
        now[0] = moment
        rapl(tmp_path, joules * 1_000_000)
        assert found.read_w() == pytest.approx(watts)


def test_what_was_before_is_no_part_of_the_mean() -> None:
    """A counter's first answer covers the time since it was last asked."""
    answers = iter([1000.0])
    counter = Sensor("counter", "", lambda: next(answers, 2.0))
    interval, count, mean_w = _sampled([counter], _rest, 0.5)
    assert mean_w == {"counter": 2.0}
    assert count == 0
    assert interval.started_ns < interval.ended_ns


def test_work_without_any_time_is_one_inference() -> None:
    asked: list[int] = []
    assert _worker(asked.append, [7, 8])(0.0) == 1
    assert asked == [7]


def test_one_rail_of_the_whole_module_is_enough(tmp_path: Path) -> None:
    rails = [("POM_5V_IN", 5000, 500), ("VDD_IN", 5000, 900), ("VDD_CPU", 5000, 100)]
    found = sensor(tmp_path, ORIN.but(files=ina3221(1, *rails)))
    assert found.source == "INA3221 VDD_IN"
    assert found.read_w() == pytest.approx(4.5)


def test_three_rows_within_are_enough() -> None:
    found = MeterLog("m.csv", (10.0, 11.0, 12.0, 13.0, 14.0), (1.0,) * 5)
    assert found.mean_w(10_500_000_000, 13_500_000_000) == pytest.approx(1.0)
    late = found.mean_w(11_500_000_000, 15_000_000_000)
    assert isinstance(late, Unavailable)
    assert "check both clocks" in late.reason


@pytest.mark.parametrize(
    ("hole", "unseen_s"),
    [
        ((5.0, 5.2), None),  # one row was lost
        ((5.0, 5.4), None),  # less than a tenth of the measurement
        ((1.0, 2.8), None),  # before it
        ((4.0, 6.0), "2.0"),
        ((2.0, 4.0), "1.0"),  # the other second is before it
        ((7.4, 9.0), "0.6"),  # and the rest after it
    ],
)
def test_holes_are_not_bridged(hole: tuple[float, float], unseen_s: str | None) -> None:
    """A meter that lost its link for a while has not seen what was drawn then."""
    times = tuple(i / 10 for i in range(101) if not hole[0] < i / 10 < hole[1])
    found = MeterLog("m.csv", times, (1.0,) * len(times)).mean_w(3 * 10**9, 8 * 10**9)
    if unseen_s is None:
        assert found == pytest.approx(1.0)
    else:
        assert isinstance(found, Unavailable)
        assert f"no rows for {unseen_s} of the measurement's 5.0 s" in found.reason
