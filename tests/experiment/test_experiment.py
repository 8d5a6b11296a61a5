"""Experiments: the grid, and that lines are whole, complete and the same however a run went."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from process_fixtures import running

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.experiment.file import Experiment, read_experiment
from edgeticket.pipeline.experiment.grid import run_experiment, run_point
from edgeticket.pipeline.experiment.lines import append_line, read_lines
from edgeticket.pipeline.experiment.workers import Workers
from edgeticket.pipeline.progress import Quiet
from edgeticket.pipeline.recipe import Magnitude
from edgeticket.pipeline.store.code import definitions_reached

TINY = """
name: tiny
data: {name: digits, train: 300, validation: 100, calibration: 20, test: 200}
model: {arch: lenet300}
train: {epochs: 1, batch_size: 50, lr: 0.05}
sparsities: [0.5, 0.9]
seeds: [3, 1]
variants:
  magnitude:
    compress:
      - {method: magnitude, sparsity: $sparsity}
      - {method: finetune, train: {epochs: 2, batch_size: 50}}
  dense: {compress: []}
"""
READY = Path(__file__).parents[2] / "pipeline" / "experiments"


def written(folder: Path, text: str = TINY, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(text) | changes, sort_keys=False))
    return path


class Listening(Quiet):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def carry_out(experiment: Experiment, out: Path, *, jobs: int = 1) -> tuple[int, list[str]]:
    """How many runs failed, and what was said."""
    progress = Listening()
    failed = run_experiment(
        experiment,
        folder=out,
        out=out,
        data_folder=out / "data",
        on=Workers(jobs=jobs),
        progress=progress,
    )
    return failed, progress.said


def lines_of(out: Path) -> list[Mapping[str, Any]]:
    """The lines without what may differ between two runs of the same point, sorted."""
    lines = [line.model_dump(exclude={"run"}) for line in read_lines(out / "tiny.jsonl")]
    return sorted(lines, key=lambda line: json.dumps(line, sort_keys=True))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    assert carry_out(read_experiment(written(out)), out, jobs=2)[0] == 0
    return out


# --- the grid


def test_the_grid_is_variant_by_sparsity_by_seed(tmp_path: Path) -> None:
    points = read_experiment(written(tmp_path)).points
    assert [(p.variant, p.sparsity, p.seed) for p in points] == [
        ("dense", None, 3),
        ("dense", None, 1),
        ("magnitude", 0.5, 3),
        ("magnitude", 0.9, 3),
        ("magnitude", 0.5, 1),
        ("magnitude", 0.9, 1),
    ]
    for point in points[2:]:
        step = point.recipe.compress[0]
        assert isinstance(step, Magnitude)
        assert step.sparsity == point.sparsity
        assert point.recipe.seed == point.seed
    assert points[0].recipe.compress == ()


def test_a_variant_changes_the_common_recipe_key_by_key(tmp_path: Path) -> None:
    variants = {
        "strong": {
            "model": {"init": "signed_constant", "init_kept": "$kept"},
            "train": None,
            "compress": [{"method": "edge_popup", "sparsity": "$sparsity"}],
        },
        "longer": {"train": {"epochs": 7}, "compress": []},
    }
    longer, *_, strong = read_experiment(written(tmp_path, variants=variants)).points
    assert longer.recipe.train is not None
    assert (longer.recipe.train.epochs, longer.recipe.train.lr) == (7, 0.05)
    assert strong.recipe.train is None
    assert (strong.recipe.model.arch, strong.recipe.model.init_kept) == ("lenet300", 0.1)


def test_the_digest_is_of_all_that_decides_the_result(tmp_path: Path) -> None:
    def digests(**changes: Any) -> list[str]:
        points = read_experiment(written(tmp_path, **changes)).points
        return [point.digest for point in points]

    before = digests()
    assert len(set(before)) == 3  # dense, and two sparsities; a seed is not part of it
    assert digests(name="other", seeds=[1, 3]) == before
    document = yaml.safe_load(TINY)
    for key, change in {
        "data": {"train": 301},
        "model": {"args": {"num_classes": 10}},
        "train": {"lr": 0.04},
    }.items():
        assert not set(digests(**{key: document[key] | change})) & set(before), key
    compress = document["variants"]["magnitude"]["compress"]
    changed = {"magnitude": {"compress": [compress[0], compress[1] | {"method": "finetune"}]}}
    changed["magnitude"]["compress"][0] |= {"scope": "layer"}
    after = digests(variants=document["variants"] | changed)
    assert after[:2] == before[:2]  # dense
    assert not set(after[2:]) & set(before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparsites": [0.5]}, r"sparsites: unknown key \(did you mean sparsities\?"),
        ({"sparsities": [0.5, 1.0]}, r"sparsities.1: .* not 1.0"),
        ({"sparsities": []}, "sparsities: "),
        ({"seeds": [1, 1]}, r"a number is given twice in \[1, 1\]"),
        ({"name": "../tiny"}, "name: "),
        ({"variants": {}}, "variants: "),
        ({"variants": {"a": {}}}, "variants.a: compress: missing"),
        ({"variants": {"a": {"compress": [], "trian": {}}}}, "variants.a: trian: unknown key"),
        (
            {"variants": {"a": {"compress": [], "train": {"epohcs": 1}}}},
            "variants.a: train.epohcs: unknown key",
        ),
        (
            {"variants": {"a": {"compress": [{"method": "magnitude", "sparsty": 0.5}]}}},
            r"variants.a: compress.0.sparsity: missing; .*sparsty",
        ),
        ({"variants": {"a": {"compress": [{"method": "ptq"}]}}}, "leave out ptq"),
        (
            {"variants": {"a": {"compress": [{"method": "magnitude", "sparsity": "$sparse"}]}}},
            r"compress.0.sparsity: .* not '\$sparse'",
        ),
    ],
)
def test_what_no_experiment_says_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_experiment(written(tmp_path, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted(READY.glob("*.yaml")), ids=lambda p: p.stem)
def test_ready_experiments_are_valid_and_named_like_their_file(path: Path) -> None:
    experiment = read_experiment(path)
    assert experiment.name == path.stem
    keys = [(p.variant, p.sparsity, p.seed) for p in experiment.points]
    assert len(set(keys)) == len(keys) > 10


# --- running


def test_every_point_leaves_one_line(undisturbed: Path) -> None:
    lines = read_lines(undisturbed / "tiny.jsonl")
    assert len(lines) == 6
    for line in lines:
        wanted = line.sparsity or 0.0
        assert line.sparsity_reached == pytest.approx(wanted, abs=1e-4)
        assert line.parameters == 266_610  # LeNet-300-100
        assert line.parameters_kept == pytest.approx(410 + 266_200 * (1 - wanted), abs=1)
        assert line.epochs == (1 if line.sparsity is None else 3)
        assert line.test_examples == 200
        assert 0 < line.test_score < 1
        assert line.steps[0]["step"] == "train"
        assert line.run.threads == 1
    # A seed's dense network is trained once, for all that start from it.
    assert len(list((undisturbed / ".stages").glob("train-*/stage.json"))) == 2


def test_what_is_done_is_not_done_again(undisturbed: Path) -> None:
    before = (undisturbed / "tiny.jsonl").read_bytes()
    failed, said = carry_out(read_experiment(undisturbed / "tiny.yaml"), undisturbed)
    assert failed == 0
    assert "0 runs of 6 to do" in said[0]
    assert (undisturbed / "tiny.jsonl").read_bytes() == before


def test_a_changed_configuration_is_run_again_beside_the_old_lines(
    undisturbed: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.jsonl").write_bytes((undisturbed / "tiny.jsonl").read_bytes())
    changed = written(tmp_path, seeds=[3], train={"epochs": 1, "batch_size": 50, "lr": 0.01})
    _, said = carry_out(read_experiment(changed), tmp_path)
    assert "3 runs of 3 to do" in said[0]
    lines = read_lines(tmp_path / "tiny.jsonl")
    assert len(lines) == 9
    assert lines_of(undisturbed) == sorted(
        (line.model_dump(exclude={"run"}) for line in lines[:6]),
        key=lambda line: json.dumps(line, sort_keys=True),
    )


def test_a_failed_run_is_told_and_stops_no_other(tmp_path: Path) -> None:
    variants = yaml.safe_load(TINY)["variants"]
    variants["diverging"] = {"train": {"lr": 1e30}, "compress": []}
    experiment = read_experiment(written(tmp_path, variants=variants, seeds=[1]))
    failed, said = carry_out(experiment, tmp_path)
    assert failed == 1
    assert [line for line in said if "diverging, seed 1: FAILED: train the dense" in line]
    assert {line.variant for line in read_lines(tmp_path / "tiny.jsonl")} == {"dense", "magnitude"}
    # The next run tries it again, and nothing else.
    assert "1 runs of 4 to do" in carry_out(experiment, tmp_path)[1][0]


def test_a_program_that_changes_while_it_runs_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeticket.pipeline.experiment.grid._code", lambda: "an older program")
    failed, said = carry_out(read_experiment(written(tmp_path, seeds=[1])), tmp_path)
    assert failed == 3
    assert all("FAILED: the program was changed while" in line for line in said[1:])
    assert not list((tmp_path / ".stages").glob("train-*"))
    assert not (tmp_path / "tiny.jsonl").exists()


def test_a_change_of_the_training_loop_is_a_change_of_the_program() -> None:
    reached = {module.rpartition(".")[2] for module, _ in definitions_reached(run_point)}
    assert {"grid", "passes", "loop", "cifar10", "edge_popup"} <= reached


def command(folder: Path, *, jobs: int) -> list[str]:
    return [
        *(sys.executable, "-m", "edgeticket.pipeline", "experiment", str(folder / "tiny.yaml")),
        *("--out", str(folder), "--data", str(folder), "--jobs", str(jobs)),
    ]


def test_a_killed_experiment_has_whole_lines_and_ends_like_an_undisturbed_one(
    undisturbed: Path, tmp_path: Path
) -> None:
    written(tmp_path)
    with running(command(tmp_path, jobs=2), stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not _has_lines(tmp_path, 2) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert 2 <= len(lines_of(tmp_path)) < 6
    done = subprocess.run(command(tmp_path, jobs=1), check=True, capture_output=True, text=True)
    assert "runs of 6 to do" in done.stdout
    assert lines_of(tmp_path) == lines_of(undisturbed)


def _has_lines(out: Path, count: int) -> bool:
    file = out / "tiny.jsonl"
    return file.exists() and file.read_bytes().count(b"\n") >= count


def test_a_run_that_is_killed_is_done_again_three_times_in_all(tmp_path: Path) -> None:
    written(tmp_path, seeds=[1], variants={"dense": {"compress": []}})
    with running(command(tmp_path, jobs=1), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert "1 runs of 1 to do" in process.stdout.readline()
        last = 0
        for _ in range(3):
            last = _worker_of(process.pid, but=last)
            os.kill(last, signal.SIGKILL)
        told = process.stdout.read()
    assert process.returncode == 1
    assert "dense, seed 1: FAILED: its process ended with exit code -9" in told
    assert not _has_lines(tmp_path, 1)


def _worker_of(pid: int, *, but: int) -> int:
    """The process that carries out a point: a grandchild, forked by the server."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in _children(pid):
            for grandchild in _children(child):
                if grandchild != but:
                    return grandchild
        time.sleep(0.01)
    raise AssertionError("no worker was started")


def _children(pid: int) -> list[int]:
    """Of all its threads: Dask's start the server."""
    children: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += map(int, thread.read_text().split())
    return children


# --- lines


def test_lines_that_are_no_results_are_refused(undisturbed: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.jsonl"
    whole = (undisturbed / "tiny.jsonl").read_bytes()
    first, second = whole.splitlines(keepends=True)[:2]
    line = read_lines(undisturbed / "tiny.jsonl")[0]
    for damaged, message in [
        (first + second[:-40], r"line 2 is not usable as JSON"),
        (first + b"[]\n", "line 2 is not a result"),
        (first.replace(b'"seed"', b'"sead"'), "line 1: sead: unknown key|line 1: seed: missing"),
        (first.replace(b'"test_score": 0.', b'"test_score": 9.'), "line 1: test_score"),
        (first.replace(b'"test_score": 0.', b'"test_score": NaN, "x": 0.'), "NaN is not a JSON"),
    ]:
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=message):
            read_lines(file)
    file.write_bytes(first[:-1])
    with pytest.raises(InputError, match="does not end with a whole line"):
        append_line(file, line)
    assert file.read_bytes() == first[:-1]
    file.unlink()
    append_line(file, line)
    assert file.read_bytes() == first


def test_states_of_rewinding_go_when_all_lines_are_there(tmp_path: Path) -> None:
    brief = {"epochs": 2, "batch_size": 50}
    compress = [{"method": "rewinding", "sparsity": "$sparsity", "share": 0.5, "train": brief}]
    variants = {"rewinding": {"train": None, "compress": compress}}
    file = written(tmp_path, variants=variants, seeds=[1], sparsities=[0.5, 0.75])
    experiment = read_experiment(file)
    out = tmp_path / "out"
    failed, said = carry_out(experiment, out)
    assert failed == 0
    assert [line for line in said if "removed the states of 1 pruning" in line]
    assert not list((out / ".stages").glob("levels-*/"))
