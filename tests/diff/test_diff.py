"""Layer by layer: an error in a file is pinned to its layer, and nothing else is blamed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from diff_fixtures import (
    Plant,
    dropped_bias,
    references,
    transposed_kernel,
    write_small_bundle,
    wrong_output_scale,
    wrong_weight_scale,
)

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.taps.file import open_taps
from edgeticket.device_runner.taps.tap import tap
from edgeticket.pipeline.diff import ArtifactDiff, Bounds, compare_taps
from edgeticket.pipeline.diff.reference import OnnxReference, Reference
from edgeticket.pipeline.progress import QUIET

PLANTS: dict[str, tuple[Plant, str]] = {
    "weight scale, convolution": (wrong_weight_scale("wide"), "wide"),
    "weight scale, depthwise": (wrong_weight_scale("depth"), "depth"),
    "weight scale, behind a flattened map": (wrong_weight_scale("hidden"), "hidden"),
    "output scale, convolution": (wrong_output_scale("wide"), "wide"),
    "output scale, addition": (wrong_output_scale("add"), "add"),
    "transposed kernel": (transposed_kernel("wide"), "wide"),
    "transposed depthwise kernel": (transposed_kernel("depth"), "depth"),
    "transposed kernel, first layer": (transposed_kernel("first"), "first"),
    "dropped bias": (dropped_bias("point"), "point"),
    "dropped bias, linear": (dropped_bias("last"), "last"),
}


def judge(bundle: Path, artifact: str, reference: Reference, folder: Path) -> ArtifactDiff:
    file = folder / f"{artifact}.npz"
    tap(bundle, file, artifact=artifact)
    with open_taps(file) as taps:
        found = compare_taps(
            bundle, [taps], {artifact: reference}, hosts={}, bounds=Bounds(), progress=QUIET
        )
    return found.artifacts[0]


@pytest.mark.parametrize("artifact", ["ort-int8", "tflite-int8"])
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_error_is_pinned_to_its_layer(plant: str, artifact: str, tmp_path: Path) -> None:
    make, layer = PLANTS[plant]
    bundle = write_small_bundle(tmp_path / "b", {artifact: make})
    found = judge(bundle, artifact, references()["int8"], tmp_path)
    assert [row.name for row in found.layers if row.over] == [layer]
    assert found.task == "classes"
    if plant == "dropped bias, linear":
        assert found.differing


@pytest.mark.parametrize("artifact", ["ort-fp32", "tflite-fp32"])
@pytest.mark.parametrize(
    ("plant", "layer"), [(wrong_weight_scale("wide"), "wide"), (dropped_bias("hidden"), "hidden")]
)
def test_in_float_as_well(plant: Plant, layer: str, artifact: str, tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b", {artifact: plant})
    found = judge(bundle, artifact, references()["fp32"], tmp_path)
    assert [row.name for row in found.layers if row.over] == [layer]
    assert not any(row.codes for row in found.layers)


def test_the_bundle_alone_tells_which_layer_two_files_disagree_about(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b", {"tflite-int8": transposed_kernel("wide")})
    with open_bundle(bundle) as opened:
        onnx = opened.read("artifacts/ort-int8.onnx")
    reference = OnnxReference(onnx, title="ort-int8 as written")
    found = {name: judge(bundle, name, reference, tmp_path) for name in ("ort-int8", "tflite-int8")}
    assert found["ort-int8"].first_over is None
    assert [row.name for row in found["tflite-int8"].layers if row.over] == ["wide"]
    assert [row.value for row in found["tflite-int8"].layers][-1] == "output"


def test_a_good_bundle_is_within_bounds_in_every_layer(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    seen = {}
    for name in ("ort-int8", "tflite-int8", "ort-fp32", "tflite-fp32"):
        found = judge(bundle, name, references()[name.partition("-")[2]], tmp_path)
        assert found.first_over is None
        assert found.only_there == found.only_here == ()
        assert found.differing == ()
        seen[name] = [(row.name, row.value) for row in found.layers]
        if "int8" in name:
            assert found.changed_samples == 0
            assert all(row.scales is None for row in found.layers)
            # One rounding at a time: a code here and there, never two.
            assert all(row.own.max <= 1 and row.own.equal > 0.999 for row in found.layers)
    assert seen["ort-int8"] == seen["tflite-int8"]
    assert ("add", "relu_1") in seen["ort-int8"]


def test_both_references_are_the_same_arithmetic(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    with open_bundle(bundle) as opened:
        onnx = OnnxReference(opened.read("artifacts/ort-int8.onnx"), title="")
    torch = references()["int8"]
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    ours, theirs = onnx.run(x, {}), torch.run(x, {})
    common = set(ours) & set(theirs)
    assert common == set(ours)
    for name in common:
        step = onnx.quantizations[name].scale
        assert np.abs(ours[name] - theirs[name]).max() <= 1.01 * step, name
    # Given one value, both recompute what reads it, and nothing else changes.
    given = {"relu": np.zeros_like(ours["relu"])}
    changed = onnx.run(x, given)
    np.testing.assert_array_equal(changed["relu"], ours["relu"])
    assert not np.array_equal(changed["wide"], ours["wide"])
    step = onnx.quantizations["wide"].scale
    assert np.abs(changed["wide"] - torch.run(x, given)["wide"]).max() <= 1.01 * step


def test_a_device_is_compared_with_this_machine(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    tap(bundle, tmp_path / "here.npz", artifact="tflite-int8")
    tap(bundle, tmp_path / "device.npz", artifact="tflite-int8")
    with open_taps(tmp_path / "here.npz") as here, open_taps(tmp_path / "device.npz") as device:
        (found,) = compare_taps(
            bundle,
            [device],
            {"tflite-int8": references()["int8"]},
            hosts={"tflite-int8": here},
            bounds=Bounds(),
            progress=QUIET,
        ).artifacts
    assert found.running_against == "this machine"
    assert all(row.running.equal == 1 for row in found.layers)


def test_taps_of_another_bundle_are_refused(tmp_path: Path) -> None:
    other = write_small_bundle(tmp_path / "other", {"ort-int8": dropped_bias("wide")})
    bundle = write_small_bundle(tmp_path / "b")
    tap(other, tmp_path / "t.npz", artifact="tflite-int8")
    with (
        open_taps(tmp_path / "t.npz") as taps,
        pytest.raises(InputError, match="another bundle"),
    ):
        compare_taps(
            bundle,
            [taps],
            {"tflite-int8": references()["int8"]},
            hosts={},
            bounds=Bounds(),
            progress=QUIET,
        )
