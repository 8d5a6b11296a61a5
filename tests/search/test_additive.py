"""The additive model finds what was put into times, and says what it cannot explain."""

from __future__ import annotations

import numpy as np
import pytest

from edgeticket.pipeline.search.additive import (
    Ends,
    StepTime,
    fitted,
    measured_steps,
    nonnegative,
)
from edgeticket.pipeline.search.reference import convolutions
from edgeticket.pipeline.search.steps import Step, steps_of
from edgeticket.pipeline.search.widths import WidthCurve

CALL, BYTE = 4000.0, 0.02


@pytest.fixture(scope="module")
def steps() -> dict[str, Step]:
    """Distinct ones: of both precisions."""
    found = [
        s
        for rounded in (True, False)
        for s in steps_of(convolutions(rounded=rounded), runtime="ort")
    ]
    return {step.key: step for step in found}


def test_steps_and_ends_are_found_again(steps: dict[str, Step]) -> None:
    own = {key: 1000.0 * (i + 1) for i, key in enumerate(steps)}
    ends = Ends(CALL, BYTE)
    once = {key: own[key] + ends.ns(step.graph) for key, step in steps.items()}
    several = {key: 4 * own[key] + ends.ns(step.graph) for key, step in steps.items()}
    times, found = measured_steps(steps, once, several)
    assert {key: time.ns for key, time in times.items()} == pytest.approx(own)
    assert all(time.repeated for time in times.values())
    for step in steps.values():
        assert found.ns(step.graph) == pytest.approx(ends.ns(step.graph))


def test_a_step_that_is_not_repeated_loses_the_ends(steps: dict[str, Step]) -> None:
    first, last = steps
    once = dict.fromkeys(steps, 5000.0)
    times, ends = measured_steps(steps, once, {first: 5000.0 + 3 * 1000})
    assert times[first] == StepTime(1000.0, 4000.0, repeated=True)
    assert not times[last].repeated
    assert times[last].ns == pytest.approx(5000.0 - times[last].fitted_ns)
    assert times[last].fitted_ns == pytest.approx(min(5000.0, ends.ns(steps[last].graph)))


def test_overhead_and_reading_are_fitted_to_whole_networks(steps: dict[str, Step]) -> None:
    graph = convolutions(rounded=True)
    several = steps_of(graph, runtime="ort")
    times = {key: StepTime(100.0, 0.0, repeated=True) for key in steps}
    ends = Ends(CALL, BYTE)

    def whole(count: int, overhead: float, reading: float) -> tuple[str, float, object, object]:
        parts = several * count
        weights = sum(step.weight_bytes for step in parts)
        measured = ends.ns(graph) + 100 * len(parts) + overhead * len(parts) + reading * weights
        return (f"{count}", measured, graph, parts)

    model = fitted(times, ends, [whole(n, 50, 0.0) for n in (1, 2, 3)])  # type: ignore[list-item]
    assert max(abs(anchor.residual) for anchor in model.anchors) < 1e-6
    # Networks that are faster than their parts stay so: nothing negative is fitted.
    model = fitted(times, ends, [whole(n, -50, 0.0) for n in (1, 2)])  # type: ignore[list-item]
    assert (model.step_overhead_ns, model.weight_byte_ns) == (0, 0)
    assert all(anchor.residual > 0 for anchor in model.anchors)


def test_least_squares_without_negative_numbers() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        rows = generator.normal(size=(8, 3))
        wanted = generator.normal(size=8)
        found = np.array(nonnegative(rows, wanted))
        assert (found >= 0).all()
        error = np.square(rows @ found - wanted).sum()
        for other in np.abs(generator.normal(size=(200, 3))):
            assert error <= np.square(rows @ other - wanted).sum() + 1e-9


@pytest.mark.parametrize(
    ("times", "quantum"),
    [
        ({8: 1, 12: 2, 16: 2, 20: 3, 24: 3, 28: 4, 32: 4}, 8),
        ({8: 2, 12: 2, 16: 2, 20: 4, 24: 4, 28: 4, 32: 4}, 16),
        ({8: 8, 12: 12, 16: 16, 20: 20, 24: 24, 28: 28, 32: 32}, None),
    ],
)
def test_the_quantum_is_read_off_times(times: dict[int, float], quantum: int | None) -> None:
    assert WidthCurve("layer", (3, 3), (8, 8), times).quantum == quantum
