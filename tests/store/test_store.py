"""The stage store: whole results or none, keyed by everything that decides them."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from process_fixtures import running

from edgeticket.pipeline.store import Result, Store, canonical_json

DEFAULTS: dict[str, Any] = {
    "config": {"a": 1},
    "inputs": {"x": "1"},
    "tools": ["numpy"],
}


class Work:
    """A stage that counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def make(self, folder: Path, resume: Path) -> None:
        self.runs += 1
        (folder / "value.txt").write_text("42")


def stage(root: Path, work: Work, **changes: Any) -> Result:
    return Store(root).stage("work", work.make, **{**DEFAULTS, **changes})


def test_a_second_run_reuses_the_first(tmp_path: Path) -> None:
    work = Work()
    first, second = stage(tmp_path, work), stage(tmp_path, work)
    assert work.runs == 1
    assert (first.reused, second.reused) == (False, True)
    assert (first.folder, first.digest) == (second.folder, second.digest)
    assert (second.folder / "value.txt").read_text() == "42"


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"a": 2}},
        {"inputs": {"x": "2"}},
        {"tools": ["torch"]},
    ],
    ids=lambda c: next(iter(c)),
)
def test_whatever_decides_the_result_is_in_the_key(tmp_path: Path, change: dict[str, Any]) -> None:
    work = Work()
    assert stage(tmp_path, work).folder != stage(tmp_path, work, **change).folder
    assert work.runs == 2


def test_the_code_that_makes_it_is_in_the_key(tmp_path: Path) -> None:
    work = Work()
    done_with = functools.partial(write_with, how=finish_well)
    other = functools.partial(write_with, how=finish_otherwise)
    first = Store(tmp_path).stage("work", done_with, **DEFAULTS)
    assert Store(tmp_path).stage("work", other, **DEFAULTS).folder != first.folder
    assert Store(tmp_path).stage("work", done_with, **DEFAULTS).reused
    assert stage(tmp_path, work).folder != first.folder


def write_with(folder: Path, resume: Path, *, how: Callable[[Path], None]) -> None:
    how(folder / "value.txt")


def finish_well(file: Path) -> None:
    file.write_text("well")


def finish_otherwise(file: Path) -> None:
    file.write_text("otherwise")


def test_fresh_makes_it_again(tmp_path: Path) -> None:
    work = Work()
    stage(tmp_path, work)
    assert not stage(tmp_path, work, fresh=True).reused
    assert work.runs == 2


def test_how_long_it_took_is_kept_and_unknown_of_what_was_resumed(tmp_path: Path) -> None:
    def works(folder: Path, resume: Path) -> None:
        time.sleep(0.02)

    first, again = (Store(tmp_path).stage("w", works, **DEFAULTS) for _ in range(2))
    assert first.seconds is not None
    assert first.seconds >= 0.02
    assert again.seconds == first.seconds
    work = Work()
    broken = stage(tmp_path, work)
    (broken.folder / "stage.json").unlink()
    scratch = broken.folder.with_name(broken.folder.name + ".partial") / "resume"
    scratch.mkdir(parents=True)
    (scratch / "state").write_text("half")
    assert stage(tmp_path, work).seconds is None
    assert stage(tmp_path, work).seconds is None  # found again


@pytest.mark.parametrize("damage", ["change", "remove", "add", "record"])
def test_a_damaged_result_is_made_again(tmp_path: Path, damage: str) -> None:
    work = Work()
    folder = stage(tmp_path, work).folder
    if damage == "change":
        (folder / "value.txt").write_text("43")
    elif damage == "remove":
        (folder / "value.txt").unlink()
    elif damage == "add":
        (folder / "more.txt").write_text("")
    else:
        (folder / "stage.json").write_text("{")
    repaired = stage(tmp_path, work)
    assert work.runs == 2
    assert (repaired.folder / "value.txt").read_text() == "42"


def test_a_failing_stage_leaves_no_result_but_its_resume_state(tmp_path: Path) -> None:
    attempts: list[list[str]] = []

    def make(folder: Path, resume: Path) -> None:
        attempts.append(sorted(f.name for f in resume.iterdir()))
        assert not list(folder.iterdir())
        (folder / "value.txt").write_text("half")
        (resume / "state").write_text("epoch 1")
        if len(attempts) == 1:
            raise RuntimeError("stopped")

    root = Store(tmp_path)
    with pytest.raises(RuntimeError, match="stopped"):
        root.stage("work", make, **DEFAULTS)
    result = root.stage("work", make, **DEFAULTS)
    assert attempts == [[], ["state"]]
    assert not [f for f in tmp_path.iterdir() if f.name.endswith(".partial")]
    assert sorted(f.name for f in result.folder.iterdir()) == ["stage.json", "value.txt"]


SLOW_STAGE = """
import sys, time
from pathlib import Path
from edgeticket.pipeline.store import Store

def make(folder, resume):
    for i in range(20):
        (folder / f"{i}.txt").write_text(str(i) * 1000)
        time.sleep(0.01)

store = Store(Path(sys.argv[1]))
result = store.stage("work", make, config={}, inputs={}, tools=[])
print(result.digest, result.reused)
"""


def slow_stage(root: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    root.mkdir(exist_ok=True)
    script = root / "slow_stage.py"
    if not script.exists():
        script.write_text(SLOW_STAGE)
    command = [sys.executable, str(script), str(root)]
    return running(command, stdout=subprocess.PIPE)


def test_killed_at_any_moment_the_result_is_whole_or_absent(tmp_path: Path) -> None:
    with slow_stage(tmp_path / "undisturbed") as process:
        undisturbed = process.communicate()[0].split()[0]
    for attempt in range(8):
        with slow_stage(tmp_path / "killed"):
            time.sleep(0.15 + 0.05 * attempt)  # then it is killed
        for folder in (tmp_path / "killed").glob("work-*[0-9a-f]"):
            assert len(list(folder.iterdir())) == 21
    with slow_stage(tmp_path / "killed") as process:
        digest = process.communicate()[0].split()[0]
    assert digest == undisturbed


def test_two_processes_share_one_result(tmp_path: Path) -> None:
    with slow_stage(tmp_path) as first, slow_stage(tmp_path) as second:
        outputs = [process.communicate()[0].split() for process in (first, second)]
    assert outputs[0][0] == outputs[1][0]
    assert sorted(output[1] for output in outputs) == ["False", "True"]


def test_canonical_json_is_one_text_for_one_value() -> None:
    assert canonical_json({"b": [1, None], "a": 0.5}) == b'{"a":0.5,"b":[1,null]}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        stage(tmp_path / "inside", Work())
