"""Laid-out boards in good and bad states: the verdict, its reason, and what was not checked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from board_fixtures import BOARDS, ORIN, PI3, PI4, PI5, XAVIER, Board, over_current, policy

from edgeticket.device_runner.machine import describe_machine
from edgeticket.device_runner.readings import take_readings
from edgeticket.device_runner.validity import INVALID, VALID, Evidence, Validity, judge, judge_now
from edgeticket.device_runner.validity.rules import RULES
from edgeticket.device_runner.watch import During, Span, Watch
from edgeticket.device_runner.windows import split_windows

STEADY = split_windows([1_000_000] * 100, 5)
DOCS = Path(__file__).parents[2] / "docs" / "validity.md"

# What the machine that runs the tests happened to do meanwhile is replaced.
CALM: dict[str, Any] = {
    "duration_s": 10.0,
    "looking_share": 0.001,
    "other_load_cores": 0.05,
    "stolen_cores": 0.0,
    "waited_share": 0.001,
    "swapped_pages": 0,
    "clock_step_s": 0.0,
    "suspended_s": 0.0,
}


def look_at(root: Path, *states: Board, during: dict[str, Any] | None = None) -> Evidence:
    """A board before, in the middle of and after a measurement (one state: all the same)."""
    before, middle, after = states if len(states) == 3 else states * 3
    now = [before]

    def command(words: Sequence[str]) -> str:
        return now[0].command(words)

    machine = describe_machine(before.lay_out(root))
    first = take_readings(root, command=command)
    watch = Watch(root, command=command, cpus=range(before.cpus))
    now[0] = middle
    middle.lay_out(root)
    watch()
    now[0] = after
    after.lay_out(root)
    seen = dataclasses.replace(watch.finish(), **{**CALM, **(during or {})})
    return Evidence(
        machine=machine,
        before=first,
        during=seen,
        after=take_readings(root, command=command),
        windows=STEADY,
        threads=1,
        cores=before.cpus,
        paced=False,
    )


def rules(validity: Validity) -> list[str]:
    """Names of the rules that made it invalid."""
    assert (validity.verdict == INVALID) == bool(validity.reasons)
    return [finding.rule for finding in validity.reasons]


@pytest.mark.parametrize("name", BOARDS)
def test_boards_in_good_order_are_valid(tmp_path: Path, name: str) -> None:
    found = judge(look_at(tmp_path, BOARDS[name]))
    assert (found.verdict, found.reasons) == (VALID, ())
    checked = set(RULES) - set(found.unchecked)
    assert {"hot", "powersave", "low-clock", "cap-changed", "other-load", "drift"} <= checked
    if name.startswith("Pi"):
        assert {"under-voltage", "throttled"} <= checked
        assert found.unchecked["power-mode"] == "no nvpmodel (a Jetson has one)"
        assert found.warnings == ()
    else:
        assert {"cooling", "throttle-events", "power-mode"} <= checked
        assert found.unchecked["throttled"] == "no vcgencmd (a Raspberry Pi has one)"
    if name == "Orin":
        assert [(w.rule, w.found) for w in found.warnings] == [
            ("power-mode", "the power mode is 15W, not MAXN")
        ]


def throttled(bits: str) -> Board:
    return PI4.but(answers={"vcgencmd get_throttled": f"throttled={bits}\n"})


HOT = PI4.but(zones={"cpu-thermal": 81.2})
SLOW = PI4.but(policies={"policy0": policy("0 1 2 3", 1_800_000, now_khz=600_000)})
CAPPED = PI4.but(
    policies={"policy0": policy("0 1 2 3", 1_800_000, now_khz=1_000_000, cap_khz=1_000_000)}
)
POWERSAVE = PI4.but(
    policies={
        "policy0": policy("0 1 2 3", 1_800_000, now_khz=600_000, scaling_governor="powersave")
    }
)
ALARM = PI3.but(
    answers={}, files={k: v.replace("0", "1") if "alarm" in k else v for k, v in PI3.files.items()}
)


@pytest.mark.parametrize(
    ("states", "broken", "sentence"),
    [
        ([throttled("0x50005")], ["under-voltage", "throttled"], "get_throttled: throttled"),
        ([PI4, throttled("0x2"), PI4], ["throttled"], "get_throttled: frequency capped"),
        ([PI4, PI4, throttled("0x80000")], ["throttled"], "get_throttled: soft temperature limit"),
        ([PI4, PI4, throttled("0x10000")], ["under-voltage"], "get_throttled: under-voltage"),
        ([ALARM], ["under-voltage"], r"rpi_volt in0_lcrit_alarm\) is on"),
        ([HOT], ["hot"], r"cpu-thermal reached 81.2 °C, its limit is 80 °C"),
        ([PI4, HOT, PI4], ["hot"], r"reached 81.2 °C"),
        ([POWERSAVE], ["powersave", "low-clock"], "the governor of policy0 is powersave"),
        ([SLOW], ["low-clock"], r"the clock of policy0 was 600 of 1800 MHz"),
        ([PI4, CAPPED, CAPPED], ["low-clock", "cap-changed"], "policy0 from 1800 to 1000 MHz"),
        (
            [ORIN.but(zones={"cpu-thermal": 98.5, "gpu-thermal": 60.0})], ["hot"],
            "cpu-thermal reached 98.5 °C, its limit is 99 °C",
        ),
        (
            [ORIN, ORIN.but(cooling={"cpufreq-cpu0": 3}), ORIN], ["cooling"],
            r"slows the CPU or GPU down \(cooling_device0 cpufreq-cpu0\)",
        ),
        (
            [XAVIER, XAVIER, XAVIER.but(files={**XAVIER.files, **over_current(4, 0, 2)})],
            ["throttle-events"], "over-current oc2 2 times",
        ),
    ],
)  # fmt: skip
def test_boards_in_bad_order_are_invalid(
    tmp_path: Path, states: list[Board], broken: list[str], sentence: str
) -> None:
    found = judge(look_at(tmp_path, *states))
    assert rules(found) == broken
    assert any(re.search(sentence, finding.found) for finding in found.reasons)
    assert all(finding.cure == RULES[finding.rule].cure for finding in found.reasons)


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({"other_load_cores": 1.3}, ["other-load"]),
        ({"other_load_cores": 0.9}, []),
        ({"waited_share": 0.05}, ["waiting"]),
        ({"stolen_cores": 0.03}, ["stolen"]),
        ({"swapped_pages": 300}, ["swapping"]),
        ({"swapped_pages": 20}, []),
        ({"clock_step_s": -3600.0}, ["clock-step"]),
        ({"clock_step_s": 0.02}, []),
        ({"suspended_s": 12.0}, ["suspended"]),
        ({"throttle_events": {"thermal core": 1}}, ["throttle-events"]),
    ],
)
def test_what_happened_meanwhile(
    tmp_path: Path, changed: dict[str, Any], broken: list[str]
) -> None:
    assert rules(judge(look_at(tmp_path, PI4, during=changed))) == broken


def test_without_a_free_core_other_load_weighs_more(tmp_path: Path) -> None:
    seen = look_at(tmp_path, PI4, during={"other_load_cores": 0.5})
    assert rules(judge(dataclasses.replace(seen, threads=3))) == []
    crowded = judge(dataclasses.replace(seen, threads=4))
    assert rules(crowded) == ["other-load"]
    assert "kept 0.50 of 4 cores busy, allowed: 0.40" in crowded.reasons[0].found


@pytest.mark.parametrize(
    ("samples", "broken"),
    [
        ([1000] * 40 + [1130] * 20 + [1000] * 40, ["spread"]),
        ([1000] * 20 + [1020] * 20 + [1040] * 20 + [1060] * 20 + [1080] * 20, ["drift"]),
        ([1080] * 20 + [1060] * 20 + [1040] * 20 + [1020] * 20 + [1000] * 20, ["drift"]),
        ([1000, 1010] * 50, []),
    ],
)
def test_windows(tmp_path: Path, samples: list[int], broken: list[str]) -> None:
    seen = dataclasses.replace(look_at(tmp_path, PI5), windows=split_windows(samples, 5))
    assert rules(judge(seen)) == broken


def test_paced_frames_let_the_clock_fall(tmp_path: Path) -> None:
    seen = dataclasses.replace(look_at(tmp_path, SLOW), paced=True)
    found = judge(seen)
    assert rules(found) == []
    assert found.unchecked["low-clock"] == "between paced frames the clock may fall"


def test_a_cap_that_stays_only_warns(tmp_path: Path) -> None:
    found = judge(look_at(tmp_path, CAPPED))
    assert rules(found) == []
    assert [(w.rule, w.found) for w in found.warnings] == [
        ("capped", "the clock is capped: policy0 to 1000 of 1800 MHz")
    ]


def test_trouble_from_before_only_warns(tmp_path: Path) -> None:
    found = judge(look_at(tmp_path, throttled("0x50000")))
    assert rules(found) == []
    (warning,) = found.warnings
    assert warning.found == "vcgencmd get_throttled: under-voltage, throttled since boot, not now"


def test_powersave_of_intel_is_not_slow(tmp_path: Path) -> None:
    modern = policy(
        "0 1 2 3", 4_700_000, now_khz=3_000_000, base_frequency="2400000",
        scaling_governor="powersave", scaling_driver="intel_pstate",
    )  # fmt: skip
    assert rules(judge(look_at(tmp_path, PI4.but(policies={"policy0": modern})))) == []


def test_a_machine_without_sensors_is_valid_and_says_what_is_missing(tmp_path: Path) -> None:
    bare = Board("", "", "", 2, {}, {})
    found = judge(look_at(tmp_path, bare))
    assert found.verdict == VALID
    for rule in ("under-voltage", "throttled", "cooling", "hot", "powersave", "low-clock"):
        assert found.unchecked[rule]
    assert not {"other-load", "waiting", "spread", "drift"} & set(found.unchecked)
    # ... unless something that was measured says otherwise.
    assert rules(judge(look_at(tmp_path, bare, during={"stolen_cores": 0.2}))) == ["stolen"]


def on_cpus(*cpus: int, ticks: int) -> dict[str, str]:
    """Threads of the process that ran on these CPUs, and another that did nothing."""
    rest = " ".join(["0"] * 23)
    stats = {
        f"{7 + i}": f"{7 + i} (ort) R {'0 ' * 10}{ticks} 0 {rest} {c} 0" for i, c in enumerate(cpus)
    }
    stats["99"] = f"99 (idle) S {'0 ' * 10}1 0 {rest} 0 0"
    return {f"proc/self/task/{name}/stat": f"{text}\n" for name, text in stats.items()}


LITTLE, BIG = policy("0 1 2 3", 1_800_000), policy("4 5", 2_400_000)
RK3399 = PI4.but(model="Rock Pi 4", policies={"policy0": LITTLE, "policy4": BIG}, cpus=6)
SLOW_BIG = policy("4 5", 2_400_000, now_khz=816_000)


def test_each_cluster_is_judged_by_its_own_clock(tmp_path: Path) -> None:
    """The big cores ran, and slowly; the little ones rested at a low clock, and may."""
    resting = policy("0 1 2 3", 1_800_000, now_khz=408_000)
    board = RK3399.but(
        policies={"policy0": resting, "policy4": SLOW_BIG}, files=on_cpus(4, 5, ticks=50)
    )
    seen = look_at(tmp_path, board)
    assert isinstance(seen.during, During)
    assert seen.during.clock_hz == {"policy4": Span(816e6, 816e6, 816e6)}
    found = judge(seen)
    assert rules(found) == ["low-clock"]
    assert found.reasons[0].found == "the clock of policy4 was 816 of 2400 MHz (median)"
    assert rules(judge(look_at(tmp_path / "fast", RK3399.but(files=on_cpus(4, ticks=50))))) == []


def test_threads_on_unlike_clusters_are_told(tmp_path: Path) -> None:
    slow = policy("0 1 2 3", 1_800_000, now_khz=600_000)
    board = RK3399.but(
        policies={"policy0": slow, "policy4": SLOW_BIG}, files=on_cpus(1, 4, ticks=50)
    )
    found = judge(look_at(tmp_path, board))
    assert [w.found for w in found.warnings] == [
        "it ran on unlike clusters of cores: policy0 (to 1800 MHz), policy4 (to 2400 MHz)"
    ]
    assert found.reasons[0].found == (
        "the clock of policy0 was 600 of 1800 MHz, of policy4 was 816 of 2400 MHz (median)"
    )


def test_before_anything_is_measured(tmp_path: Path) -> None:
    machine = describe_machine(POWERSAVE.lay_out(tmp_path))
    found = judge_now(machine, take_readings(tmp_path, command=POWERSAVE.command))
    assert rules(found) == ["powersave"]
    assert found.unchecked["drift"] == "nothing was measured"


def test_an_emulated_board_is_never_measured(tmp_path: Path) -> None:
    board = PI4.but(files={"etc/edgeticket-emulated": "QEMU"})
    validity = judge(look_at(tmp_path, board))
    assert rules(validity) == ["emulated"]
    assert validity.reasons[0].found == "times are emulated (QEMU), not measured"


def test_a_look_and_its_rest(tmp_path: Path) -> None:
    """A second look comes only when one is due."""
    watch = Watch(PI4.lay_out(tmp_path), command=PI4.command, cpus=range(4))
    for _ in range(50):
        watch()
    during = watch.finish()
    assert isinstance(during, During)
    assert during.looks == 1
    assert during.clock_hz == {"policy0": Span(1.8e9, 1.8e9, 1.8e9)}
    assert during.conditions == ()


def test_every_rule_is_explained_to_whoever_meets_it() -> None:
    text = DOCS.read_text()
    for name, rule in RULES.items():
        row = next((line for line in text.splitlines() if line.startswith(f"| `{name}` |")), None)
        assert row is not None, name
        assert ("INVALID" in row) == rule.invalidates, name
