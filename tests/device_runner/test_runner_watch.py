"""Counters before and after -> what happened in between."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeticket.device_runner.readings.counters import Counters
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.watch import During, summarise_watch

FIRST = Counters(
    steady_ns=10**9, wall_ns=10**18, boot_ns=2 * 10**9, own_cpu_s=1.0, busy_s=100.0, stolen_s=5.0,
    waited_s=0.5, swapped_pages=40, throttle_events={"over-current oc1": 3},
)  # fmt: skip
LAST = Counters(
    steady_ns=11 * 10**9, wall_ns=10**18 + 13 * 10**9, boot_ns=15 * 10**9, own_cpu_s=10.0,
    busy_s=112.0, stolen_s=5.25, waited_s=0.75, swapped_pages=47,
    throttle_events={"over-current oc1": 5},
)  # fmt: skip


def between(last: Counters = LAST) -> During:
    return summarise_watch(FIRST, last, [], spent_ns=50_000_000)


def test_ten_seconds() -> None:
    found = between()
    assert (found.duration_s, found.looks, found.looking_share) == (10.0, 0, 0.005)
    assert found.other_load_cores == pytest.approx((12 - 9) / 10)
    assert found.stolen_cores == pytest.approx(0.025)
    assert found.waited_share == pytest.approx(0.025 * 1.0)
    assert found.swapped_pages == 7
    assert found.throttle_events == {"over-current oc1": 2}
    assert found.clock_step_s == pytest.approx(3.0)
    assert found.suspended_s == pytest.approx(3.0)
    assert isinstance(found.clock_hz, Unavailable)


def test_each_share_has_its_own_counter() -> None:
    assert between(replace(LAST, waited_s=1.5)).waited_share == pytest.approx(0.1)
    assert between(replace(LAST, stolen_s=6.0)).stolen_cores == pytest.approx(0.1)


def test_counters_that_are_missing_or_stand_still() -> None:
    missing = Unavailable("no proc")
    assert between(replace(LAST, busy_s=missing)).other_load_cores == missing
    assert between(replace(LAST, swapped_pages=missing)).swapped_pages == missing
    still = between(replace(LAST, busy_s=100.0)).other_load_cores
    assert still == Unavailable("proc/stat stands still, though this process ran")
    short = replace(LAST, steady_ns=FIRST.steady_ns + 10**8)
    assert isinstance(between(short).other_load_cores, Unavailable)
