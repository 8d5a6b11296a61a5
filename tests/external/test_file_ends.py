"""Outputs of files from elsewhere: sizes that a file leaves open, and scales of codes that were
only moved or joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import edgeticket
from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import TensorSpec
from edgeticket.device_runner.outputs import as_network
from edgeticket.device_runner.plan import Plan
from edgeticket.device_runner.runtimes.session import Port, check_port
from edgeticket.device_runner.runtimes.tflite import _output_port
from edgeticket.pipeline.external.bundle import bundle_foreign
from edgeticket.pipeline.external.file import read_external

QUICK = Plan(min_seconds=0.0, min_queries=5, warmup_seconds=0.0, energy_seconds=0)
OPTIONS: dict[str, Any] = dict.fromkeys(("labels", "names", "layout"))


class TwoLevels(nn.Module):
    """Candidates of two maps, one list behind the other."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = (self.fine(x), self.coarse(x))
        return torch.cat([one.flatten(2).transpose(1, 2) for one in maps], 1)


@pytest.fixture(scope="module")
def rounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounded")
    torch.manual_seed(1)
    done = edgeticket.quantize(TwoLevels().eval(), torch.randn(32, 1, 6, 6))
    for kind, made in edgeticket.convert(done.graph).items():
        (folder / f"{kind}.{'tflite' if 'tflite' in kind else 'onnx'}").write_bytes(made.data)
    return folder


def test_joined_codes_have_the_scale_that_all_of_them_have(rounded: Path) -> None:
    specs = [
        read_external(rounded / name).outputs[0]
        for name in ("onnx-int8-s8.onnx", "onnx-int8-u8.onnx", "tflite-int8.tflite")
    ]
    signed, unsigned, lite = specs
    assert signed.scale is not None
    assert np.float32(signed.scale) == np.float32(lite.scale or 0)
    assert np.float32(signed.scale) == np.float32(unsigned.scale or 0)
    assert (unsigned.zero_point or 0) - 128 == signed.zero_point == lite.zero_point


def _joined(*scales: float) -> onnx.ModelProto:
    """The input rounded with each scale, and all codes joined."""
    nodes, constants = [], [numpy_helper.from_array(np.uint8(7), "zero")]
    for i, scale in enumerate(scales):
        constants.append(numpy_helper.from_array(np.float32(scale), f"scale{i}"))
        nodes.append(helper.make_node("QuantizeLinear", ["x", f"scale{i}", "zero"], [f"q{i}"]))
    nodes.append(helper.make_node("Concat", [f"q{i}" for i in range(len(scales))], ["y"], axis=1))
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3]),
        helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 3 * len(scales)]),
    ]
    graph = helper.make_graph(nodes, "joined", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("scales", "scale"), [((0.5, 0.5), 0.5), ((0.5, 0.25), None), ((0.5, 0.5, 0.125), None)]
)
def test_codes_of_unlike_scales_have_none(
    tmp_path: Path, scales: tuple[float, ...], scale: float | None
) -> None:
    onnx.save(_joined(*scales), tmp_path / "j.onnx")
    (spec,) = read_external(tmp_path / "j.onnx").outputs
    assert spec.scale == scale


def _open_ended(path: Path) -> None:
    """[N, 3, 4] -> [N, candidates, 4], and nothing says how many candidates."""
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "candidates", 4]),
    ]
    shape = numpy_helper.from_array(np.array([1, -1, 4]), "shape")
    nodes = [
        helper.make_node("Concat", ["x", "x"], ["twice"], axis=1),
        helper.make_node("Reshape", ["twice", "shape"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "open", ends[:1], ends[1:], [shape])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )


def test_a_size_that_a_file_leaves_open_is_that_of_its_answer(tmp_path: Path) -> None:
    _open_ended(tmp_path / "open.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(3, 3, 4)).astype(np.float32))
    bundle_foreign(
        [tmp_path / "open.onnx"],
        samples=tmp_path / "x.npy",
        out=tmp_path / "b",
        mean=[],
        std=[],
        **OPTIONS,
    )
    with open_bundle(tmp_path / "b") as bundle:
        (artifact,) = bundle.manifest.artifacts
    assert artifact.outputs[0].shape == (1, 6, 4)
    (report,) = bench(tmp_path / "b", plan=QUICK)
    assert report.fidelity.outputs[0].largest_error == 0  # type: ignore[union-attr]


def test_an_interpreter_says_which_sizes_are_open() -> None:
    details = {
        "shape": np.array([1, 1, 4]),
        "shape_signature": np.array([-1, -1, 4]),
        "dtype": np.float32,
        "quantization": (0.0, 0),
    }
    port = _output_port(details)
    assert port.shape == (1, None, 4)
    assert _output_port({**details, "shape_signature": np.array([1, 1, 4])}).shape == (1, 1, 4)


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((1, None, 4), True),
        (("n", "candidates", 4), True),
        ((1, 6, 4), True),
        ((1, None, 5), False),
        ((2, None, 4), False),
        ((1, None), False),
    ],
)
def test_a_manifest_may_say_what_a_file_leaves_open(shape: Any, fits: bool) -> None:
    spec = TensorSpec("y", (1, 6, 4), "float32", "plain", None, None)
    port = Port(shape, "float32")
    if fits:
        check_port(port, spec, place="here", is_output=True)
        return
    with pytest.raises(InputError, match="make the bundle again"):
        check_port(port, spec, place="here", is_output=True)


def test_outputs_that_change_their_size_are_refused() -> None:
    spec = TensorSpec("y", (1, 6, 4), "float32", "plain", None, None)
    with pytest.raises(InputError, match=r"for sample 3 are 20 numbers of shape \[1, 5, 4\]"):
        as_network(np.zeros((1, 5, 4), np.float32), spec, place="a: the outputs", at=3)
