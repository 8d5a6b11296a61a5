"""Quantisation-aware training: what it trains is what is exported."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch
from training_fixtures import StopAfter

from pipeline.artifacts import build_artifacts
from pipeline.data import load_dataset
from pipeline.passes import Candidate, Job, apply_pass, dense_network
from pipeline.progress import QUIET, Progress
from pipeline.quantize import fake_quantized, fold_bn
from pipeline.quantize.fake import QuantizedLayer
from pipeline.quantize.learned import AveragedQuantize, LearnedQuantize
from pipeline.quantize.scales import ActivationScale, Scales
from pipeline.recipe import check
from pipeline.recipe.recipe import Recipe
from pipeline.store import Store

BRIEF = {"epochs": 2, "batch_size": 50, "lr": 0.05, "warmup": 0.0}
TUNED = {"epochs": 2, "batch_size": 50, "lr": 0.01, "warmup": 0.0}
DATA = {"name": "digits", "train": 300, "validation": 100, "calibration": 50, "test": 50}
QAT = {"method": "qat", "range_lr": 0.01, "train": TUNED}


def recipe(*passes: dict[str, object]) -> Recipe:
    document = {
        "name": "aware",
        "data": DATA,
        "model": {"arch": "digits_cnn", "args": {"width": 4}},
        "train": BRIEF,
        "compress": passes,
    }
    return check(Recipe, document, place="test")


def carried_out(
    store: Path, *passes: dict[str, object], progress: Progress = QUIET
) -> tuple[Job, list[Candidate]]:
    made = recipe(*passes)
    job = Job(made, load_dataset(made.data, seed=0, folder=Path()), Store(store), progress)
    candidates = [dense_network(job)]
    for position in range(len(passes)):
        candidates.append(apply_pass(job, candidates[-1], position))
    return job, candidates


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


def test_it_starts_from_ptq_and_moves_weights_and_ranges(store: Path) -> None:
    _, (dense, ptq, qat) = carried_out(store, {"method": "ptq"}, QAT)
    assert ptq.network.digest == dense.network.digest  # min-max moves no weight
    assert qat.network.digest != dense.network.digest
    assert ptq.scales is not None
    assert qat.scales is not None
    assert qat.scales.activations.keys() == ptq.scales.activations.keys()
    for name, start in ptq.scales.activations.items():
        # Two epochs of twelve steps, in logarithms of at most 0.01 each, and the alignment.
        assert qat.scales.activations[name].scale == pytest.approx(start.scale, rel=0.2)
    assert qat.scales != ptq.scales
