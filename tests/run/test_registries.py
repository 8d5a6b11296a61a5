"""A pass is one entry, a kind of file one line: everything else asks these."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgeticket.pipeline
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.runtimes import RUNTIMES
from edgeticket.models.network import Network
from edgeticket.pipeline.convert.targets import TARGETS, int8_target_here, targets_of
from edgeticket.pipeline.data import load_dataset
from edgeticket.pipeline.inspect.network import inspect_network
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.recipe import PASS_CONFIGS, PassConfig, Recipe, TrainConfig, check
from edgeticket.pipeline.run import preflight
from edgeticket.pipeline.run.artifacts import build_artifacts
from edgeticket.pipeline.run.candidate import Candidate, Job, PassResult
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.passes import PASSES, apply_pass
from edgeticket.pipeline.store import Store

TRAIN = {"epochs": 1, "batch_size": 50, "lr": 0.05}
DATA = {"name": "digits", "train": 200, "validation": 100, "calibration": 50, "test": 50}


def job(folder: Path, *passes: dict[str, Any], **keys: Any) -> Job:
    document = {
        "name": "one",
        "data": DATA,
        "model": {"arch": "digits_cnn", "args": {"width": 4}},
        "train": TRAIN,
        "compress": [*passes],
        **keys,
    }
    recipe = check(Recipe, document, place="test")
    return Job(recipe, load_dataset(recipe.data, seed=0, folder=Path()), Store(folder), QUIET)


def test_every_pass_of_a_recipe_has_an_entry() -> None:
    assert {name: entry.config for name, entry in PASSES.items()} == {
        config.method_name(): config for config in PASS_CONFIGS
    }


def test_what_passes_say_of_themselves() -> None:
    """In one table, as `isinstance` used to answer."""
    facts = {
        name: (c.removes, c.decides_scales, c.keeps_float32, "train" in c.model_fields)
        for name, c in ((entry.config.method_name(), entry.config) for entry in PASSES.values())
    }
    channels, weights = ("channels", False, False), ("weights", False, False)
    assert facts == {
        "stochastic_gates": (*channels, True),
        "channel_magnitude": (*channels, False),
        "structure": (*channels, False),
        "channel_penalty": (*channels, True),
        "residual_blocks": ("blocks", False, False, False),
        **dict.fromkeys(
            (
                *("magnitude", "weight_penalty", "edge_popup", "score_miner", "weight_gates"),
                *("continuous_sparsification", "rewinding", "random_mask", "reinit"),
            ),
            (*weights, True),
        ),
        "finetune": ("nothing", False, False, True),
        "ptq": ("nothing", True, True, False),
        "qat": ("nothing", True, False, True),
    }


def halve(
    before: Candidate, data: Any, cfg: Any, *, seed: int, resume: Path, progress: Any
) -> PassResult:
    weights = {n: t / 2 if t.is_floating_point() else t for n, t in before.network.weights.items()}
    return PassResult(replace(before.network, weights=weights), facts={"halved": True})


def say_no(network: Network, cfg: PassConfig | None) -> str:
    raise InputError("no")


def test_an_entry_is_all_that_decides_what_a_pass_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = job(tmp_path, {"method": "finetune"}, {"method": "ptq"})
    dense = dense_network(work)
    entry = replace(PASSES["finetune"], work=halve, check=say_no, epochs=lambda cfg, entry: 7)
    monkeypatch.setitem(PASSES, "finetune", entry)
    after = apply_pass(work, dense, 0)
    assert after.log[-1]["halved"]
    name = next(n for n, t in dense.network.weights.items() if t.is_floating_point())
    assert after.network.weights[name].equal(dense.network.weights[name] / 2)
    assert not inspect_network(dense.network).passes["finetune"].possible


def names_in(node: ast.AST) -> Iterator[str]:
    return (n.id for n in ast.walk(node) if isinstance(n, ast.Name))


def test_nobody_asks_a_pass_for_its_class() -> None:
    configs = {base.__name__ for c in PASS_CONFIGS for base in c.__mro__[:-2]} - {
        "Config",
        "BaseModel",
    }
    assert "WeightTicket" in configs
    for file in Path(edgeticket.pipeline.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.MatchClass):
                assert not configs & set(names_in(node.cls)), file
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in ("isinstance", "issubclass"):
                assert not configs & set(names_in(node.args[1])), (file, node.lineno)
            if node.func.id in ("hasattr", "getattr"):
                asked = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant)]
                assert not {"train", "keep_fp32"} & set(asked), (file, node.lineno)


def test_targets_fit_together() -> None:
    assert {target.runtime for target in TARGETS.values()} == RUNTIMES.keys()
    for runtime in RUNTIMES:
        assert int8_target_here(runtime).runtime == runtime
        for precision in ("fp32", "int8"):
            alike = [t for t in targets_of(precision).values() if t.runtime == runtime]
            architectures = [name for target in alike for name in target.architectures]
            assert sorted(architectures) == ["aarch64", "armv7l", "x86_64"]
    assert {t.role for t in targets_of("int8").values()} == {"deploy"}
    assert {t.role for t in targets_of("fp32").values()} == {"baseline"}


def test_a_line_in_the_table_is_all_that_a_new_kind_of_file_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = job(tmp_path, {"method": "ptq"})
    dense = dense_network(work)
    ticket = apply_pass(work, dense, 0)
    before = build_artifacts(work, dense, ticket)
    again = replace(TARGETS["tflite-int8"], suffix="lite", architectures=("riscv64",))
    monkeypatch.setitem(TARGETS, "lite-int8", again)
    after = build_artifacts(work, dense, ticket)
    (new,) = [a for a, _ in after.files if a not in [old for old, _ in before.files]]
    assert (new.id, new.file) == ("dense-lite-int8", "artifacts/dense-lite-int8.lite")
    assert (new.role, new.architectures) == ("deploy", ("riscv64",))
    assert inspect_network(dense.network).files["lite-int8"].possible


def test_layers_that_ptq_keeps_are_kept_in_the_check_when_qat_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    conversions = preflight.conversions

    def note(network: Network, *, keep_fp32: tuple[str, ...] = ()) -> dict[str, str | None]:
        asked.append(keep_fp32)
        return conversions(network, keep_fp32=keep_fp32)

    monkeypatch.setattr(preflight, "conversions", note)
    passes = [{"method": "ptq", "keep_fp32": ["classifier"]}, {"method": "qat"}]
    steps = job(tmp_path, *passes).recipe.compress
    preflight.check_network(
        tmp_path,
        tmp_path,
        arch="digits_cnn",
        args={"width": 4},
        takes=(),
        progress=QUIET,
        passes=[(step, PASSES[step.method].check) for step in steps],
    )
    assert asked == [("classifier",)]


def test_a_pass_that_trains_nothing_works_on_a_finished_file() -> None:
    document = {"name": "a", "data": DATA, "model": {"onnx": "m.onnx"}}
    pruned = {"method": "magnitude", "sparsity": 0.5}
    recipe = check(Recipe, {**document, "compress": [pruned, {"method": "ptq"}]}, place="test")
    assert recipe.compress[0].training is None
    with pytest.raises(InputError, match=r"magnitude trains, and model\.onnx is a finished file"):
        check(
            Recipe,
            {**document, "compress": [{**pruned, "train": TRAIN}, {"method": "ptq"}]},
            place="test",
        )
    trained = check(Recipe, {**document, "model": {"arch": "lenet5"}, "train": TRAIN,
                             "compress": [{**pruned, "train": TRAIN}, {"method": "ptq"}]},
                    place="test")  # fmt: skip
    assert trained.compress[0].training == TrainConfig(**TRAIN)
