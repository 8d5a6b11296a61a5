"""`edgeticket bundle --task`: what users write, and one sentence for what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_networks import Case, make_case
from typer.testing import CliRunner

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.external.asked import read_task


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case("masks", tmp_path_factory.mktemp("masks"))


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def bundle(case: Case, out: Path, *words: Any) -> list[str]:
    """The words of the command."""
    samples = ["--samples", str(case.samples)] if "--random" not in words else []
    return ["bundle", str(case.models[0]), *samples, "-o", str(out), *map(str, words)]


def test_a_task_with_targets_and_names(masks: Case, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("road\nsky\ncar\n")
    words = ["--task", "masks", "--targets", masks.targets, "--task-settings", "agree_share=0.9"]
    told = run(*bundle(masks, tmp_path / "b", *words, "--names", names))
    assert "task masks" in told
    with open_bundle(tmp_path / "b") as opened:
        assert opened.manifest.task == Task("masks", {"agree_share": 0.9})
        assert opened.manifest.labels == ("road", "sky", "car")
        _, targets = opened.examples()
    assert isinstance(targets, dict)
    np.testing.assert_array_equal(targets["mask"], masks.arrays["mask"])


def test_the_only_target_may_be_an_npy(masks: Case, tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", masks.arrays["mask"])
    words = ["--task", "masks", "--targets", tmp_path / "mask.npy"]
    run(*bundle(masks, tmp_path / "b", *words))
    with open_bundle(tmp_path / "b") as opened:
        assert opened.manifest.samples.targets == "samples/targets.npz"


def test_without_targets_agreement_is_told(masks: Case, tmp_path: Path) -> None:
    told = run(*bundle(masks, tmp_path / "b", "--task", "masks", "--random", 5))
    assert "without targets: reports tell when masks agree" in told


def write(arrays: dict[str, Any]) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        np.savez(folder / "t.npz", **arrays)
        return folder / "t.npz"

    return save


MASK = np.zeros((12, 4, 5), np.uint8)


@pytest.mark.parametrize(
    ("words", "targets", "sentence"),
    [
        (["--task", "mask"], None, "there is no task 'mask'; did you mean masks"),
        (["--task", "transcripts"], None, "only recipes make bundles of transcripts"),
        (["--task", "masks", "--task-settings", "form=sideways"], None, "form"),
        (["--task", "masks", "--task-settings", "absent.json"], None, "absent.json"),
        (["--task", "masks", "--task-settings", "shape=1"], None, "shape"),
        (["--task", "masks", "--task-settings", "output=3"], None, "reads output 3"),
        (["--task", "keypoints"], None, "keypoints"),
        (["--task-settings", "output=0"], None, "give --task with its name"),
        ([], write({"mask": MASK}), "give --task with its name"),
        (["--task", "nothing"], write({"mask": MASK}), "nothing takes no targets"),
        (["--task", "classes"], write({"mask": MASK}), "--targets are for a task"),
        (["--task", "classes"], None, "which is not"),
        (["--task", "masks", "--random", "3"], write({"mask": MASK}), "nothing is right about"),
        (["--task", "masks"], write({"mask": MASK[:5]}), "'mask' is for 5 samples, there are 12"),
        (["--task", "masks"], write({"mask": MASK[:, :2]}), "set enlarge"),
        (["--task", "masks"], write({"mask": MASK + 7}), "has class 7, the output has 3 classes"),
        (["--task", "masks"], write({"masks": MASK}), "hold 'masks', which masks does not know"),
        (["--task", "boxes", "--task-settings", "input=[8,8]"], None, "scores"),
    ],
)  # fmt: skip
def test_what_does_not_fit_makes_no_bundle(
    masks: Case,
    tmp_path: Path,
    words: list[str],
    targets: Callable[[Path], Path] | None,
    sentence: str,
) -> None:
    given = [] if targets is None else ["--targets", targets(tmp_path)]
    with pytest.raises(InputError) as caught:
        run(*bundle(masks, tmp_path / "b", *words, *given))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_settings_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"form": "classes", "ignore": 0}')
    task = read_task("masks", [str(tmp_path / "s.json"), "ignore=-1", "agree_share=0.5"])
    assert task.settings == {"form": "classes", "ignore": -1, "agree_share": 0.5}
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(InputError, match="is no JSON object"):
        read_task("masks", [str(tmp_path / "list.json")])
