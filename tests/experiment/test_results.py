"""Result lines to a document: golden bytes, what is chosen, what is refused."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.experiment.lines import Circumstances, Line, append_line, read_lines
from edgeticket.pipeline.experiment.results import latest_cells, write_results

GOLDEN = Path(__file__).parents[1] / "golden" / "results.md"

# test top-1 by variant, sparsity and seed
MEASURED = {
    ("dense", None): [0.9, 0.91, 0.92],
    ("magnitude", 0.5): [0.895, 0.905, 0.915],
    ("magnitude", 0.98): [0.8, 0.82],
    ("edge_popup", 0.98): [0.81, 0.83, 0.82],
}


def line(variant: str, sparsity: float | None, seed: int, top1: float, **changes: Any) -> Line:
    reached = sparsity + 0.0004 if sparsity else 0.0
    values: dict[str, Any] = {
        "experiment": "small",
        "variant": variant,
        "sparsity": sparsity,
        "seed": seed,
        "digest": "0" * 32,
        "dataset": "digits",
        "arch": "lenet300",
        "sparsity_reached": reached,
        "parameters": 266_610,
        "parameters_kept": int(266_610 * (1 - reached)),
        "epochs": 8 if sparsity is None else 16 + int(10 * sparsity),
        "validation_score": top1 - 0.001,
        "test_score": top1,
        "test_examples": 1000,
        "steps": ({"step": "train"},),
        "run": Circumstances(
            seconds=10.5, versions={}, cpu="a CPU", architecture="x86_64", device="x", threads=1
        ),
    }
    return Line(**(values | changes))


def measured() -> list[Line]:
    return [
        line(variant, sparsity, seed, top1)
        for (variant, sparsity), values in MEASURED.items()
        for seed, top1 in enumerate(values)
    ]


def stored(folder: Path, lines: list[Line]) -> Path:
    folder.mkdir()
    for result in lines:
        append_line(folder / f"{result.experiment}.jsonl", result)
    return folder


PUBLISHED = """
experiments:
  later: []
  small:
    - {method: theirs, network: VGG, dataset: cifar10, kept: 0.05, top1: 0.9148, source: a paper}
"""


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # the document names the folder as it was given
    return tmp_path


@pytest.mark.usefixtures("in_a_folder")
def test_the_document_is_golden(request: pytest.FixtureRequest) -> None:
    older = line("magnitude", 0.5, 0, 0.1, digest="1" * 32)
    results = stored(Path("results"), [older, *measured()])
    (results / "published.yaml").write_text(PUBLISHED)
    (plot,) = write_results(results, Path("docs.md"))
    assert Path("docs.md").read_text() == GOLDEN.read_text()
    drawn = plot.read_text()
    assert drawn.startswith("<?xml")
    for text in ("magnitude", "edge_popup", "dense", "small"):
        assert f">{text}</text>" in drawn


@pytest.mark.usefixtures("in_a_folder")
def test_tables_of_runs_stand_at_the_end() -> None:
    results = stored(Path("results"), measured())
    (results / "runs").mkdir()
    for name in ("b", "a"):
        (results / "runs" / f"{name}.md").write_text(f"# {name}\n\n| | x |\n")
    write_results(results, Path("docs.md"))
    assert Path("docs.md").read_text().endswith("\n\n### a\n\n| | x |\n\n### b\n\n| | x |\n")
    (results / "runs" / "c.md").write_text("no table")
    with pytest.raises(InputError, match=r"runs/c\.md is no table of a run"):
        write_results(results, Path("docs.md"))


@pytest.mark.usefixtures("in_a_folder")
def test_the_same_lines_give_the_same_bytes() -> None:
    results = stored(Path("results"), measured())
    (plot,) = write_results(results, Path("docs.md"))
    before = Path("docs.md").read_bytes(), plot.read_bytes()
    (results / "small.jsonl").unlink()
    for result in reversed(measured()):  # whichever run ended first
        append_line(results / "small.jsonl", result)
    write_results(results, Path("docs.md"))
    assert (Path("docs.md").read_bytes(), plot.read_bytes()) == before


def test_mean_and_deviation_are_over_seeds() -> None:
    cells, superseded = latest_cells(measured())
    assert superseded == 0
    for key, values in MEASURED.items():
        assert cells[key].mean == pytest.approx(statistics.mean(values))
        assert cells[key].deviation == pytest.approx(statistics.stdev(values))
    single, _ = latest_cells(measured()[:1])
    assert single["dense", None].deviation is None
    assert str(single["dense", None]) == "90.00"


def test_configurations_are_never_mixed() -> None:
    old = [line("magnitude", 0.5, seed, 0.1, digest="a") for seed in range(3)]
    new = [line("magnitude", 0.5, seed, 0.9, digest="b") for seed in range(2)]
    cells, superseded = latest_cells([*old[:2], *new, old[2]])
    assert [x.test_score for x in cells["magnitude", 0.5].lines] == [0.1, 0.1, 0.1]
    assert superseded == 2
    cells, superseded = latest_cells([*old, *new])
    assert [x.test_score for x in cells["magnitude", 0.5].lines] == [0.9, 0.9]
    assert superseded == 3
    # One seed that was run twice counts once.
    again = line("magnitude", 0.5, 1, 0.8, digest="b")
    cells, superseded = latest_cells([*new, again])
    assert [x.test_score for x in cells["magnitude", 0.5].lines] == [0.9, 0.8]
    assert superseded == 1


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no result lines in .*: run `edgeticket experiment`"):
        write_results(tmp_path / "empty", tmp_path / "docs.md")
    results = stored(tmp_path / "results", measured())
    for text, message in [
        ("experimnts: {}", "experimnts: unknown key"),
        (PUBLISHED.replace("0.9148", "91.48"), r"small.0.top1: .* not 91.48"),
    ]:
        (results / "published.yaml").write_text(text)
        with pytest.raises(InputError, match=message):
            write_results(results, tmp_path / "docs.md")
    assert not (tmp_path / "docs.md").exists()


def test_scores_of_other_tasks_have_their_direction_and_unit(tmp_path: Path) -> None:
    of_numbers = {"measure": "mae", "unit": "target", "lower_is_better": True}
    lines = [
        line("dense", None, 0, 1.25, **of_numbers),
        line("magnitude", 0.5, 0, 2.5, **of_numbers),
        line("edge_popup", 0.5, 0, 7.5, **of_numbers),
    ]
    folder = stored(tmp_path / "lines", lines)
    write_results(folder, tmp_path / "out.md")
    page = (tmp_path / "out.md").read_text()
    assert "**2.5**" in page  # the lower one is the best
    assert "**7.5**" not in page
    assert "1000 test samples; mae, lower is better" in page.replace(",000", "000")
    assert "mae on test" in (tmp_path / "out" / "small.svg").read_text()


def test_lines_of_classes_are_read_as_they_were_written(tmp_path: Path) -> None:
    document = line("dense", None, 0, 0.5).model_dump(mode="json")
    for name in ("measure", "unit", "lower_is_better"):
        del document[name]
    document["validation_top1"] = document.pop("validation_score")
    document["test_top1"] = document.pop("test_score")
    (tmp_path / "old.jsonl").write_text(json.dumps(document) + "\n")
    (read,) = read_lines(tmp_path / "old.jsonl")
    assert read == line("dense", None, 0, 0.5)
    document["test_top1"] = 1.5
    (tmp_path / "old.jsonl").write_text(json.dumps(document) + "\n")
    with pytest.raises(InputError, match="line 1: test_top1: a share is from 0 to 1"):
        read_lines(tmp_path / "old.jsonl")
