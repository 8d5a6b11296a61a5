"""The task of a recipe: whole when it is read, and refused in one sentence where it cannot be."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from edgeticket.device_runner.task import TASKS
from edgeticket.pipeline.errors import RecipeError
from edgeticket.pipeline.recipe import Recipe, read_recipe
from edgeticket.pipeline.recipe.page import schema
from edgeticket.pipeline.recipe.reading import check
from edgeticket.pipeline.recipe.task import LOSSES

TEXT = """
name: a
data: {npz: a.npz}
model: {arch: resnet20}
train: {epochs: 1}
compress: [{method: ptq}]
"""


def read(tmp_path: Path, *overrides: str) -> Recipe:
    file = tmp_path / "a.yaml"
    file.write_text(TEXT)
    return read_recipe(file, overrides)


@pytest.mark.parametrize("name", LOSSES)
def test_a_task_is_written_out_whole_and_read_back(tmp_path: Path, name: str) -> None:
    more = ", input: [8, 8], scores: {count: 2}" if name == "boxes" else ""
    recipe = read(tmp_path, f"task={{name: {name}{more}}}")
    document = recipe.model_dump(mode="json", by_alias=True)
    assert document["task"].keys() == {"name", *TASKS[name].settings.schema()["properties"]}
    assert check(Recipe, document, place="a") == recipe
    assert recipe.task is not None
    assert recipe.task.task.name == name
    assert dict(recipe.task.task.settings) == {
        key: value for key, value in document["task"].items() if key != "name"
    }
    Draft202012Validator(schema()).validate({**document, "data": {"npz": "a.npz"}})
    if name != "boxes":
        assert read(tmp_path, f"task={name}") == recipe


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("mask", "task.name: should be 'labels'"),
        ("{name: masks, output: -1}", "task: output: found -1, allowed: 0 or more"),
        ("{name: masks, outputs: 1}", "task: unknown key 'outputs'"),
        ("boxes", "task boxes needs input, scores"),
        ("{name: boxes, input: [8, 8], scores: {}}", "task: scores: the key 'count' is missing"),
        ("{name: masks, form: classes, by: bilinear, enlarge: 2}", "between two classes is none"),
        ("5", "task: should be a mapping of keys, not 5"),
    ],
)
def test_what_a_task_cannot_be_is_one_sentence(tmp_path: Path, task: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(tmp_path, f"task={task}")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_schema_of_recipes_refuses_what_the_task_refuses(tmp_path: Path) -> None:
    document = json.loads(read(tmp_path).model_dump_json(by_alias=True, exclude_unset=True))
    validator = Draft202012Validator(schema())
    for task, right in (
        ("masks", True),
        ({"name": "masks", "ignore": 3}, True),
        ({"name": "masks", "ignored": 3}, False),
        ({"name": "boxes"}, False),
        ("mask", False),
    ):
        assert validator.is_valid({**document, "task": task}) == right, task


def test_a_loss_is_one_of_the_task_or_a_function(tmp_path: Path) -> None:
    assert read(tmp_path, "task=masks", "train.loss=dice").train is not None
    assert read(tmp_path, "task=masks", "train.loss=my.losses:focal").train is not None
    with pytest.raises(RecipeError, match=r"train.loss: no loss 'mse' for task masks \(known: cro"):
        read(tmp_path, "task=masks", "train.loss=mse")
    with pytest.raises(RecipeError, match=r"train.loss: no loss 'mes' \(known: bce"):
        read(tmp_path, "train.loss=mes")
