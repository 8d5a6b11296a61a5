"""Files of any network become bundles that both runtimes answer alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from several_ends import TAKES, TOKENS, several_ends

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.check import check_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plan import Plan
from edgeticket.device_runner.report import Unlabelled
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.external.bundle import bundle_foreign
from edgeticket.pipeline.graph.batches import leaves_of
from edgeticket.pipeline.quantize import fold_bn

QUICK = Plan(min_seconds=0.0, min_queries=5, warmup_seconds=0.0, energy_seconds=0)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx; net.tflite, channels last; and other.onnx, which lists its ends the other way round
    under other names."""
    folder = tmp_path_factory.mktemp("any")
    graph = export(fold_bn(several_ends(), TAKES))
    for kind in ("onnx-fp32", "tflite-fp32"):
        target = TARGETS[kind]
        (folder / f"net.{target.suffix}").write_bytes(target.convert(graph).data)
    model = onnx.load(folder / "net.onnx")
    names = {v.name: f"{v.name}-2" for v in (*model.graph.input, *model.graph.output)}
    for node in model.graph.node:
        for places in (node.input, node.output):
            places[:] = [names.get(name, name) for name in places]
    for values in (model.graph.input, model.graph.output):
        turned = list(
            reversed([onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in values])
        )
        del values[:]
        values.extend(turned)
        for value in values:
            value.name = names[value.name]
    onnx.save(model, folder / "other.onnx")
    return folder


def make(out: Path, *models: Path, **keys: Any) -> None:
    options: dict[str, Any] = dict.fromkeys(("labels", "names", "layout", "samples"))
    bundle_foreign(models, out=out, **{**options, "mean": [], "std": [], **keys})


def test_noise_through_files_that_list_their_ends_in_other_orders(
    files: Path, tmp_path: Path
) -> None:
    make(tmp_path / "b", *(files / n for n in ("net.onnx", "net.tflite", "other.onnx")), random=6)
    manifest = check_bundle(tmp_path / "b")
    assert manifest.task.name == "nothing"
    assert (manifest.samples.random, manifest.samples.count) == (0, 6)
    assert [one.name for one in manifest.inputs] == ["image", "tokens"]
    by_id = {artifact.id: artifact for artifact in manifest.artifacts}
    assert [spec.layout for spec in by_id["net"].inputs] == ["NCHW", "plain"]
    assert [spec.layout for spec in by_id["net-2"].inputs] == ["NHWC", "plain"]
    assert [spec.dtype for spec in by_id["net-2"].inputs] == ["float32", "int32"]
    assert [spec.name for spec in by_id["other"].outputs] == [
        f"{spec.name}-2" for spec in by_id["net"].outputs
    ]
    with open_bundle(tmp_path / "b") as bundle:
        image, tokens = bundle.inputs()
        references = bundle.references("model-1")
    assert (image.shape, tokens.shape) == ((6, 8, 6, 3), (6, 5))
    assert set(np.unique(tokens)) <= set(range(TOKENS))
    assert tokens.max() > 1  # the table's size was found
    with torch.inference_mode():
        expected = leaves_of(
            several_ends()(torch.tensor(image.transpose(0, 3, 1, 2)), torch.tensor(tokens))
        )
    assert references is not None
    for wanted, found in zip(expected, references, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-5)
    reports = {r.artifact.id: r for r in bench(tmp_path / "b", plan=QUICK, outputs=tmp_path / "o")}
    for report in reports.values():
        assert isinstance(report.accuracy, Unlabelled)
        assert report.accuracy.random == 0
        assert not isinstance(report.fidelity, Unavailable)
        assert len(report.fidelity.outputs) == 3
        assert all(output.largest_error < 1e-4 for output in report.fidelity.outputs)
    for i, wanted in enumerate(expected):
        for name in reports:
            kept = np.load(tmp_path / "o" / name / f"{i}.npy")
            np.testing.assert_allclose(kept, wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_arrays_for_each_input_by_name(files: Path, tmp_path: Path) -> None:
    arrays = {
        "tokens": RNG.integers(0, TOKENS, (7, 5)),
        "image": RNG.normal(size=(7, 3, 8, 6)).astype(np.float32),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    make(tmp_path / "b", files / "net.onnx", files / "net.tflite", samples=tmp_path / "a.npz")
    with open_bundle(tmp_path / "b") as bundle:
        image, tokens = bundle.inputs()
        assert bundle.manifest.samples.random is None
    np.testing.assert_array_equal(image, arrays["image"].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(tokens, arrays["tokens"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: a.pop("tokens"), "but no tokens: give a .npz with an array for each input"),
        (lambda a: a.update(tokens=a["tokens"][:5]), r"\[5, 7\] samples"),
        (lambda a: a.update(image=a["image"][:, :2]), r"the model takes \[N, 3, 8, 6\]"),
        (lambda a: a.update(tokens=a["tokens"] / 3), "takes whole numbers"),
        (lambda a: a.update(tokens=a["tokens"] + TOKENS), "does not answer to the first example"),
        (lambda a: a.update(image=a["image"] * np.nan), "not all finite"),
    ],
)
def test_arrays_that_do_not_fit(
    files: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    arrays: dict[str, Any] = {
        "tokens": RNG.integers(0, TOKENS, (7, 5)),
        "image": RNG.normal(size=(7, 3, 8, 6)).astype(np.float32),
    }
    change(arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=sentence):
        make(tmp_path / "b", files / "net.onnx", samples=tmp_path / "a.npz")
    assert not (tmp_path / "b").exists()


def _raw_pixels() -> bytes:
    """uint8 pixels in, without any scale, and the index of the brightest channel out."""
    axes = numpy_helper.from_array(np.array([1, 2]), "axes")
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["m"], keepdims=0),
        helper.make_node("ArgMax", ["m"], ["y"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, (1, 4, 4, 3))],
        [helper.make_tensor_value_info("y", TensorProto.INT64, (1,))],
        [axes],
    )
    opset = [helper.make_opsetid("", 20)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString())


def test_raw_pixels_in_and_whole_numbers_out(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(_raw_pixels())
    pixels = RNG.integers(0, 256, (9, 4, 4, 3)).astype(np.uint8)
    np.save(tmp_path / "p.npy", pixels)
    make(tmp_path / "b", tmp_path / "m.onnx", samples=tmp_path / "p.npy")
    (report,) = bench(tmp_path / "b", plan=QUICK, outputs=tmp_path / "o")
    found = np.load(tmp_path / "o" / "m.npy")
    assert found.tolist() == pixels.mean((1, 2)).argmax(1).tolist()
    assert not isinstance(report.fidelity, Unavailable)
    assert report.fidelity.outputs[0].equal_share == 1.0


def test_files_of_two_networks_are_refused(files: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(_raw_pixels())
    with pytest.raises(
        InputError, match=r"m\.onnx has 1 inputs, .*net\.onnx 2: bundle files of one"
    ):
        make(tmp_path / "b", files / "net.onnx", tmp_path / "m.onnx", random=3)


def test_labels_for_what_tells_no_classes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(_raw_pixels())
    np.save(tmp_path / "p.npy", np.zeros((2, 4, 4, 3), np.uint8))
    (tmp_path / "l.txt").write_text("0 1")
    with pytest.raises(InputError, match="leave them out, and fidelity alone is measured"):
        make(
            tmp_path / "b", tmp_path / "m.onnx", samples=tmp_path / "p.npy",
            labels=tmp_path / "l.txt",
        )  # fmt: skip
