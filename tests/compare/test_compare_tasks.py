"""Comparisons of other tasks than classes: directions, units, limits, answers that agree."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runner_fixtures import example_report, output_fidelity

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import Fidelity
from edgeticket.device_runner.report import PerSample, Report, TaskScores
from edgeticket.device_runner.task import TASKS
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare import Interval, Limits, compare
from edgeticket.pipeline.compare.limits import parse_drop

COUNT = 5
SETTINGS: dict[str, Any] = {"boxes": {"input": [8, 8], "boxes": {"count": 4},
                                      "scores": {"count": 2, "first": 4}}}  # fmt: skip


def scored(
    task: str,
    score: float | Unavailable,
    *,
    values: tuple[float, ...] | None = None,
    sums: tuple[int, ...] = (1, 2, 3, 4, 5),
    differing: Any = None,
    sha: str = "aa",
    draws: tuple[float, ...] | None = None,
) -> Report:
    """A report of a task with this headline, all other metrics alike."""
    settings = TASKS[task].settings.from_json(SETTINGS.get(task, {}))
    headline = TASKS[task].headline
    assert headline is not None
    metrics = {
        metric.name: score if metric.name == headline else 0.25
        for metric in TASKS[task].metrics(settings)
    }
    accuracy = TaskScores(
        task=task,
        settings=SETTINGS.get(task, {}),
        count=COUNT,
        headline=headline,
        metrics=metrics,
        per_sample=Unavailable("no mean")
        if values is None
        else PerSample(values, (1.0,) * len(values)),
        resampled=Unavailable("not drawn") if draws is None else draws,
        sample_crc32=sums,
        outputs_sha256=sha * 32,
        samples_sha256="cc" * 32,
    )
    fidelity = Fidelity(
        "torch", COUNT, (output_fidelity(30.0, 1.0, 0.1, 1.0),), differing or {}, ()
    )
    return replace(example_report(), accuracy=accuracy, fidelity=fidelity)


@pytest.mark.parametrize(
    ("task", "before", "after", "drop", "sentence"),
    [
        ("masks", 0.80, 0.78, 2.0, "miou dropped 2.00 points, allowed 1"),
        ("images", 31.0, 29.5, 1.5, "psnr_db dropped 1.5 dB, allowed 1"),
        ("numbers", 2.0, 5.0, 3.0, "mae rose 3, allowed 1"),
        ("series", 2.0, 0.5, -1.5, None),
        ("keypoints", 0.5, 0.5, 0.0, None),
        ("anomaly", 0.5, 0.75, -25.0, None),
    ],
)
def test_worse_is_worse_in_the_metrics_own_direction(
    task: str, before: float, after: float, drop: float, sentence: str | None
) -> None:
    found = compare(
        scored(task, before), scored(task, after, sha="bb"), limits=Limits(max_drop_points=1.0)
    )
    assert isinstance(found.drop_points, Interval)
    assert found.drop_points.value == pytest.approx(drop)
    assert found.broken_limits == (() if sentence is None else (sentence,))
    assert (found.drop_points.low, found.drop_points.high) == (None, None)


def test_a_part_of_the_score_before() -> None:
    before, after = scored("numbers", 2.0), scored("numbers", 2.03, sha="bb")
    kept = compare(before, after, limits=Limits(max_drop_relative=0.016))
    assert kept.broken_limits == ()
    assert kept.drop_relative == pytest.approx(0.015)
    broken = compare(before, after, limits=Limits(max_drop_relative=0.01))
    assert broken.broken_limits == ("mae rose 1.50% of what it was, allowed 1.00%",)
    masks = compare(
        scored("masks", 0.5), scored("masks", 0.4, sha="bb"), limits=Limits(max_drop_relative=0.1)
    )
    assert masks.broken_limits == ("miou dropped 20.00% of what it was, allowed 10.00%",)
    with pytest.raises(InputError, match="the score before is 0"):
        compare(scored("masks", 0.0), after=scored("masks", 0.0, sha="bb"),
                limits=Limits(max_drop_relative=0.1))  # fmt: skip


def test_a_score_that_cannot_be_had_is_not_judged() -> None:
    nothing = Unavailable("output 0 is not finite for sample 3")
    before, after = scored("masks", 0.5), scored("masks", nothing, sha="bb")
    assert compare(before, after, limits=Limits()).drop_points == nothing
    with pytest.raises(InputError, match="not finite for sample 3"):
        compare(before, after, limits=Limits(max_drop_points=1.0))


def test_a_ratio_that_meets_its_limit_exactly_keeps_it() -> None:
    before, after = scored("numbers", 2.0), scored("numbers", 2.0, sha="bb")
    assert not isinstance(after.fidelity, Unavailable)
    output = replace(after.fidelity.outputs[0], sqnr_db=20.0)
    after = replace(after, fidelity=replace(after.fidelity, outputs=(output,)))
    assert compare(before, after, limits=Limits(min_sqnr_db=20.0)).broken_limits == ()
    (broken,) = compare(before, after, limits=Limits(min_sqnr_db=20.5)).broken_limits
    assert "20.0 dB, wanted 20.5 dB" in broken


def test_positions_that_are_not_finite_break_a_limit_on_fidelity() -> None:
    """They are left out of the ratio, which is as good as ever without them."""
    before, after = scored("numbers", 2.0), scored("numbers", 2.0, sha="bb")
    assert not isinstance(after.fidelity, Unavailable)
    output = replace(after.fidelity.outputs[0], not_finite=3)
    broken = replace(after, fidelity=replace(after.fidelity, outputs=(output,)))
    limits = Limits(min_sqnr_db=20.0)
    assert compare(before, after, limits=limits).broken_limits == ()
    assert compare(before, broken, limits=limits).broken_limits == (
        f"the output {output.name} is not finite at 3 positions",
    )


@given(st.integers(0, 2**32 - 1))
def test_the_interval_holds_the_difference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 1, (2, COUNT))
    reports = [
        scored("numbers", float(v.mean()), values=tuple(v), sha=sha)
        for v, sha in zip(values, ("aa", "bb"), strict=True)
    ]
    drop = compare(*reports, limits=Limits()).drop_points
    assert isinstance(drop, Interval)
    assert drop.value == pytest.approx(values[1].mean() - values[0].mean())
    assert drop.low is not None
    assert drop.high is not None
    differences = values[1] - values[0]
    assert differences.min() - 1e-9 <= drop.low <= drop.high <= differences.max() + 1e-9


def test_draws_of_the_same_samples_are_paired() -> None:
    """What both networks find hard is in both, and says nothing of the difference."""
    hard = np.random.default_rng(0).normal(0, 0.1, 200)
    before = scored("boxes", 0.5, draws=tuple(0.5 + hard))
    after = scored("boxes", 0.48, draws=tuple(0.48 + hard), sha="bb")
    drop = compare(before, after, limits=Limits()).drop_points
    assert isinstance(drop, Interval)
    assert (drop.value, drop.low, drop.high) == pytest.approx((2.0, 2.0, 2.0))
    wider = scored("boxes", 0.48, draws=tuple(0.48 - hard)[:100], sha="bb")
    drop = compare(before, wider, limits=Limits()).drop_points
    assert isinstance(drop, Interval)
    low, high = np.quantile(100 * (0.02 + 2 * hard[:100]), [0.025, 0.975])
    assert (drop.low, drop.high) == pytest.approx((low, high))
    undrawn = compare(before, scored("boxes", 0.48, sha="bb"), limits=Limits()).drop_points
    assert isinstance(undrawn, Interval)
    assert undrawn.low is None


def test_answers_agree_by_the_references_of_the_network_before() -> None:
    before = scored("masks", 0.5, differing={"tiny": (4,)})
    after = scored("masks", 0.5, sums=(1, 9, 9, 9, 5), differing={"tiny": (1, 4)}, sha="bb")
    found = compare(before, after, limits=Limits())
    assert found.agreement == 0.8  # sample 4 is equal bit for bit, though both are wrong
    assert [sample.index for sample in found.changed] == [1]
    assert found.told_agreement == "80.00%"
    other = replace(after, bundle=replace(after.bundle, digest="ee" * 32))
    assert isinstance(compare(before, other, limits=Limits()).agreement, Unavailable)
    silent = replace(after, fidelity=replace(after.fidelity, differing={}))
    assert isinstance(compare(before, silent, limits=Limits()).agreement, Unavailable)


def test_other_settings_are_another_question() -> None:
    before = scored("masks", 0.5)
    other = replace(before.accuracy, settings={"ignore": 0})
    with pytest.raises(InputError, match="different questions"):
        compare(before, replace(before, accuracy=other), limits=Limits())


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("0.5", {"max_drop_points": 0.5}),
        ("1%", {"max_drop_relative": 0.01}),
        (" 2.5 % ", {"max_drop_relative": 0.025}),
        ("-1", {"max_drop_points": -1.0}),
    ],
)
def test_limits_as_they_are_written(text: str, limit: dict[str, float]) -> None:
    assert parse_drop(text, place="--max-drop") == limit


@pytest.mark.parametrize("text", ["", "%", "1%%", "one", "nan", "inf%", "1 point"])
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match=r"write 0\.5 for percentage points"):
        parse_drop(text, place="--max-drop")


def test_boxes_are_told_in_shares() -> None:
    found = compare(scored("boxes", 0.4), scored("boxes", 0.3, sha="bb"), limits=Limits())
    assert found.unit == "share"
    assert math.isclose(found.drop_relative, 0.25)  # type: ignore[arg-type]
    assert found.told_score == "map 30.00% (-10.00)"
