"""What a ticket of single weights becomes: zeros stay, its mask travels, int8 can be exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from edgeticket.pipeline.data import load_dataset
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.quantize import fake_quantized, fold_bn
from edgeticket.pipeline.recipe import check
from edgeticket.pipeline.recipe.recipe import Recipe
from edgeticket.pipeline.run.artifacts import build_artifacts
from edgeticket.pipeline.run.candidate import Candidate, Job
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.levels import remove_levels
from edgeticket.pipeline.run.passes import apply_pass
from edgeticket.pipeline.store import Store

BRIEF = {"epochs": 2, "batch_size": 50, "lr": 0.05, "warmup": 0.0}
DATA = {"name": "digits", "train": 300, "validation": 100, "calibration": 50, "test": 50}
TUNED = {
    "name": "tuned",
    "data": DATA,
    "model": {"arch": "digits_cnn", "args": {"width": 4}},
    "train": BRIEF,
    "compress": [
        {"method": "magnitude", "sparsity": 0.8, "scope": "layer"},
        {"method": "finetune", "train": BRIEF},
        {"method": "ptq"},
    ],
}
STRONG = {
    "name": "strong",
    "data": DATA,
    "model": {
        "arch": "digits_cnn",
        "args": {"width": 4},
        "init": "signed_constant",
        "init_kept": 0.5,
    },
    "compress": [
        {"method": "weight_gates", "sparsity": 0.5, "train": BRIEF},
        {"method": "ptq"},
    ],
}


def job_of(document: dict[str, object], store: Path) -> Job:
    recipe = check(Recipe, document, place="test")
    return Job(recipe, load_dataset(recipe.data, seed=0, folder=Path()), Store(store), QUIET)


def all_passes(job: Job) -> list[Candidate]:
    candidates = [dense_network(job)]
    for position in range(len(job.recipe.compress)):
        candidates.append(apply_pass(job, candidates[-1], position))
    return candidates


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module", params=[TUNED, STRONG], ids=["tuned", "strong"])
def made(request: pytest.FixtureRequest, store: Path) -> tuple[Job, list[Candidate]]:
    job = job_of(request.param, store)
    return job, all_passes(job)


def test_the_mask_travels_to_the_end_and_its_zeros_stay(made: tuple[Job, list[Candidate]]) -> None:
    _, (dense, ticket, *later) = made
    assert dense.mask is None
    assert ticket.mask is not None
    for candidate in (ticket, *later):
        assert candidate.mask is not None
        assert candidate.mask.digest == ticket.mask.digest
        for name, kept in ticket.mask.tensors.items():
            weight = candidate.network.weights[name]
            assert not weight[~kept].any()
            assert weight[kept].all()
    assert later[-1].scales is not None


def int8_weights(job: Job, candidates: list[Candidate]) -> dict[str, list[np.ndarray]]:
    """Artifact -> its int8 weights, each [outputs, ...] with the inputs' axis last."""
    found: dict[str, list[np.ndarray]] = {}
    for artifact, data in build_artifacts(job, candidates[0], candidates[-1]).files:
        if artifact.precision != "int8":
            continue
        if artifact.runtime == "ort":
            graph = onnx.load_from_string(data).graph
            arrays = [onnx.numpy_helper.to_array(t) for t in graph.initializer]
            shaped = [a for a in arrays if a.dtype == np.int8 and a.ndim > 1]
            weights = [np.moveaxis(a, 1, -1) for a in shaped]
        else:
            interpreter = Interpreter(model_content=data)
            interpreter.allocate_tensors()
            weights = []
            for tensor in interpreter.get_tensor_details():
                scales = tensor["quantization_parameters"]["scales"]
                if tensor["dtype"] == np.int8 and len(scales) > 1:
                    weights.append(interpreter.get_tensor(tensor["index"]))
        found[artifact.id] = weights
    return found


def test_zero_weights_are_code_zero_in_every_int8_file(made: tuple[Job, list[Candidate]]) -> None:
    job, candidates = made
    mask = candidates[-1].mask
    assert mask is not None
    kept = sorted(
        (np.moveaxis(m.numpy(), 1, -1) for m in mask.tensors.values()), key=lambda m: m.size
    )
    files = int8_weights(job, candidates)
    assert len(files) == 3
    for weights in files.values():
        assert len(weights) == len(kept)
        for k in kept:
            fitting = [w.reshape(k.shape) for w in weights if w.size == k.size]
            assert sum(not w[~k].any() for w in fitting) == 1


def test_strong_signed_constant_tickets_are_ternary_and_int8_is_exact(store: Path) -> None:
    job = job_of(STRONG, store)
    candidates = all_passes(job)
    for weights in int8_weights(job, candidates).values():
        for codes in weights:
            assert set(np.unique(codes).tolist()) <= {-127, 0, 127}
    last = candidates[-1]
    assert last.scales is not None
    folded = fold_bn(last.network.module(), last.network.input_shape)
    quantized = fake_quantized(folded, last.scales)
    for name, scales in last.scales.weights.items():
        exact = folded.get_submodule(name).weight.detach()
        scale = torch.tensor(scales).reshape(-1, *[1] * (exact.ndim - 1))
        codes = torch.round(exact / scale)
        assert codes.abs().unique().tolist() in ([0, 127], [127])
        torch.testing.assert_close(codes * scale, exact, rtol=2e-7, atol=0)
        layer = quantized.get_submodule(name)
        rounded = torch.fake_quantize_per_channel_affine(
            layer.layer.weight, layer.scale, layer.zero_point, 0, -128, 127
        )
        torch.testing.assert_close(rounded, exact, rtol=2e-7, atol=0)


def test_levels_are_shared_between_sparsities_and_controls(tmp_path: Path) -> None:
    levels = {"share": 0.5, "rewind_to": 0, "train": BRIEF}

    def passes(method: str, sparsity: float) -> None:
        job = job_of(
            {**TUNED, "train": None, "model": {**STRONG["model"]},  # type: ignore[dict-item]
             "compress": [{"method": method, "sparsity": sparsity, **levels}, {"method": "ptq"}]},
            tmp_path,
        )  # fmt: skip
        apply_pass(job, dense_network(job), 0)

    passes("rewinding", 0.75)
    [shared] = [f for f in tmp_path.glob("levels-*") if f.is_dir()]
    before = {f.name: f.stat().st_mtime_ns for f in shared.iterdir()}
    assert set(before) == {"training-level 0.pt", "training-level 1.pt", "used-by-tuned"}
    passes("reinit", 0.6)
    passes("random_mask", 0.75)
    after = {f.name: f.stat().st_mtime_ns for f in shared.iterdir()}
    assert [n for n in after if "level" in n and after[n] != before[n]] == []
    assert set(after) == set(before)

    # What somebody else has used, too, stays.
    assert remove_levels(tmp_path, user="another") == 0
    (shared / "used-by-another").touch()
    assert remove_levels(tmp_path, user="tuned") == 0
    assert shared.exists()
    (shared / "used-by-another").unlink()
    assert remove_levels(tmp_path, user="tuned") == 1
    assert not shared.exists()
