"""Paced frames, batches, threads, cores, cool-down: what is measured and how it is told."""

from __future__ import annotations

import itertools
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import runner_fixtures as tiny
from board_fixtures import PI4, THERMAL, lay_out

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.cli import main
from edgeticket.device_runner.cooldown import LIMIT_S, SETTLE_S, STEP_S, Cooldown, cool_down
from edgeticket.device_runner.cores import parse_cores, pinned
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.latency import summarise
from edgeticket.device_runner.manifest import write_manifest
from edgeticket.device_runner.placement import ASSIGNED, RAN, placement_of
from edgeticket.device_runner.report import parse_report, read_report
from edgeticket.device_runner.runtimes import ort
from edgeticket.device_runner.scenarios import (
    Deadlines,
    measure_paced,
    tell_deadlines,
    tell_throughput,
)
from edgeticket.device_runner.strict_json import format_json, to_json
from edgeticket.device_runner.terminal import placement_lines
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.windows import split_windows

QUICK = tiny.QUICK


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "b")


def paced(run: Any, *, rate_hz: float, count: int) -> list[int]:
    (found,) = measure_paced(
        [(run, [0])], rate_hz=rate_hz, min_seconds=0, min_queries=count, warmup_seconds=0
    )
    assert (found.scenario, found.queries) == ("Paced", count)
    return list(found.samples_ns)


def test_a_frame_carries_its_wait_for_the_slow_one_before() -> None:
    """One answer takes ten periods: those that were due meanwhile come late, one by one less."""
    turn = itertools.count()
    period_s = 0.02

    def run(x: Any) -> None:
        if next(turn) == 3:  # 0 is the warm-up
            time.sleep(10 * period_s)

    late = paced(run, rate_hz=1 / period_s, count=20)
    assert min(late[2:8]) > 4 * period_s * 1e9
    assert late[2] >= 10 * period_s * 1e9
    falling = [late[i] - late[i + 1] for i in range(2, 10)]
    assert all(step > 0 for step in falling)
    deadlines = tell_deadlines(summarise(late, warmup_queries=1), rate_hz=1 / period_s)
    assert isinstance(deadlines, Deadlines)
    assert deadlines.missed >= 8


def test_who_cannot_keep_up_shows_it() -> None:
    late = paced(lambda x: time.sleep(0.004), rate_hz=500, count=20)
    assert late == sorted(late)  # each waits longer than the one before
    assert late[-1] > 19 * 2_000_000
    found = summarise(late, warmup_queries=1, scenario="Paced")
    assert tell_throughput(found, batch=1, how="", rate_hz=500.0).per_s < 260


def test_frames_are_told_of_only_where_there_is_time() -> None:
    told: list[float] = []
    looked: list[int] = []
    for rate_hz in (2000.0, 50.0):
        measure_paced(
            [(lambda x: None, [0])], rate_hz=rate_hz, min_seconds=0, min_queries=5,
            warmup_seconds=0, progress=told.append, watch=lambda: looked.append(len(told)),
        )  # fmt: skip
    assert told[:2] == [0, 1]  # at 2000 frames a second: before the first, and at the end
    assert len(told) > 6


def test_numbers_of_known_times() -> None:
    found = summarise([10_000_000, 40_000_000, 5_000_000], warmup_queries=1, scenario="Paced")
    assert tell_deadlines(found, rate_hz=50.0) == Deadlines(50.0, 1, 1 / 3)
    assert tell_throughput(found, batch=1, how="x", rate_hz=50.0).per_s == pytest.approx(3 / 0.045)
    assert tell_throughput(found, batch=4, how="x", rate_hz=None).per_s == pytest.approx(12 / 0.055)
    assert isinstance(tell_deadlines(found, rate_hz=None), Unavailable)


def test_windows_of_known_times() -> None:
    found = split_windows([100] * 20 + [110] * 20 + [120] * 20, 3)
    assert found.p50_ns == (100, 110, 120)
    assert found.spread == found.drift == pytest.approx(20 / 110)
    falling = split_windows([120] * 20 + [110] * 20 + [100] * 20, 3)
    assert falling.drift == pytest.approx(-20 / 110)
    few = split_windows([100] * 50, 5)
    assert isinstance(few.spread, Unavailable)
    assert few.spread.reason == "with 5 windows, p50 needs 11 queries, 10 were timed in each"
    alone = split_windows([100] * 50, 1)
    assert (alone.p50_ns, isinstance(alone.drift, Unavailable)) == ((100,), True)


def test_a_report_of_paced_frames(path: Path, tmp_path: Path) -> None:
    plan = replace(QUICK, rate_hz=500.0, min_queries=20)
    (report,) = bench(path, plan=plan, artifact="tiny-tflite-int8")
    assert report.latency.scenario == "Paced"
    assert isinstance(report.deadlines, Deadlines)
    assert report.deadlines.rate_hz == 500.0
    assert report.validity.unchecked["low-clock"]


def open_batch(folder: Path) -> Path:
    """A tiny bundle whose fp32 ONNX file leaves the batch open."""
    files = tiny.tiny_files()
    model = onnx.load_from_string(files["models/ort-fp32.onnx"])
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    files["models/ort-fp32.onnx"] = model.SerializeToString()
    return tiny.write_folder(folder, files, write_manifest(tiny.tiny_manifest(files)))


def test_offline_takes_batches_where_the_file_does(tmp_path: Path) -> None:
    plan = replace(QUICK, batch=8)
    reports = {r.artifact.id: r for r in bench(open_batch(tmp_path / "b"), plan=plan)}
    for name in ("tiny-ort-fp32", "tiny-tflite-fp32", "tiny-tflite-int8"):
        assert reports[name].throughput.batch == 8
        assert reports[name].throughput.how == "8 samples in one query"
    single = reports["tiny-ort-int8"].throughput
    assert single.batch == 1
    assert single.how == (
        "single queries, one after another: "
        "tiny-ort-int8 does not take 8 samples at once: its batch is fixed"
    )
    for report in reports.values():
        assert report.latency.scenario == "Offline"
        assert report.accuracy.top1 > 0.9  # always one by one


def test_a_batch_that_mixes_samples_up_is_not_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeticket.device_runner.runtimes import tflite

    class Wrong(tflite._Query):
        def __call__(self, x: Any) -> Any:
            return tuple(y[::-1] for y in super().__call__(x))

    monkeypatch.setattr(tflite, "_Query", Wrong)
    (report,) = bench(path, plan=replace(QUICK, batch=4), artifact="tiny-tflite-int8")
    assert report.throughput.batch == 1
    assert report.throughput.how.endswith("answers otherwise to 4 samples at once")


def test_a_sweep_over_threads_names_its_files(path: Path, tmp_path: Path) -> None:
    quick = ["--min-seconds", "0", "--min-queries", "20", "--warmup-seconds", "0"]
    arguments = ["bench", str(path), "--artifact", "tiny-tflite-int8", *quick]
    assert main([*arguments, "--threads", "1,2", "-o", str(tmp_path)]) == 0
    names = ["tiny-tflite-int8-threads1.json", "tiny-tflite-int8-threads2.json"]
    assert sorted(os.listdir(tmp_path)) == names
    reports = [read_report(tmp_path / name) for name in names]
    assert [report.runtime.threads for report in reports] == [1, 2]
    assert len({report.session.id for report in reports}) == 1


def test_strict_exits_with_1(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("bench", str(path), "--artifact", "tiny-tflite-int8", "--min-seconds", "0"),
        *("--min-queries", "110", "--warmup-seconds", "0", "-o", str(tmp_path / "r.json")),
    ]
    code = main([*arguments, "--strict"])
    report = read_report(tmp_path / "r.json")
    assert code == (1 if report.validity.reasons else 0)
    shown = capsys.readouterr().out
    assert report.validity.verdict in shown
    for finding in report.validity.reasons:
        assert f"INVALID ({finding.rule}): {finding.found}: {finding.cure}" in shown


@pytest.mark.parametrize(
    ("text", "cores"), [("2", (2,)), ("2-3", (2, 3)), ("0,2-3", (0, 2, 3)), ("3,3", (3,))]
)
def test_lists_of_cores(text: str, cores: tuple[int, ...]) -> None:
    assert parse_cores(text) == cores


@pytest.mark.parametrize("text", ["", "a", "3-2", "1,", "-1", "1-", "99999"])
def test_no_lists_of_cores(text: str) -> None:
    with pytest.raises(InputError, match="write them like 2-3 or 0,2"):
        parse_cores(text)


def test_pinning_holds_for_the_block_and_is_undone(path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    one = max(allowed)
    with pinned((one,)) as cores:
        assert cores == (one,)
        assert os.sched_getaffinity(0) == {one}
    assert os.sched_getaffinity(0) == allowed
    with pytest.raises(InputError, match="core 9000 cannot be used here"), pinned((9000,)):
        pass
    (report,) = bench(path, plan=replace(QUICK, cores=(one,)), artifact="tiny-tflite-int8")
    assert report.session.cores == (one,)
    assert report.machine.cores == len(allowed)


def cooling(root: Path, degrees: list[float], below_c: float) -> tuple[Any, list[float]]:
    """Cool down while each pause brings the next temperature, the last one for ever."""
    slept: list[float] = []
    PI4.but(zones={"cpu-thermal": degrees[0]}).lay_out(root)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now = degrees[min(len(slept), len(degrees) - 1)]
        lay_out(root, {f"{THERMAL}/thermal_zone0/temp": f"{round(now * 1000)}\n"})

    return cool_down(root, below_c=below_c, sleep=sleep), slept


def test_cooling_down(tmp_path: Path) -> None:
    found, slept = cooling(tmp_path, [70, 62, 55, 49], 50)
    assert found == Cooldown(3 * STEP_S, 70.0, 49.0, "below 50 °C")
    assert len(slept) == 3
    assert cooling(tmp_path, [45], 50)[0] == Cooldown(0.0, 45.0, 45.0, "below 50 °C")
    found, slept = cooling(tmp_path, [70, 62, 58.0, 57.9, 58.0], 50)
    assert found.ended == "it stopped falling above 50 °C"
    assert sum(slept) == 2 * STEP_S + SETTLE_S
    endless = [120 - 0.51 * i for i in range(400)]
    found, slept = cooling(tmp_path, endless, 10)
    assert found.ended == "it was above 10 °C after 15 minutes"
    assert sum(slept) == LIMIT_S


def test_no_thermometer_no_wait(tmp_path: Path) -> None:
    assert isinstance(cool_down(tmp_path, below_c=50), Unavailable)


class FakeOrt:
    """Stands for a build with GPU providers."""

    @staticmethod
    def get_available_providers() -> list[str]:
        return ["CPUExecutionProvider", "AzureExecutionProvider", "CUDAExecutionProvider"]


def test_providers_in_order_and_where_operators_ran() -> None:
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert ort._providers(FakeOrt, cpu_only=False) == wanted
    assert ort._providers(FakeOrt, cpu_only=True) == ["CPUExecutionProvider"]
    ran = ["CUDAExecutionProvider"] * 3 + ["CPUExecutionProvider"]
    events = [{"cat": "Session", "name": "model_run"}]
    events += [{"cat": "Node", "args": {"provider": name, "op_name": "Conv"}} for name in ran]
    counts = ort.read_placement(json.dumps(events).encode())
    placement = placement_of(counts, asked=ort.PROVIDERS, counted=RAN)
    assert placement.operators == {"TensorRT": 0, "CUDA": 3, "CPU": 1}
    assert placement.words == "TensorRT 0 of 4, CUDA 3 of 4, CPU 1 of 4"


TWO = ["AzureExecutionProvider", "CPUExecutionProvider"]  # of which one runs nothing


@pytest.mark.parametrize("told", [True, False], ids=["assigned", "profile"])
def test_the_real_runtime_tells_where_operators_run(
    monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    monkeypatch.setattr(ort, "_providers", lambda module, cpu_only: TWO)
    if not told:
        monkeypatch.setattr(ort, "_assigned", lambda session: {})
    found = ort.find_placement(tiny.onnx_int8(), threads=1, place="tiny")
    assert found.counted == (ASSIGNED if told else RAN)
    assert list(found.operators) == ["Azure", "CPU"]
    assert found.operators["Azure"] == 0
    count = found.operators["CPU"]
    assert count > 0
    assert found.words == f"Azure 0 of {count}, CPU {count} of {count}"


def test_with_the_cpu_alone_all_operators_of_the_file_are_its() -> None:
    nodes = onnx.load_from_string(tiny.onnx_int8()).graph.node
    found = ort.find_placement(tiny.onnx_int8(), threads=1, place="tiny", cpu_only=True)
    assert found.words == f"CPU {len(nodes)} of {len(nodes)}"


def test_words_follow_from_numbers() -> None:
    report = tiny.example_report()
    assert placement_lines([report]) == [f"{report.artifact.id} ran on CUDA 1 of 31, CPU 30 of 31"]
    document = to_json(report)
    document["placement"]["words"] = "CUDA 31 of 31"
    with pytest.raises(InputError, match="at /placement/words: they do not follow"):
        parse_report(format_json(document), place="report")
    document["placement"] = {"unavailable": "nobody knows"}
    assert parse_report(format_json(document), place="report").placement == Unavailable(
        "nobody knows"
    )
