"""The recipe of a run with what was decided by measuring written out, to read and to run again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from edgeticket.pipeline.recipe import Recipe


def decided_recipe(recipe: Recipe, steps: Sequence[Mapping[str, Any]]) -> Recipe:
    """``recipe`` with the layers in ``keep_fp32`` that ``max_drop`` came to.

    Args:
        steps: the log, whose last entries are those of the passes.
    """
    passes = []
    for cfg, entry in zip(recipe.compress, steps[len(steps) - len(recipe.compress) :], strict=True):
        kept = entry.get("mixed_precision")
        changed = {} if kept is None else {"keep_fp32": tuple(kept["keep_fp32"]), "max_drop": None}
        passes.append(cfg.model_copy(update=changed))
    return recipe.model_copy(update={"compress": tuple(passes)})


def recipe_text(recipe: Recipe, *, folder: Path) -> str:
    """YAML with what the recipe says, defaults left out, and how to run it again.

    Args:
        folder: where relative paths in it start.
    """
    document = recipe.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for cfg in document["compress"]:
        if cfg.get("max_drop", ...) is None:
            del cfg["max_drop"]
    body = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    place = os.path.abspath(folder)
    return (
        f"# {recipe.name} as it was carried out, with what was decided by measuring written out.\n"
        f"# Relative paths in it start in {place!r}: run it again from there.\n{body}"
    )
