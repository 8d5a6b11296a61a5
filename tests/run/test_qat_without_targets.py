"""Training with rounding, and single layers alone, where nothing says what is right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from several_ends import TOKENS

import edgeticket
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset, Split
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.progress import Quiet
from edgeticket.pipeline.quantize import Scales, fake_quantized, fold_bn, quantize
from edgeticket.pipeline.quantize.scales import ActivationScale
from edgeticket.pipeline.quantize.single_layer_ablation import alone, units
from edgeticket.pipeline.recipe import Ptq, Qat, check
from edgeticket.pipeline.run.candidate import Candidate
from edgeticket.pipeline.run.quantize_passes import quantize_after_training, quantize_while_training
from edgeticket.pipeline.task.nothing import Noise

FAMILIES = ("detector", "unet", "gru", "vit")
TRAIN = {"epochs": 10, "batch_size": 8, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0}


def network_of(name: str) -> Network:
    return Network.fresh(f"import:diff_families:{name}", {}, seed=0, takes=(3, 8, 8))


@pytest.fixture(scope="module")
def data() -> Dataset:
    pictures = np.random.default_rng(0).normal(size=(96, 8, 8, 3)).astype(np.float32)

    def split(first: int, end: int) -> Split:
        return Split(Tensors((pictures[first:end],), ("x",)), None)

    splits = split(0, 1), split(64, 80), split(0, 64), split(80, 96)
    return Dataset("pictures", *splits, labels=(), preprocessing=())


class Said(Quiet):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def quality_db(network: Network, scales: Scales, real: Network, data: Dataset) -> float:
    x = torch.from_numpy(data.test.inputs.arrays[0]).movedim(-1, 1)  # type: ignore[union-attr]
    rounded = fake_quantized(fold_bn(network.module(), (3, 8, 8)), scales)
    with torch.no_grad():
        noise = Noise()
        noise.add([rounded(x).numpy()], [real.module()(x).numpy()])
    assert noise.decibels is not None
    return noise.decibels


@pytest.mark.parametrize("name", FAMILIES)
def test_training_towards_the_float32_outputs_heals_coarse_scales(
    name: str, data: Dataset, tmp_path: Path
) -> None:
    network, said = network_of(name), Said()
    inputs = [torch.from_numpy(data.calibration.inputs.arrays[0]).movedim(-1, 1)]  # type: ignore[union-attr]
    scales = quantize(network.module(), inputs, Ptq(method="ptq")).scales
    coarse = {
        step: ActivationScale(float(np.float32(a.scale * 8)), round(a.zero_point / 8))
        for step, a in scales.activations.items()
    }
    start = Candidate(network, None, Scales(coarse, scales.weights), (), digest="")
    cfg = check(Qat, {"method": "qat", "range_lr": 0.03, "train": TRAIN}, place="test")
    after = quantize_while_training(start, data, cfg, seed=0, resume=tmp_path, progress=said)
    assert after.scales is not None
    before_db = quality_db(network, start.scales, network, data)  # type: ignore[arg-type]
    assert quality_db(after.network, after.scales, network, data) > before_db + 3
    assert after.facts["validation_sqnr_db"] > 0
    assert not [line for line in said.lines if "stay as they are" in line]
    old, new = network.weights, after.network.weights
    still = {n for n in old if torch.equal(old[n], new[n]) and n.endswith("weight")}
    assert not still


@pytest.mark.parametrize("name", FAMILIES)
def test_moved_weights_answer_no_worse(name: str, data: Dataset, tmp_path: Path) -> None:
    network = network_of(name)
    start = Candidate(network, None, None, (), digest="")
    found = {}
    for moves in (False, True):
        cfg = Ptq(
            method="ptq",
            rounding="adaround" if moves else "nearest",
            equalise=moves,
            bias_correction=moves,
        )
        after = quantize_after_training(start, data, cfg, seed=0, resume=tmp_path, progress=Said())
        assert after.scales is not None
        found[moves] = quality_db(after.network, after.scales, network, data)
    assert found[True] > found[False] - 2


@pytest.mark.parametrize("name", FAMILIES)
def test_parts_that_are_rounded_alone_are_named_as_keep_fp32_takes_them(
    name: str, data: Dataset
) -> None:
    module = network_of(name).module()
    x = torch.from_numpy(data.calibration.inputs.arrays[0]).movedim(-1, 1)  # type: ignore[union-attr]
    done = quantize(module, [x], Ptq(method="ptq"))
    parts = units(done.folded)
    assert sorted(layer for layers in parts.values() for layer in layers) == sorted(
        done.scales.weights
    )
    with torch.no_grad():
        real, whole = module(x), fake_quantized(done.folded, done.scales)(x)
        for part, layers in parts.items():
            kept = quantize(module, [x], Ptq(method="ptq", keep_fp32=(part,)))
            assert set(kept.scales.fp32) == set(layers)
            one = alone(done, layers)(x)
            assert not torch.equal(one, real)
            assert (one - real).square().mean() < 2 * (whole - real).square().mean()
    if name == "gru":
        assert "gru" in parts
        assert len(parts["gru"]) > 2


def test_a_recipe_without_labels_trains_and_tries_layers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "a.npz",
        tokens=rng.integers(0, TOKENS, (60, 5)),
        image=rng.normal(size=(60, 3, 8, 6)).astype(np.float32),
    )
    file = tmp_path / "aware.yaml"
    file.write_text(
        "name: aware\ndata: {npz: a.npz}\n"
        "model: {import: 'several_ends:several_ends', trained: true}\n"
        "compress: [{method: qat, train: {epochs: 1, batch_size: 10}}]\n"
        "bench: {min_seconds: 0.0, min_queries: 5}\n"
    )
    edgeticket.run(file, out=tmp_path / "runs", data=tmp_path)
    steps = json.loads((tmp_path / "runs/aware/summary.json").read_bytes())["steps"]
    assert steps[-1]["validation_sqnr_db"] > 15
    found = edgeticket.sensitivity(file, out=tmp_path / "runs", data=tmp_path)
    assert (found.measure, found.score) == (None, None)
    assert {loss.layer for loss in found.losses} == {"conv", "score", "number"}
    noises = [loss.sqnr_db for loss in found.losses]
    assert noises == sorted(noises)  # the worst first
