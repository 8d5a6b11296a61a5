"""docs/recipe.md and docs/recipe.schema.json: what a recipe may say, from the fields themselves.

python -m edgeticket.pipeline.recipe.page docs
"""

from __future__ import annotations

import inspect
import json
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeticket.device_runner.task import TASKS
from edgeticket.pipeline.recipe.config import Config
from edgeticket.pipeline.recipe.distil import (
    Attention,
    Decoupled,
    Distil,
    Features,
    Outputs,
    Review,
    SoftTargets,
    TeacherConfig,
)
from edgeticket.pipeline.recipe.layouts import (
    AudioConfig,
    CocoConfig,
    CocoPart,
    LetterboxConfig,
    MasksConfig,
    PairsConfig,
    SeriesConfig,
    TableConfig,
)
from edgeticket.pipeline.recipe.methods import PASS_CONFIGS, BlockBudget, Budget
from edgeticket.pipeline.recipe.methods.weights import Settled
from edgeticket.pipeline.recipe.model import ModelConfig
from edgeticket.pipeline.recipe.parts import BenchConfig, BundleConfig, TrainConfig
from edgeticket.pipeline.recipe.recipe import Recipe
from edgeticket.pipeline.recipe.sources import DataConfig
from edgeticket.pipeline.recipe.task import LOSSES, TaskConfig

INTRODUCTION = """\
# What a recipe may say

A recipe is one YAML file; `edgeticket run FILE` carries it out. Unknown keys and values that do not
fit are refused with the place and what is allowed there. `--set train.epochs=3` changes one value
on the command line. Ready recipes are in `pipeline/recipes/`.

An editor that knows JSON Schema checks and completes recipes with
[recipe.schema.json](recipe.schema.json): put `# yaml-language-server: $schema=PATH` on the first
line.

This page is made from the program (`python -m edgeticket.pipeline.recipe.page docs`); do not edit.
"""
# Headings and what stands under them; links go by these names.
SECTIONS: dict[str, type[Config]] = {
    "recipe": Recipe,
    "data": DataConfig,
    "task": TaskConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "bundle": BundleConfig,
    "bench": BenchConfig,
}
PARTS: dict[str, type[Config]] = {
    "coco": CocoConfig,
    "part of coco": CocoPart,
    "masks": MasksConfig,
    "table": TableConfig,
    "series": SeriesConfig,
    "pairs": PairsConfig,
    "audio": AudioConfig,
    "letterbox": LetterboxConfig,
    "budget": Budget,
    "budget of blocks": BlockBudget,
    "settled": Settled,
    "distil": Distil,
    "teacher": TeacherConfig,
    "soft_targets": SoftTargets,
    "outputs": Outputs,
    "dkd": Decoupled,
    "features": Features,
    "attention": Attention,
    "review": Review,
}


def page() -> str:
    """The Markdown page."""
    text = [INTRODUCTION]
    for name, config in SECTIONS.items():
        text.append(_tasks() if config is TaskConfig else _section(name, config))
    text.append("## Passes\n\nWhat `compress` lists. A pass is a mapping with its `method`.\n")
    text += [_section(method_of(config), config, level=3) for config in PASS_CONFIGS]
    text.append("## Parts of data, passes and trainings\n")
    text += [_section(name, config, level=3) for name, config in PARTS.items()]
    return "\n".join(text)


def schema() -> dict[str, Any]:
    """The JSON Schema of a recipe."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Recipe.model_json_schema(by_alias=True),
        "title": "edgeticket recipe",
    }


def method_of(config: type[Config]) -> str:
    """The word behind `method:` that means this pass."""
    return str(typing.get_args(config.model_fields["method"].annotation)[0])


def _section(name: str, config: type[Config], *, level: int = 2) -> str:
    lines = ["#" * level + f" {name}", "", _text(config), ""]
    lines += ["| key | takes | default | |", "|---|---|---|---|"]
    document = config.model_json_schema(by_alias=True)
    properties = _resolved(document, document)["properties"]
    for field, info in config.model_fields.items():
        key = info.alias or field
        if key == "method":
            continue
        cells = (
            f"`{key}`",
            _takes(properties[key], document),
            "**needed**" if info.is_required() else _shown(info.get_default()),
            info.description or "",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _tasks() -> str:
    """Each task with what may stand beside its name, and its losses."""
    lines = ["## task", "", _text(TaskConfig), ""]
    lines += ["| `name` | settings, see [tasks](tasks.md) | `train.loss` |", "|---|---|---|"]
    for name, losses in LOSSES.items():
        schema = TASKS[name].settings.schema()
        needed = schema.get("required", [])
        keys = [f"`{key}`{' (**needed**)' * (key in needed)}" for key in schema["properties"]]
        words = ", ".join(f"`{loss}`" for loss in losses)
        lines.append(f"| [`{name}`](tasks.md#{name}) | {', '.join(keys)} | {words} |")
    return "\n".join([*lines, ""])


def _text(config: type[Config]) -> str:
    """The docstring, one line a paragraph."""
    paragraphs = inspect.cleandoc(config.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(p.split()) for p in paragraphs).replace("``", "`")


def _shown(default: object) -> str:
    if isinstance(default, Config):
        said = default.model_dump(exclude_unset=True, by_alias=True)
        return ", ".join(f"{key}: {value}" for key, value in said.items()) or "as below"
    if default is None:
        return "–"
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def _resolved(value: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema behind its reference; of a choice between an object and a word, the object."""
    while "$ref" in value or "anyOf" in value:
        if "anyOf" in value:
            value = value["anyOf"][0]
        else:
            value = document["$defs"][value["$ref"].rpartition("/")[2]]
    return value


def _takes(value: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """What a field takes, in words; parts of a recipe as links."""
    if "$ref" in value or "properties" in value:
        title = value.get("title") or value["$ref"].rpartition("/")[2]
        for name, config in (SECTIONS | PARTS).items():
            if config.__name__ == title.removesuffix("-Input"):
                return f"[{name}](#{name.replace(' ', '-')})"
        return _takes(document["$defs"][title], document)
    if "anyOf" in value:
        kinds = [_takes(kind, document) for kind in value["anyOf"] if kind.get("type") != "null"]
        return ", or ".join(dict.fromkeys(kinds))
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    kind = value.get("type")
    if kind == "array":
        return _takes_list(value, document)
    if kind == "object":
        return "key: value"
    return WORDS[str(kind)] + _bounds(value)


def _takes_list(value: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    if "prefixItems" in value:
        return "[" + ", ".join(_takes(item, document) for item in value["prefixItems"]) + "]"
    items = value["items"]
    if "discriminator" in items:
        return "[passes](#passes)"
    return f"list of: {_takes(items, document)}"


def _bounds(value: Mapping[str, Any]) -> str:
    words = [f"{word} {value[key]:,}" for key, word in LIMITS.items() if key in value]
    return f" {' and '.join(words)}" if words else ""


WORDS = {"string": "text", "boolean": "true, false", "integer": "whole number", "number": "number"}
LIMITS = {
    "exclusiveMinimum": "above",
    "minimum": "from",
    "maximum": "up to",
    "exclusiveMaximum": "below",
}


def write(folder: Path) -> None:
    """Write both files into ``folder``."""
    (folder / "recipe.md").write_text(page(), encoding="utf-8")
    text = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    (folder / "recipe.schema.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
