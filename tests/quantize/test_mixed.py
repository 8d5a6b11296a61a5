"""Layers kept in float32, to both runtimes, and the report that says which ones to keep."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from convert_fixtures import outputs
from test_quantize import block, images

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.data import load_dataset
from edgeticket.pipeline.export import export
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn, quantize
from edgeticket.pipeline.quantize.single_layer_ablation import alone
from edgeticket.pipeline.recipe import Ptq, check
from edgeticket.pipeline.recipe.recipe import Recipe
from edgeticket.pipeline.run.sensitivity import measure_sensitivity

DATA = {"name": "digits", "train": 200, "validation": 100, "calibration": 50, "test": 50}
RUNTIMES = {"onnx-int8-s8": "ort", "onnx-int8-u8": "ort", "tflite-int8": "tflite"}


@pytest.mark.parametrize(
    "kept",
    [("conv1",), ("conv2",), ("head",), ("hidden", "head"), ("conv1", "conv2")],
    ids="+".join,
)
def test_both_runtimes_agree_with_torch(kept: tuple[str, ...]) -> None:
    module, x = block(), images(16)
    cfg = Ptq(method="ptq", keep_fp32=kept)
    done = quantize(module, [x], cfg)
    assert done.scales.fp32 == kept
    assert not set(kept) & set(done.scales.weights)
    int8 = fake_quantized(done.folded, done.scales)
    for name in kept:
        assert torch.equal(int8.get_submodule(name).weight, done.folded.get_submodule(name).weight)
    with torch.inference_mode():
        expected = int8(x).numpy()
    exported = export(int8)
    step = max(float(a.scale) for a in done.scales.activations.values())
    for name, runtime in RUNTIMES.items():
        file = TARGETS[name].convert(exported)
        found = outputs(file, x.permute(0, 2, 3, 1).numpy(), runtime=runtime)
        if file.output.scale is None:  # the last layer is float32: so is the output
            assert "head" in kept
            assert np.abs(found - expected).max() < step
            assert np.abs(found - expected).mean() < step / 20
        else:
            assert file.output.zero_point is not None
            shift = 128 if "u8" in name else 0
            codes = np.rint(expected / file.output.scale) + file.output.zero_point - shift
            assert np.abs(found - codes).max() <= 1
            assert np.mean(found == codes) > 0.9
    assert (int8(x) - module(x)).abs().max() < 0.1 * module(x).abs().max()


def test_names_of_the_network_are_understood_and_unknown_ones_list_the_known() -> None:
    module = torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)), torch.nn.Conv2d(3, 3, 1)
    )
    scales = calibrate(module, [images()], Ptq(method="ptq", keep_fp32=("0.0",)))
    assert scales.fp32 == ("_0_0",)
    with pytest.raises(InputError, match=r"keep_fp32: no layer '_9' \(.*known: _0_0, _1\)"):
        calibrate(module, [images()], Ptq(method="ptq", keep_fp32=("_9",)))


def test_a_layer_alone_rounds_its_own_tensors_only() -> None:
    module, x = block(), images()
    done = quantize(module, [x], Ptq(method="ptq"))
    real, whole = (
        fold_bn(module, tuple(x.shape[1:]))(x),
        fake_quantized(done.folded, done.scales)(x),
    )
    errors = {name: (alone(done, name)(x) - real).abs().max() for name in done.scales.weights}
    assert all(error > 0 for error in errors.values())
    conv1 = alone(done, ("conv1",))
    assert {n for n, _ in conv1.named_children() if n.endswith("_int8")} >= {"x_int8", "relu_int8"}
    rounding = [n for n, m in conv1.named_children() if type(m).__name__ == "FakeQuantize"]
    assert sorted(rounding) == ["relu_int8", "x_int8"]
    assert not torch.equal(whole, conv1(x))


def test_sensitivity_is_sorted_written_and_not_computed_twice(tmp_path: Path) -> None:
    recipe = check(
        Recipe,
        {
            "name": "sensitive",
            "data": DATA,
            "model": {"arch": "digits_cnn", "args": {"width": 4}},
            "train": {"epochs": 2, "batch_size": 50, "lr": 0.05, "warmup": 0.0},
            "compress": [{"method": "ptq"}],
        },
        place="test",
    )  # fmt: skip

    def measure():  # type: ignore[no-untyped-def]
        return measure_sensitivity(
            recipe, recipe_folder=tmp_path, out=tmp_path, data_folder=tmp_path, progress=QUIET
        )

    found = measure()
    divergences = [loss.divergence or 0.0 for loss in found.losses]
    assert divergences == sorted(divergences, reverse=True)
    assert min(divergences) >= 0
    assert max(divergences) > 0
    document = json.loads((tmp_path / "sensitive" / "sensitivity.json").read_bytes())
    assert [loss["layer"] for loss in document["losses"]] == [loss.layer for loss in found.losses]
    stages = {
        f: f.stat().st_mtime_ns for f in (tmp_path / ".stages").glob("sensitivity-*/loss.json")
    }
    assert len(stages) == len(found.losses)
    assert measure() == found
    assert {f: f.stat().st_mtime_ns for f in stages} == stages
    assert load_dataset(recipe.data, seed=0, folder=tmp_path).validation.labels.shape == (100,)
