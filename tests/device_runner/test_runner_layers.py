"""Probes and layers: short turns, beginnings of files, and reports that are read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeticket.device_runner.cli import main
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.layers import time_layers
from edgeticket.device_runner.layers.prefixes import risen
from edgeticket.device_runner.layers.report import parse_layers, read_layers
from edgeticket.device_runner.probes import probe
from edgeticket.device_runner.probes.report import parse_probes, read_probes
from edgeticket.device_runner.probes.turns import Pace, _agree, steadiness, time_in_turns
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.taps.onnx_bytes import cut_onnx, read_nodes
from edgeticket.device_runner.taps.tflite_bytes import cut_tflite, operator_names
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.export import export
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq
from edgeticket.pipeline.search.probes import ProbeFile, probe_file, write_probe_bundle

QUICK = Pace(rounds=3, turn_ns=200_000, rewarm_ns=50_000)


@pytest.fixture(scope="module")
def files() -> dict[str, ProbeFile]:
    """A network that branches, in both precisions for both runtimes."""
    torch.manual_seed(0)

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, padding=1)
            self.left = nn.Conv2d(8, 8, 3, padding=1)
            self.right = nn.Conv2d(8, 8, 1)
            self.head = nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.stem(x))
            x = torch.cat([torch.relu(self.left(x)), self.right(x)], 1)
            return self.head(x.mean((2, 3)))

    folded = fold_bn(Branching().eval(), (3, 16, 16))
    scales = calibrate(folded, [torch.randn(4, 3, 16, 16)], Ptq(method="ptq"))
    graphs = {"fp32": export(folded), "int8": export(fake_quantized(folded, scales))}
    return {
        f"{runtime} {precision}": probe_file(prepare(graph), runtime, architecture="x86_64")
        for precision, graph in graphs.items()
        for runtime in ("ort", "tflite")
    }


@pytest.fixture(scope="module")
def bundle(files: dict[str, ProbeFile], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_probe_bundle(folder, list(files.values()))
    return folder


def test_a_session_times_all_artifacts_and_is_read_back(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "probes.json"
    assert main(["probe", str(bundle), "-o", str(out), "--rounds", "3", "--turn-ms", "0.2"]) == 0
    report = read_probes(out)
    assert len(report.probes) == 4
    for one in report.probes:
        assert not isinstance(one.time, Unavailable)
        assert len(one.time.turns_ns) == 3
        assert one.time.min_ns <= one.time.p50_ns
        assert sorted(one.time.turns_ns)[1] == one.time.p50_ns
    with pytest.raises(InputError, match="at /probes"):
        parse_probes(out.read_bytes().replace(b'"queries"', b'"querys"'), place="it")


def test_a_file_that_a_runtime_refuses_costs_itself_alone(
    files: dict[str, ProbeFile], tmp_path: Path
) -> None:
    good, broken = files["tflite fp32"], files["ort fp32"]
    write_probe_bundle(tmp_path, [good, ProbeFile(broken.artifact, broken.data[:-40])])
    first, second = probe(tmp_path, pace=QUICK).probes
    assert not isinstance(first.time, Unavailable)
    assert isinstance(second.time, Unavailable)
    assert broken.artifact.id in second.time.reason


def test_turns_see_a_machine_that_changes() -> None:
    assert steadiness([(10, 10, 10), (300, 300, 300)], 3).spread == 0
    slower = steadiness([(10, 10, 15), (300, 300, 450), (5, 5, 5)], 3)
    assert slower.spread == pytest.approx(0.5)
    assert isinstance(steadiness([], 3).spread, Unavailable)


def test_each_artifact_has_its_turn_in_each_round() -> None:
    order: list[int] = []

    def run(which: int) -> None:
        if not order or order[-1] != which:
            order.append(which)

    found = time_in_turns([(run, i) for i in range(3)], Pace(3, 20_000, 5_000))
    assert len(found.times) == 3
    turns = order[3:]  # after the first query of each
    assert [turns.count(i) for i in range(3)] == [3, 3, 3]


def test_no_other_round_is_begun_where_all_agree() -> None:
    steady = [[100, 100, 101, 130], [50, 50, 50, 50]]
    assert _agree(steady, Pace())  # one turn that was disturbed is no reason
    assert not _agree([[100, 100, 120, 130], [50, 50, 50, 50]], Pace())
    assert _agree([[100, 100, 120, 130], *[[50] * 4] * 9], Pace())  # nor is one of ten files


@pytest.mark.parametrize("name", ["ort int8", "tflite int8", "ort fp32", "tflite fp32"])
def test_layers_are_the_kernels_that_run(
    bundle: Path, files: dict[str, ProbeFile], name: str, tmp_path: Path
) -> None:
    artifact = files[name].artifact
    out = tmp_path / "layers.json"
    asked = ["layers", str(bundle), "--artifact", artifact.id, "-o", str(out)]
    assert main([*asked, "--rounds", "3", "--turn-ms", "0.2"]) == 0
    report = read_layers(out)
    kinds = [layer.kind.upper() for layer in report.layers]
    convolutions = [kind for kind in kinds if "CONV" in kind]
    assert len(convolutions) == 3
    assert all(layer.time_ns >= 0 for layer in report.layers)
    assert report.sum_ns + report.rest_ns == pytest.approx(report.whole_ns)
    precision = {layer.precision for layer in report.layers if "CONV" in layer.kind.upper()}
    assert precision == {artifact.precision}
    by = {layer.by for layer in report.layers}
    assert by == ({"CPU"} if artifact.runtime == "ort" else {"XNNPACK"})
    with pytest.raises(InputError):
        parse_layers(out.read_bytes().replace(b'"whole_ns"', b'"hole_ns"'), place="it")


def test_many_beginnings_go_in_groups(
    bundle: Path, files: dict[str, ProbeFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeticket.device_runner.layers.prefixes.MOST", 2)
    artifact = files["tflite int8"].artifact
    report = time_layers(bundle, artifact=artifact.id, pace=QUICK)
    assert len(report.layers) == len(operator_names(files["tflite int8"].data, place="it"))


def test_a_beginning_gives_what_the_whole_gives_there(files: dict[str, ProbeFile]) -> None:
    file = files["tflite fp32"]
    query = [np.random.default_rng(0).normal(size=s.shape).astype(np.float32)
             for s in file.artifact.inputs]  # fmt: skip
    tapped = get_runtime("tflite").load_tapped(file.data, threads=1, place="it").query(query)
    names = operator_names(file.data, place="it")
    for count in range(1, len(names) + 1):
        cut = cut_tflite(file.data, count, place="it")
        session = get_runtime("tflite").load(cut, threads=1, place="it")
        for name, answer in zip(session.outputs, session.query(query), strict=True):
            if name in tapped:
                np.testing.assert_allclose(answer, tapped[name], rtol=1e-5, atol=1e-5)
        assert names[count - 1] in session.outputs
    with pytest.raises(InputError, match="no whole TFLite file"):
        cut_tflite(file.data, len(names) + 1, place="it")


def test_a_beginning_of_an_onnx_file_is_one(files: dict[str, ProbeFile]) -> None:
    data = files["ort fp32"].data
    nodes = read_nodes(data, place="it")
    whole: Any = onnx.load_from_string(data)
    for count in range(1, len(nodes) + 1):
        cut = onnx.load_from_string(cut_onnx(data, count, place="it"))
        assert list(cut.graph.node) == list(whole.graph.node)[:count]
        assert list(cut.graph.initializer) == list(whole.graph.initializer)
        read = {name for node in cut.graph.node for name in node.input}
        made = [name for node in cut.graph.node for name in node.output]
        assert [o.name for o in cut.graph.output] == [name for name in made if name not in read]
    with pytest.raises(InputError, match="operators, not"):
        cut_onnx(data, len(nodes) + 1, place="it")


def test_times_are_made_to_rise() -> None:
    assert risen([1, 2, 4]) == [1, 2, 4]
    assert risen([1, 5, 3, 9]) == [1, 4, 4, 9]
    assert risen([3, 2, 1]) == [2, 2, 2]
    values = np.cumsum(np.random.default_rng(0).normal(1, 3, 60))
    found = risen(list(values))
    assert found == sorted(found)
    assert sum(found) == pytest.approx(values.sum())
