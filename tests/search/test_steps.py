"""A graph's steps: what runs as one, keys that are equal where time is, files by themselves."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from edgeticket.device_runner.probes import drawn
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.export import export
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq
from edgeticket.pipeline.search.probes import ProbeFile, step_file
from edgeticket.pipeline.search.steps import Step, repeated, steps_of


class Residual(nn.Module):
    """Two additions, one of which a convolution's output alone reaches; a sigmoid, a linear."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.inner = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.again = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = torch.relu(self.inner(x) + x)
        x = torch.relu(self.again(x) + x)
        return self.head((x * torch.sigmoid(x)).mean((2, 3)))


def graphs(module: nn.Module | None = None, seed: int = 0) -> dict[str, Graph]:
    torch.manual_seed(seed)
    module = (module or Residual()).eval()
    folded = fold_bn(module, (3, 12, 12))
    inputs = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    scales = calibrate(folded, [inputs], Ptq(method="ptq"))
    return {
        "fp32": prepare(export(folded)),
        "int8": prepare(export(fake_quantized(folded, scales))),
    }


@pytest.fixture(scope="module")
def ready() -> dict[str, Graph]:
    return graphs()


CASES = [(p, r) for p in ("fp32", "int8") for r in ("ort", "tflite")]


@pytest.mark.parametrize(("precision", "runtime"), CASES)
def test_every_operator_is_in_one_step_and_each_step_runs_by_itself(
    ready: dict[str, Graph], precision: str, runtime: str
) -> None:
    graph = ready[precision]
    steps = steps_of(graph, runtime=runtime)
    kinds = Counter(kind for step in steps for kind in step.kinds)
    assert kinds == Counter(operator.kind for operator in graph.operators)
    for step in {step.key: step for step in steps}.values():
        once = step_file(step, runtime, architecture="x86_64", times=1)
        assert isinstance(once, ProbeFile), (step.kind, once)
        (answer,) = run(once)
        shape = step.graph.values[step.graph.outputs[0]].shape
        assert answer.size == np.prod(shape)
        if step.repeats:
            several = step_file(step, runtime, architecture="x86_64", times=4)
            assert isinstance(several, ProbeFile)
            assert run(several)[0].shape == answer.shape


def run(file: ProbeFile) -> tuple[np.ndarray, ...]:
    session = get_runtime(file.artifact.runtime).load(
        file.data, threads=1, place="probe", inputs=[one.name for one in file.artifact.inputs]
    )
    return session.query(drawn(file.artifact.inputs))


def test_only_onnx_runtime_adds_within_a_float_convolution(ready: dict[str, Graph]) -> None:
    sums = {
        (precision, runtime): [s.kinds for s in steps_of(ready[precision], runtime=runtime)].count(
            ("Conv", "Add")
        )
        for precision, runtime in CASES
    }
    assert sums == {
        ("fp32", "ort"): 2,
        ("fp32", "tflite"): 0,
        ("int8", "ort"): 0,
        ("int8", "tflite"): 0,
    }


def test_keys_do_not_depend_on_weights_or_scales_and_do_on_shapes(ready: dict[str, Graph]) -> None:
    def keys(found: dict[str, Graph]) -> list[str]:
        # A sigmoid is computed in float32 where its range is narrow, which the weights decide.
        steps = [s for graph in found.values() for s in steps_of(graph, runtime="ort")]
        return [step.key for step in steps if "Sigmoid" not in step.kinds]

    assert keys(graphs(seed=1)) == keys(ready)
    wider = Residual()
    wider.head = nn.Linear(8, 5)
    other = keys(graphs(wider))
    assert len(set(other) - set(keys(ready))) == 2  # the linear layer, in each precision


def test_steps_that_are_alike_share_a_file(ready: dict[str, Graph]) -> None:
    steps = steps_of(ready["int8"], runtime="tflite")
    inner, again = (next(s for s in steps if s.origin == name) for name in ("inner.0", "again.0"))
    assert inner.key == again.key
    files = [step_file(s, "tflite", architecture="x86_64", times=4) for s in (inner, again)]
    assert files[0] == files[1]


def test_what_gives_other_tensors_than_it_takes_is_not_repeated(ready: dict[str, Graph]) -> None:
    steps: tuple[Step, ...] = steps_of(ready["fp32"], runtime="tflite")
    first = next(step for step in steps if step.origin.startswith("first"))
    assert not first.repeats
    with pytest.raises(ValueError, match="other tensors"):
        repeated(first, 4)
    inner = next(step for step in steps if step.origin.startswith("inner"))
    assert len(repeated(inner, 4).operators) == 4
