"""What recipes may say is described where it is checked, and documents are made from that."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeticket.pipeline.recipe import PASS_CONFIGS, Config, PassConfig, Recipe, read_recipe
from edgeticket.pipeline.recipe.page import PARTS, SECTIONS, page, schema
from edgeticket.pipeline.recipe.reading import parse_document

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "pipeline" / "recipes").glob("*.yaml"))


def all_configs() -> Iterator[type[Config]]:
    """Every config that a recipe can hold, by what pydantic itself says."""
    waiting: list[type[Config]] = [Config]
    while waiting:
        config = waiting.pop()
        waiting += config.__subclasses__()
        if config is not PassConfig and config.__module__.startswith("edgeticket.pipeline.recipe"):
            yield config


def test_no_field_is_without_a_description() -> None:
    fields = [(c.__name__, n, i) for c in all_configs() for n, i in c.model_fields.items()]
    assert len(fields) > 105
    assert [f"{config}.{name}" for config, name, info in fields if not info.description] == []


def test_every_config_of_a_recipe_has_a_section() -> None:
    defined = {name.removesuffix("-Input") for name in Recipe.model_json_schema()["$defs"]}
    shown = {config.__name__ for config in (*SECTIONS.values(), *PARTS.values(), *PASS_CONFIGS)}
    assert defined | {"Recipe"} == shown


def test_the_documents_are_those_of_the_fields() -> None:
    """If not: python -m edgeticket.pipeline.recipe.page docs"""
    assert (ROOT / "docs/recipe.md").read_text() == page()
    assert json.loads((ROOT / "docs/recipe.schema.json").read_text()) == schema()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_an_editor_accepts_what_the_program_accepts(path: Path) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    written = parse_document(path.read_text())
    validator.validate(written)
    # All of it, with every default written out.
    validator.validate(read_recipe(path).model_dump(mode="json", by_alias=True))
    for key, value in (("epochs", 3), ("seed", "7"), ("data", {"nmae": "digits"})):
        wrong: dict[str, Any] = {**copy.deepcopy(written), key: value}
        assert not validator.is_valid(wrong), key


def test_short_forms_are_in_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    validator = jsonschema.Draft202012Validator(schema())
    document = {
        "name": "x",
        "data": {"name": "digits"},
        "model": {"arch": "lenet5"},
        "train": {"epochs": 1},
        "compress": [
            {
                "method": "finetune",
                "train": {
                    "distil": {"teacher": "dense", "features": {"layers": ["a", ["b", "c"]]}}
                },
            },
            {"method": "ptq"},
        ],
    }
    validator.validate(document)
