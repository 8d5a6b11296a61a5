"""Layer by layer, the answers count by the bundle's task, and a wrong file changes them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from rich.console import Console
from task_networks import Case, make_case

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.manifest import Task
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.diff import ArtifactDiff, Bounds
from edgeticket.pipeline.diff.answers import Answers
from edgeticket.pipeline.diff.table import print_diff
from edgeticket.pipeline.external.bundle import bundle_foreign
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.reference.diff import diff_bundle

TASKS = ("masks", "boxes")


@functools.cache
def written(name: str, folder: Path) -> tuple[Case, Path]:
    (folder / name).mkdir()
    case = make_case(name, folder / name)
    bundle = folder / name / "b"
    bundle_foreign(
        case.models,
        samples=case.samples,
        labels=None,
        names=None,
        mean=[],
        std=[],
        layout=None,
        out=bundle,
        task=Task(name, case.settings),
        targets=case.targets,
    )
    return case, bundle


def judge(bundle: Path, *artifacts: str) -> dict[str, ArtifactDiff]:
    found = diff_bundle(
        bundle,
        artifacts=artifacts,
        taps=[],
        samples=4,
        references=None,
        alone=True,
        bounds=Bounds(),
        progress=QUIET,
    )
    console = Console(width=200, record=True, quiet=True)
    print_diff(found, console)
    return {one.artifact: one for one in found.artifacts}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers")


@pytest.mark.parametrize("name", TASKS)
def test_answers_are_those_of_the_reference(name: str, folder: Path) -> None:
    _, bundle = written(name, folder)
    for found in judge(bundle).values():
        assert (found.task, found.differing) == (name, ())


@pytest.mark.parametrize("name", TASKS)
def test_answers_that_change_are_counted_by_the_task(name: str, folder: Path) -> None:
    """What is given is the reference's, with some samples answered as the next one is."""
    case, bundle = written(name, folder)
    with open_bundle(bundle) as opened:
        entry = opened.manifest.artifacts[0]
        outputs = opened.references(entry.network)
        assert outputs is not None
        answers = Answers(opened, entry.outputs)
        task, settings = opened.task  # type: ignore[misc]
        names = [spec.name for spec in entry.outputs]
        expected = []
        for i in range(case.count - 1):
            wanted = {n: o[i : i + 1] for n, o in zip(names, outputs, strict=True)}
            at = i + (i % 3 == 1)
            given = {n: o[at : at + 1] for n, o in zip(names, outputs, strict=True)}
            answers.add(given, wanted, lambda _, reals: reals)
            if not task.agree(list(wanted.values()), list(given.values()), settings).all():
                expected.append(i)
    assert expected
    assert answers.differing() == tuple(expected)


def test_outputs_that_were_not_tapped_are_a_reason(folder: Path) -> None:
    _, bundle = written("masks", folder)
    with open_bundle(bundle) as opened:
        answers = Answers(opened, opened.manifest.artifacts[0].outputs)
    answers.add({}, {}, lambda _, reals: reals)
    found = answers.differing()
    assert isinstance(found, Unavailable)
    assert "is not among the values of both" in found.reason


def test_a_wrong_tflite_file_changes_masks(folder: Path, tmp_path: Path) -> None:
    """Another network's TFLite file beside the ONNX file that judges it."""
    case, _ = written("masks", folder)
    model = onnx.load(case.models[0])
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim == 4:
            turned = np.ascontiguousarray(np.roll(array, 1, axis=0))
            tensor.CopyFrom(numpy_helper.from_array(turned, tensor.name))
    onnx.save(model, tmp_path / "onnx-fp32.onnx")
    tflite = next(file for file in case.models if file.name == "tflite-fp32.tflite")
    bundle_foreign(
        [tmp_path / "onnx-fp32.onnx", tflite],
        samples=case.samples,
        labels=None,
        names=None,
        mean=[],
        std=[],
        layout=None,
        out=tmp_path / "b",
        task=Task("masks", case.settings),
        targets=case.targets,
    )
    found = judge(tmp_path / "b", "tflite-fp32")["tflite-fp32"]
    assert found.differing == (0, 1, 2, 3)
