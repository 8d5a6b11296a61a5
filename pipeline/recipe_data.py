"""The data of a recipe, checked against its network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import models
from device_runner.errors import InputError
from models.network import skeleton
from pipeline.data import Dataset, load_dataset
from pipeline.recipe import Recipe


def load_recipe_data(recipe: Recipe, *, folder: Path) -> Dataset:
    """The data set of ``recipe``, split by its seed, with the pixels that its network expects.

    Raises:
        InputError: it is not in the data ``folder``, or data and network do not fit.
    """
    data = load_dataset(recipe.data, seed=recipe.seed, folder=folder)
    data = _with_pixels_of_the_weights(data, recipe)
    _check_fit(recipe, data)
    return data


def _with_pixels_of_the_weights(data: Dataset, recipe: Recipe) -> Dataset:
    """Imported weights expect the pixels that they were trained with."""
    mean, std = recipe.model.pixel_mean, recipe.model.pixel_std
    if mean is None and std is None:
        return data
    channels = data.test.inputs.shape[-1]
    if mean is None or std is None or {len(mean), len(std)} != {channels} or min(std) <= 0:
        raise InputError(
            f"model.pixel_mean and model.pixel_std: give both, {channels} numbers each (one per "
            f"channel of {data.name}, in 0..255), std above 0; not {mean} and {std}"
        )
    return replace(data, preprocessing=({"op": "normalize", "mean": list(mean), "std": list(std)},))


def _check_fit(recipe: Recipe, data: Dataset) -> None:
    """Network and data must agree before anything long begins."""
    arch, args = recipe.model.arch, recipe.model.args
    try:
        takes, gives = models.input_shape(arch, args), models.num_classes(arch, args)
        skeleton(arch, args, {})  # arguments can contradict one another
    except ValueError as error:
        raise InputError(f"model: {error}") from None
    if takes != data.input_shape:
        raise InputError(
            f"model: {arch} takes inputs of {_by(takes)} (channels x height x width), but "
            f"{data.name} has {_by(data.input_shape)}; choose another arch, or set args.in_channels"
        )
    if gives != len(data.labels):
        raise InputError(
            f"model: {arch} has {gives} outputs, but {data.name} has {len(data.labels)} classes; "
            f"set model.args.num_classes"
        )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
