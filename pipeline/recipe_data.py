"""The data of a recipe, checked against its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import models
from device_runner.errors import InputError
from models.network import skeleton
from pipeline.data import Dataset, load_dataset
from pipeline.recipe import ModelConfig, Recipe

Pixels = tuple[float, ...]


def load_recipe_data(recipe: Recipe, *, folder: Path) -> Dataset:
    """The data set of ``recipe``, split by its seed, with the pixels that its network expects.

    Raises:
        InputError: it is not in the data ``folder``, or data and network do not fit.
    """
    data = load_dataset(recipe.data, seed=recipe.seed, folder=folder)
    model = recipe.model
    steps = pixels_of_weights(model.pixel_mean, model.pixel_std, data, place="model")
    check_takes(model.arch, model.args, data, place="model")
    _check_classes(model, data)
    return replace(data, preprocessing=steps)


def pixels_of_weights(
    mean: Pixels | None, std: Pixels | None, data: Dataset, *, place: str
) -> tuple[Mapping[str, Any], ...]:
    """The preprocessing that imported weights expect: that of the pixels they were trained with.

    Args:
        mean: for each channel, in 0..255; None, as ``std``, takes that of ``data``.
        place: where messages say that the two numbers stand.

    Raises:
        InputError: one is missing, or they do not fit the data.
    """
    if mean is None and std is None:
        return data.preprocessing
    channels = data.input_shape[0]
    if data.test.inputs.dtype != np.uint8:
        raise InputError(
            f"{place}.pixel_mean and {place}.pixel_std are for images, and {data.name} has none; "
            "leave them out"
        )
    if mean is None or std is None or {len(mean), len(std)} != {channels} or min(std) <= 0:
        raise InputError(
            f"{place}.pixel_mean and {place}.pixel_std: give both, {channels} numbers each (one "
            f"per channel of {data.name}, in 0..255), std above 0; not {mean} and {std}"
        )
    return ({"op": "normalize", "mean": list(mean), "std": list(std)},)


def check_takes(arch: str, args: models.Args, data: Dataset, *, place: str) -> None:
    """A network must take the inputs of the data; ``place`` is where messages say it is named.

    Raises:
        InputError: it does not, or there is no such network.
    """
    try:
        takes = models.input_shape(arch, args)
        skeleton(arch, args, {})  # arguments can contradict one another
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None
    if takes != data.input_shape:
        raise InputError(
            f"{place}: {arch} takes inputs of {_by(takes)} (channels x height x width), but "
            f"{data.name} has {_by(data.input_shape)}; choose another arch, or set "
            f"args.{' and args.'.join(models.size_arguments(arch))}"
        )


def _check_classes(model: ModelConfig, data: Dataset) -> None:
    gives = models.num_classes(model.arch, model.args)
    if gives != len(data.labels):
        raise InputError(
            f"model: {model.arch} has {gives} outputs, but {data.name} has {len(data.labels)} "
            f"classes; set model.args.num_classes"
        )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
