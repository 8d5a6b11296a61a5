"""An artifact that answers NaN is judged so, and the other artifacts of the session go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from task_networks import make_case

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.manifest import Task
from edgeticket.device_runner.plan import Plan
from edgeticket.device_runner.report import ColdStart, TaskScores
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.external.bundle import bundle_foreign

QUICK = Plan(min_seconds=0.01, min_queries=5, warmup_seconds=0.0)


@pytest.fixture(autouse=True)
def _warm() -> Iterator[None]:
    start = ColdStart(*[Unavailable("a test")] * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeticket.device_runner.bench.measure_cold", lambda *a, **k: start)
        yield


def test_metrics_are_unavailable_and_the_verdict_says_so(tmp_path: Path) -> None:
    case = make_case("masks", tmp_path)
    model = onnx.load(case.models[0])
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim == 4:  # sample 3, and no other, is beyond float32 then
            large = (array * 1e20).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(large, tensor.name))
    arrays = dict(np.load(case.samples))
    for array in arrays.values():
        array[3] *= 1e25
    np.savez(case.samples, **arrays)
    onnx.save(model, tmp_path / "broken.onnx")
    bundle_foreign(
        [*case.models[:1], tmp_path / "broken.onnx"],
        samples=case.samples,
        labels=None,
        names=None,
        mean=[],
        std=[],
        layout=None,
        out=tmp_path / "b",
        task=Task("masks", case.settings),
        targets=case.targets,
    )
    good, broken = bench(tmp_path / "b", plan=QUICK)
    assert "not-finite" not in [reason.rule for reason in good.validity.reasons]
    assert isinstance(good.accuracy, TaskScores)
    assert isinstance(good.accuracy.score, float)
    assert isinstance(broken.accuracy, TaskScores)
    for value in broken.accuracy.metrics.values():
        assert value == Unavailable("output 0 is not finite for sample 3")
    assert isinstance(broken.accuracy.per_sample, Unavailable)
    (reason,) = [one for one in broken.validity.reasons if one.rule == "not-finite"]
    assert reason.found == "the output output is not finite for sample 3"
    assert broken.validity.verdict == "INVALID"
    assert not isinstance(broken.fidelity, Unavailable)
    for differing in broken.fidelity.differing.values():
        assert not isinstance(differing, Unavailable)
        assert 3 in differing
