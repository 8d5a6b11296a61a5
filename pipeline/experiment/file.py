"""What an experiment file may say.

An experiment is a grid, variant × sparsity × seed. A variant is what it changes about a common
recipe; `$sparsity`, `$kept` (1 − sparsity), `$root_kept` (its root) and `$root_kept_10` (the root
of ten times as much, at most 1) stand for the sparsity of a point. A variant that names none of
them, such as the dense network, is run once a seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from edgeticket.pipeline.recipe import (
    Config,
    DataConfig,
    ModelConfig,
    Recipe,
    TrainConfig,
    check,
    read_document,
)
from edgeticket.pipeline.store import canonical_json

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Sparsity = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Grid(Config):
    """An experiment file as it is written."""

    name: Name  # lines go to <name>.jsonl
    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    sparsities: Annotated[tuple[Sparsity, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    variants: Annotated[Mapping[Name, Mapping[str, Any]], Field(min_length=1)]  # see `Variant`

    @model_validator(mode="after")
    def _each_point_once(self) -> Grid:
        for numbers in (self.sparsities, self.seeds):
            if len(set(numbers)) < len(numbers):
                raise ValueError(f"a number is given twice in {list(numbers)}")
        return self


class Variant(Config):
    """What one variant changes about the common recipe. Mappings are merged key by key."""

    model: Mapping[str, Any] = {}
    train: Mapping[str, Any] | None = {}  # null: nothing is trained before the first pass
    compress: tuple[Mapping[str, Any], ...]


class PointRecipe(Recipe):
    """The recipe of one point of the grid: torch values only, so nothing is quantised."""

    @model_validator(mode="after")
    def _ends_in_int8(self) -> PointRecipe:
        if any(step.decides_scales for step in self.compress):
            raise ValueError(
                "compress: an experiment judges fp32 networks, so leave out ptq and qat"
            )
        return self


@dataclass(frozen=True)
class Point:
    """One run of an experiment."""

    variant: str
    sparsity: float | None  # wanted; None: the variant has none
    recipe: PointRecipe

    @property
    def seed(self) -> int:
        """The seed of everything random in the run, the split of the data included."""
        return self.recipe.seed

    @property
    def digest(self) -> str:
        """32 hex digits of SHA-256: all that decides the result, but for the seed.

        Defaults are left out, so that a setting which is added later, off by default, does not
        orphan the lines that are there. A default whose value changes must get a new name.
        """
        decides = self.recipe.model_dump(
            mode="json",
            include={"data", "model", "train", "compress"},
            exclude_defaults=True,
            by_alias=True,
        )
        return hashlib.sha256(canonical_json(decides)).hexdigest()[:32]

    def __str__(self) -> str:
        wanted = "" if self.sparsity is None else f" at {self.sparsity:.4g}"
        return f"{self.variant}{wanted}, seed {self.seed}"


@dataclass(frozen=True)
class Experiment:
    """A checked experiment: every point of its grid, in the order in which they are run."""

    name: str
    points: tuple[Point, ...]


def read_experiment(path: Path) -> Experiment:
    """Read an experiment file and lay out its grid.

    What has no sparsity comes first, because the others start from it; then all of the first
    seed, so that an experiment which is stopped early has a whole table.

    Raises:
        InputError: the file is missing, no YAML, or says something that an experiment cannot.
    """
    grid = check(Grid, read_document(path, kind="experiment"), place=str(path))
    # What is not given stays so: sizes of splits fit the data then.
    parts = {"name", "data", "model", "train"}
    common = grid.model_dump(mode="json", include=parts, exclude_unset=True, by_alias=True)
    points = []
    for name, document in grid.variants.items():
        place = f"{path}: variants.{name}"
        variant = check(Variant, document, place=place)
        changes = variant.model_dump(mode="json", exclude_unset=True, by_alias=True)
        sparsities = grid.sparsities if _has_placeholder(changes) else (None,)
        for seed in grid.seeds:
            for sparsity in sparsities:
                recipe = _merged(common, _filled(changes, sparsity)) | {"seed": seed}
                points.append(Point(name, sparsity, check(PointRecipe, recipe, place=place)))
    points.sort(key=lambda point: (point.sparsity is not None, grid.seeds.index(point.seed)))
    return Experiment(grid.name, tuple(points))


def _has_placeholder(value: Any) -> bool:
    if isinstance(value, Mapping | list):
        items = value.values() if isinstance(value, Mapping) else value
        return any(_has_placeholder(item) for item in items)
    return value in PLACEHOLDERS


def _filled(value: Any, sparsity: float | None) -> Any:
    """``value`` with numbers for its placeholders."""
    if isinstance(value, Mapping):
        return {key: _filled(item, sparsity) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, sparsity) for item in value]
    if value in PLACEHOLDERS and sparsity is not None:
        return PLACEHOLDERS[value](sparsity)
    return value


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


PLACEHOLDERS = {
    "$sparsity": lambda sparsity: sparsity,
    "$kept": lambda sparsity: round(1 - sparsity, 12),  # 0.1, not 0.09999999999999998
    "$root_kept": lambda sparsity: round((1 - sparsity) ** 0.5, 4),
    "$root_kept_10": lambda sparsity: round(min(1.0, 10 * (1 - sparsity)) ** 0.5, 4),
}
