"""Whatever code runs while a stage works is in its key: watched, for every kind of stage."""

from __future__ import annotations

import ast
import cProfile
import functools
import importlib
import pkgutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest
import torch
from onnx_fixtures import export_onnx
from picture_fixtures import write_pictures

import edgeticket.pipeline
from edgeticket.models.network import Network
from edgeticket.models.own import WRITTEN
from edgeticket.pipeline.data import Dataset, Split
from edgeticket.pipeline.network.file import save_network
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.recipe import Recipe, check
from edgeticket.pipeline.run.candidate import Job
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.passes import PASSES, apply_pass
from edgeticket.pipeline.run.pipeline import run
from edgeticket.pipeline.run.sensitivity import _try_layers
from edgeticket.pipeline.store import Result, Store
from edgeticket.pipeline.store.code import NOT_WORK, definitions_reached

BRIEF = {"epochs": 1, "batch_size": 20, "lr": 0.01, "augment": "shift"}
TAUGHT = {**BRIEF, "distil": {"soft_targets": {}, "attention": {"layers": [["layer1", "layer1"]]}}}
BENCH = {"min_seconds": 0.01, "min_queries": 20}
BUDGET = {"budget": {"macs": 0.7}, "round_to": 1}
SPARSE = {"sparsity": 0.5}
METHODS: dict[str, dict[str, Any]] = {
    "stochastic_gates": {**BUDGET, "train": BRIEF},
    "channel_magnitude": BUDGET,
    "channel_penalty": {**BUDGET, "train": BRIEF},
    "structure": {"keep": {"conv1": 2}, "bypass": ["layer1.2"]},
    "residual_blocks": {"budget": {"macs": 0.9}, "examples": 20},
    "magnitude": {**SPARSE, "train": BRIEF},
    "weight_penalty": {**SPARSE, "train": BRIEF},
    "edge_popup": {**SPARSE, "train": BRIEF},
    "score_miner": {**SPARSE, "train": BRIEF},
    "continuous_sparsification": {**SPARSE, "train": BRIEF},
    "weight_gates": {**SPARSE, "train": BRIEF},
    "rewinding": {**SPARSE, "share": 0.5, "rewind_to": 1, "train": {**BRIEF, "epochs": 2}},
    "random_mask": {**SPARSE, "of": "magnitude", "train": {**BRIEF, "epochs": 2}},
    "reinit": {**SPARSE, "share": 0.5, "train": {**BRIEF, "epochs": 2}},
    "finetune": {"train": TAUGHT},
    "ptq": {"ranges": "mse", "equalise": True, "bias_correction": True, "rounding": "adaround"},
    "qat": {"train": {**BRIEF, "epochs": 2}},
}

Watched = tuple[str, set[tuple[str, str]], set[CodeType]]
"""A stage: its name, the definitions in its key, and the code that ran while it worked."""


@pytest.fixture(scope="module")
def imported() -> None:
    """Everything, so that no module is imported while a stage is watched."""
    for module in pkgutil.walk_packages(edgeticket.pipeline.__path__, "edgeticket.pipeline."):
        if not module.name.endswith("__main__") and ".on_device" not in module.name:
            importlib.import_module(module.name)


@pytest.fixture
def watched(imported: None, monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    stages: list[Watched] = []
    stage = Store.stage

    def watch(store: Store, name: str, make: Callable[[Path, Path], None], **keys: Any) -> Result:
        def make_watched(folder: Path, resume: Path) -> None:
            with calls() as codes:
                make(folder, resume)
            stages.append((name, definitions_reached(make), codes))

        return stage(store, name, make_watched, **keys)

    monkeypatch.setattr(Store, "stage", watch)
    return stages


@contextmanager
def calls() -> Iterator[set[CodeType]]:
    """The code of every Python function that is called, in any thread."""
    codes: set[CodeType] = set()
    in_threads: set[CodeType] = set()  # some go on, and note what they do, when all is done

    def note(frame: FrameType, event: str, _: object) -> None:
        in_threads.add(frame.f_code)

    profile = cProfile.Profile(subcalls=False, builtins=False)  # of this thread, and fast
    threading.setprofile(note)
    profile.enable()
    try:
        yield codes
    finally:
        profile.disable()
        threading.setprofile(None)  # type: ignore[arg-type]
        codes.update(in_threads.copy())
        codes.update(e.code for e in profile.getstats() if isinstance(e.code, CodeType))


ROOT = Path(edgeticket.pipeline.__file__).resolve().parents[1]


@functools.cache
def definition(file: str, line: int) -> tuple[str, tuple[str, ...]] | None:
    """Where code stands: its module, and the names of the top-level statement; None: elsewhere."""
    path = Path(file).resolve()
    if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in FOLDERS:
        return None
    parts = path.relative_to(ROOT).with_suffix("").parts
    module = ".".join(["edgeticket", *(part for part in parts if part != "__init__")])
    for node in ast.parse(path.read_text()).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        if first <= line <= (node.end_lineno or first):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                return module, (node.name,)
            names = (n.id for n in ast.walk(node) if isinstance(n, ast.Name))
            return module, tuple(names)
    raise AssertionError(f"{file}:{line} is in no statement")


FOLDERS = ("pipeline", "device_runner", "models")
IMPORTING = ("<module>", "find_spec")  # runs wherever a library is first imported


def assert_all_in_keys(stages: list[Watched], *, work: object = ()) -> None:
    """``work``: code whose digest is in the keys beside that of the stage's own function."""
    for name, own, codes in stages:
        reached = own | definitions_reached(work)
        count = 0
        for code in codes:
            place = definition(code.co_filename, code.co_firstlineno)
            if code.co_name in IMPORTING or place is None or place[0] in NOT_WORK:
                continue
            module, names = place
            count += 1
            assert any((module, n) in reached for n in (*names, "*")), (
                name,
                code.co_qualname,
                place,
            )
        assert count, name


def data(side: int = 32) -> Dataset:
    rng = np.random.default_rng(0)
    labels = np.arange(60, dtype=np.int64) % 10
    split = Split(rng.integers(0, 256, (60, side, side, 3)).astype(np.uint8), labels)
    steps = ({"op": "normalize", "mean": [127.5] * 3, "std": [64.0] * 3},)
    return Dataset("noise", split, split, split, split, tuple("0123456789"), steps)


def job(store: Path, *passes: dict[str, Any], **keys: Any) -> Job:
    document = {
        "name": "watched",
        "data": {"name": "cifar10"},
        "model": {"arch": "resnet20", "args": {"width": 4}},
        "train": BRIEF,
        "compress": [*passes, {"method": "ptq"}][: max(1, len(passes))],
        **keys,
    }
    if passes and passes[-1]["method"] not in ("ptq", "qat"):
        document["compress"] = [*passes, {"method": "ptq"}]
    recipe = check(Recipe, document, place="test")
    return Job(recipe, data(), Store(store), QUIET, (store,))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


def test_every_pass_is_watched() -> None:
    assert METHODS.keys() == PASSES.keys()


@pytest.mark.parametrize("method", METHODS)
def test_a_pass(method: str, store: Path, watched: list[Watched]) -> None:
    torch.set_num_threads(1)
    work = job(store, {"method": method, **METHODS[method]})
    apply_pass(work, dense_network(work), 0)
    assert watched[-1][0] == method
    assert_all_in_keys(watched)


def test_networks_from_files_and_at_random(tmp_path: Path, watched: list[Watched]) -> None:
    network = Network.fresh("resnet20", {"width": 4}, seed=0)
    save_network(network, tmp_path)
    (tmp_path / "model.onnx").write_bytes(export_onnx(network.module(), torch.rand(1, 3, 32, 32)))
    weights = {"arch": "resnet20", "args": {"width": 4}, "weights": "weights.safetensors"}
    drawn = {"arch": "resnet20", "args": {"width": 4}, "init": "signed_constant"}
    strong = {"method": "edge_popup", "sparsity": 0.5, "train": BRIEF}
    for passes, model in (((), weights), ((), {"onnx": "model.onnx"}), ((strong,), drawn)):
        dense_network(job(tmp_path, *passes, model=model, train=None))
    assert [name for name, _, _ in watched] == ["import", "import", "random"]
    assert_all_in_keys(watched, work=WRITTEN["graph"])


def test_sensitivity(store: Path, watched: list[Watched]) -> None:
    torch.set_num_threads(1)
    work = job(store, {"method": "ptq", "ranges": "percentile"})
    _try_layers(work, dense_network(work))
    assert watched[-1][0] == "sensitivity"
    assert_all_in_keys(watched)


def test_a_whole_run(
    tmp_path: Path, watched: list[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a network and pictures of the user's: decoded, checked, exported, measured."""
    write_pictures(tmp_path / "photos", per_class=20)
    (tmp_path / "watched_net.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    document = {
        "name": "run",
        "data": {
            "folder": str(tmp_path / "photos"),
            "resize": 16,
            "crop": 16,
            "mean": [0, 0, 0],
            "std": [255, 255, 255],
            "validation": 9,
            "calibration": 9,
            "test": 9,
        },
        "model": {"import": "watched_net:make"},
        "train": {**BRIEF, "batch_size": 8},
        "compress": [{"method": "channel_magnitude", **BUDGET}, {"method": "ptq"}],
        "bench": BENCH,
    }
    run(
        check(Recipe, document, place="test"),
        recipe_folder=tmp_path,
        out=tmp_path / "out",
        data_folder=tmp_path,
        remeasure=False,
        progress=QUIET,
    )
    names = ["decode", "check", "train", "channel_magnitude", "ptq", "artifacts", "measure"]
    assert [name for name, _, _ in watched] == names
    assert_all_in_keys(watched)


NETWORK = """
from torch import nn


def make():
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )
"""
