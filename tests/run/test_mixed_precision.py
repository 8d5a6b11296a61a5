"""Automatic mixed precision, on a network with two planted outliers that int8 ruins."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import edgeticket
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset, load_dataset
from edgeticket.pipeline.network.file import save_network
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.prune.cost import layer_macs
from edgeticket.pipeline.quantize import fake_quantized, quantize
from edgeticket.pipeline.recipe import Ptq, check, read_recipe
from edgeticket.pipeline.recipe.ready import ready_file
from edgeticket.pipeline.recipe.recipe import Recipe
from edgeticket.pipeline.run.candidate import Candidate, Job, PassResult
from edgeticket.pipeline.run.decided import decided_recipe, recipe_text
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.mixed_precision import Bound
from edgeticket.pipeline.run.quantize_passes import calibration_batches, quantize_after_training
from edgeticket.pipeline.store import Store
from edgeticket.pipeline.train import evaluate

DATA = {"name": "digits", "train": 400, "validation": 200, "calibration": 50, "test": 50}
LAYERS = ("conv1", "conv2", "fc1", "fc2", "fc3")
TRAINED = {
    "name": "planted",
    "data": DATA,
    "model": {"arch": "lenet5"},
    "train": {"epochs": 6, "batch_size": 25, "lr": 0.05},
    "compress": [{"method": "ptq"}],
}


def plant(network: Network, *, first: float, second: float) -> Network:
    """The same function, with one channel of each convolution ``first`` and ``second`` as large."""
    module = network.module()
    with torch.no_grad():
        for layer, reader, columns, factor in (
            (module.conv1, module.conv2, slice(0, 1), first),
            (module.conv2, module.fc1, slice(0, 25), second),
        ):
            layer.weight[0] *= factor
            layer.bias[0] *= factor
            reader.weight[:, columns] /= factor
    return network.with_weights(module)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset(check(Recipe, TRAINED, place="test").data, seed=0, folder=Path())


@pytest.fixture(scope="module")
def planted(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    recipe = check(Recipe, TRAINED, place="test")
    dense = dense_network(Job(recipe, data, Store(tmp_path_factory.mktemp("stages")), QUIET))
    return Candidate(plant(dense.network, first=300.0, second=1e6), None, None, (), "planted")


def carried_out(before: Candidate, data: Dataset, cfg: Ptq, resume: Path) -> PassResult:
    return quantize_after_training(before, data, cfg, seed=0, resume=resume, progress=QUIET)


def drop_points(before: Candidate, data: Dataset, kept: Sequence[str]) -> float:
    cfg = Ptq(method="ptq", keep_fp32=tuple(kept))
    done = quantize(before.network.module(), calibration_batches(data), cfg)
    top1 = [
        evaluate(module, data.validation, preprocessing=data.preprocessing).top1
        for module in (before.network.module(), fake_quantized(done.folded, done.scales))
    ]
    return 100 * (top1[0] - top1[1])


@pytest.mark.parametrize("most", [0.0, 1.0, 5.0, 60.0])
def test_no_smaller_and_no_cheaper_set_of_all_holds(
    most: float, planted: Candidate, data: Dataset, tmp_path: Path
) -> None:
    cfg = Ptq(method="ptq", max_drop=most)
    facts = carried_out(planted, data, cfg, tmp_path).facts["mixed_precision"]
    macs = layer_macs(planted.network.module(), planted.network.input_shapes)
    every = [set_ for n in range(6) for set_ in itertools.combinations(LAYERS, n)]
    drops = DROPS or {kept: drop_points(planted, data, kept) for kept in every}
    DROPS.update(drops)
    right = min(
        (len(kept), sum(macs[name] for name in kept))
        for kept in every
        if drops[kept] <= most + 1e-9
    )
    kept = tuple(facts["keep_fp32"])
    assert (len(kept), sum(macs[name] for name in kept)) == right
    assert drops[kept] == pytest.approx(100 * facts["drop"], abs=1e-6)
    assert drops[()] > 60.0  # there is something to find
    assert facts["at_least"] == len(kept)


DROPS: dict[tuple[str, ...], float] = {}  # of all 32 sets, measured once


def test_what_it_decides_is_what_ptq_makes_of_these_layers(
    planted: Candidate, data: Dataset, tmp_path: Path
) -> None:
    found = carried_out(planted, data, Ptq(method="ptq", max_drop="2%"), tmp_path)
    kept = tuple(found.facts["mixed_precision"]["keep_fp32"])
    assert 0 < len(kept) < 5
    again = carried_out(planted, data, Ptq(method="ptq", keep_fp32=kept), tmp_path)
    assert found.scales == again.scales
    assert found.facts["validation_top1_int8"] == again.facts["validation_top1_int8"]


def test_where_int8_holds_nothing_is_kept(
    planted: Candidate, data: Dataset, tmp_path: Path
) -> None:
    facts = carried_out(planted, data, Ptq(method="ptq", max_drop=100.0), tmp_path).facts
    mixed = facts["mixed_precision"]
    assert (mixed["keep_fp32"], mixed["tries"], mixed["at_least"]) == ([], 1, 0)
    assert mixed["summary"].startswith("all 5 layers can be int8: ")


def test_what_was_tried_is_not_tried_again(
    planted: Candidate, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = Ptq(method="ptq", max_drop=1.0)
    whole = carried_out(planted, data, cfg, tmp_path).facts["mixed_precision"]
    tried = json.loads((tmp_path / "tried.json").read_bytes())
    assert len(tried) == whole["tries"] > 3
    (tmp_path / "tried.json").write_text(json.dumps(tried[:3]))  # as a kill would leave it
    asked: list[tuple[str, ...]] = []

    def counted(module: object, batches: object, cfg: Ptq, **more: object) -> object:
        asked.append(cfg.keep_fp32)
        return quantize(module, batches, cfg, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("edgeticket.pipeline.run.mixed_precision.quantize", counted)
    assert carried_out(planted, data, cfg, tmp_path).facts["mixed_precision"] == whole
    # All layers, once for the noise; what is left to try; and the result.
    assert len(asked) == 1 + whole["tries"] - 3 + 1


def test_few_tries_say_how_many_are_needed_at_least(
    planted: Candidate, data: Dataset, tmp_path: Path
) -> None:
    cfg = Ptq(method="ptq", max_drop=0.0, max_tries=1)
    facts = carried_out(planted, data, cfg, tmp_path).facts["mixed_precision"]
    assert facts["at_least"] < len(facts["keep_fp32"])
    assert f"at least {facts['at_least']} are needed" in facts["summary"]
    assert facts["drop"] <= 0.0


def test_nothing_to_measure_a_drop_by_is_said(
    planted: Candidate, data: Dataset, tmp_path: Path
) -> None:
    bare = replace(data, validation=replace(data.validation, labels=None))
    with pytest.raises(InputError, match=r"ptq\.max_drop: nothing says what is right.*keep_fp32"):
        carried_out(planted, bare, Ptq(method="ptq", max_drop=1.0), tmp_path)
    with pytest.raises(edgeticket.RecipeError, match=r"settings\.max_drop.*keep_fp32"):
        edgeticket.quantize(
            planted.network.module(), torch.zeros(4, 1, 28, 28), settings={"max_drop": 1.0}
        )


def test_a_bound_that_not_even_float32_holds_is_said(
    planted: Candidate, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bound, "drop", lambda bound, judged: 0.125)
    with pytest.raises(InputError, match=r"ptq\.max_drop 1\.0: top-1 drops by 12\.50 points even"):
        carried_out(planted, data, Ptq(method="ptq", max_drop=1.0), tmp_path)


@pytest.mark.parametrize("given", ["x", "-1", "1 %", "%", "nan", "1%%"])
def test_a_drop_that_is_none_is_a_sentence(given: str) -> None:
    document = {**TRAINED, "compress": [{"method": "ptq", "max_drop": given}]}
    with pytest.raises(InputError, match=r"compress\.0\.max_drop.*write 0\.3 for percentage"):
        check(Recipe, document, place="test")


def test_every_ready_recipe_is_the_same_when_it_is_written_and_read(tmp_path: Path) -> None:
    for file in sorted(ready_file(Path("demo"), kind="recipe").parent.glob("*.yaml")):
        recipe = read_recipe(file)
        again = tmp_path / file.name
        again.write_text(recipe_text(decided_recipe(recipe, [{}] * 9), folder=tmp_path))
        assert read_recipe(again) == recipe


def test_a_run_leaves_a_recipe_that_makes_the_same_bundle(
    planted: Candidate, tmp_path: Path
) -> None:
    save_network(planted.network, tmp_path / "weights")
    document = {
        **TRAINED,
        "model": {"arch": "lenet5", "weights": "weights/weights.safetensors"},
        "compress": [{"method": "ptq", "max_drop": 5.0}],
        "bundle": {"baseline": False, "samples": 20},
        "bench": {"min_seconds": 0.0, "min_queries": 1},
    }
    del document["train"]
    asked = check(Recipe, document, place="test")
    (tmp_path / "planted.yaml").write_text(yaml.safe_dump(document))
    first = edgeticket.run(tmp_path / "planted.yaml", out=tmp_path / "one")
    decided = read_recipe(tmp_path / "one" / "planted" / "recipe.yaml")
    assert decided != asked
    kept = decided.compress[0].layers_in_fp32
    assert kept
    assert all(name in first.to_markdown() for name in kept)
    (tmp_path / "again.yaml").write_bytes((tmp_path / "one/planted/recipe.yaml").read_bytes())
    edgeticket.run(tmp_path / "again.yaml", out=tmp_path / "two")
    one, two = (tmp_path / out / "planted" / "bundle" for out in ("one", "two"))
    files = sorted(one.rglob("*.onnx")) + sorted(one.rglob("*.tflite"))
    assert len(files) > 2
    for file in files:
        assert file.read_bytes() == (two / file.relative_to(one)).read_bytes()
