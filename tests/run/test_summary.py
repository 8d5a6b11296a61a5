"""The table at the end of a run: which lines it has for which kind of answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from runner_fixtures import example_report, tiny_files, tiny_manifest, write_folder
from speech_fixtures import speech_manifest, speech_report
from task_goldens import task_manifest, task_report, task_targets

from edgeticket.device_runner.manifest import Manifest, write_manifest
from edgeticket.device_runner.report import Accuracy
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.run.summary import Summary, summarize

NOTHING = Unavailable("nothing is finite")


def of_classes(count: int) -> Manifest:
    """The tiny bundle's manifest, as if its networks told so many classes apart."""
    manifest = tiny_manifest(tiny_files())
    artifacts = tuple(
        replace(a, outputs=(replace(a.output, shape=(1, count)),)) for a in manifest.artifacts
    )
    labels = tuple(f"class {i}" for i in range(count))
    return replace(manifest, artifacts=artifacts, labels=labels)


def summary_of(folder: Path, manifest: Manifest, accuracy: object = None) -> Summary:
    """Of one report."""
    files = {**tiny_files(), "samples/targets.npz": task_targets()}
    write_folder(folder, files, write_manifest(manifest))
    report = speech_report() if manifest.chunks else example_report()
    if accuracy is not None:
        report = replace(report, accuracy=accuracy)
    return summarize(folder, [report], steps=(), pruned=None)


def right(top5: float | Unavailable) -> Accuracy:
    """Three of four, and so many among the first five."""
    return Accuracy(4, 0.75, top5, (0, 1, 2, 3), (0, 1, 2, 2), "ab" * 32, "cd" * 32)


def labels_of(summary: Summary) -> list[str]:
    """What stands before the lines of the table."""
    return [
        line.split("|")[1].strip() for line in summary.to_markdown().splitlines() if "|" in line
    ]


@pytest.mark.parametrize(("classes", "told"), [(7, False), (19, False), (20, True), (1000, True)])
def test_top5_is_told_where_there_are_many_classes(
    tmp_path: Path, classes: int, told: bool
) -> None:
    summary = summary_of(tmp_path, of_classes(classes), right(top5=0.875))
    assert ("top-5" in labels_of(summary)) is told
    assert ("| top-5 | 87.50% |" in summary.to_markdown()) is told
    assert "| top-1 | 75.00% |" in summary.to_markdown()


def test_a_report_without_top5_leaves_the_line_out(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, of_classes(1000), right(Unavailable("one class")))
    assert "top-5" not in labels_of(summary)


def test_texts_have_error_rates_and_no_top5(tmp_path: Path) -> None:
    labels = labels_of(summary_of(tmp_path, speech_manifest()))
    assert {"WER", "CER", "real time"} <= set(labels)
    assert not {"top-1", "top-5"} & set(labels)


def test_other_tasks_have_their_metrics_in_their_units(tmp_path: Path) -> None:
    report = task_report()
    summary = summary_of(tmp_path, task_manifest(), report.accuracy)
    page = summary.to_markdown()
    assert summary.measure == "mae"
    assert "| mae | 0.25 |" in page
    assert "| rmse | 0.375 |" in page
    assert not {"r2", "top-1", "score"} & set(labels_of(summary))
    assert "torch fp32: tiny 0.25." in page
    lost = replace(report.accuracy, metrics=dict.fromkeys(("mae", "rmse", "r2"), NOTHING))
    page = summary_of(tmp_path, task_manifest(), replace(lost, per_sample=NOTHING)).to_markdown()
    assert "| mae | – |" in page
