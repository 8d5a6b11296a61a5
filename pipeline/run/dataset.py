"""The data of a recipe, checked against its network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data import Dataset, load_dataset
from edgeticket.pipeline.data.unlabelled import random_dataset
from edgeticket.pipeline.network.finished import model_args, takes_of
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import Recipe
from edgeticket.pipeline.run.fitting import check_takes, check_task, pixels_of_weights, size_text
from edgeticket.pipeline.run.hearing import chunks_of, transcribes
from edgeticket.pipeline.run.inputs import drawn_for, in_order_of_network


def load_recipe_data(
    recipe: Recipe,
    *,
    folder: Path,
    beside: Sequence[Path] = (),
    store: Path | None = None,
    progress: Progress = QUIET,
) -> Dataset:
    """The data set of ``recipe``, split by its seed, with the pixels that its network expects.

    Args:
        recipe: names data and network.
        folder, beside, store, progress: as `load_dataset`.

    Raises:
        InputError: data are not there, or data and network do not fit.
    """
    model = recipe.model
    folders = (*beside, folder)
    if recipe.data.random is not None:
        check_untrained(recipe)
        return random_dataset(recipe.data, drawn_for(recipe, folders), seed=recipe.seed)
    data = load_dataset(
        recipe.data,
        seed=recipe.seed,
        folder=folder,
        beside=beside,
        task=None if recipe.task is None or not recipe.data.labels else recipe.task.task,
        store=store,
        progress=progress,
    )
    if data.test.targets is not None:
        data = in_order_of_network(recipe, data, folders)
        check_task(recipe, data, folders)
        return data
    if data.test.labels is None:
        check_untrained(recipe)
        return in_order_of_network(recipe, data, folders)
    steps = pixels_of_weights(model.pixel_mean, model.pixel_std, data, place="model")
    if data.test.spoken is not None:
        data = data.heard_in(chunks_of(recipe, data))
    elif transcribes(model.architecture):
        raise InputError(
            f"model: {model.architecture} writes down speech, and {data.name} has classes; choose "
            "another arch, or data: {name: librispeech}"
        )
    args = model_args(model, folders=folders)
    if model.file is not None and takes_of(args) != (data.input_shape,):
        told = ", ".join(map(size_text, takes_of(args)))
        raise InputError(
            f"model.{'onnx' if model.onnx else 'pt2'}: {model.file} takes {told} "
            f"(channels x height x width), but {data.name} has {size_text(data.input_shape)}; set "
            "data.resize and data.crop, or export the file for these inputs, channels first"
        )
    gives = check_takes(model.architecture, args, data, place="model")
    if gives != len(data.labels):
        what, argument = ("symbols", "symbols") if data.chunks else ("classes", "num_classes")
        raise InputError(
            f"model: {model.architecture} has {gives} outputs, but {data.name} has "
            f"{len(data.labels)} {what}; "
            + (f"give the data of these {what}" if model.file else f"set model.args.{argument}")
        )
    return replace(data, preprocessing=steps)


def check_untrained(recipe: Recipe) -> None:
    """Refuse a recipe that trains on examples without targets.

    Raises:
        InputError: with the place that trains.
    """
    trains = ["train"] * (recipe.train is not None)
    trains += [
        f"compress.{i} ({step.method})"
        for i, step in enumerate(recipe.compress)
        if step.needs_targets
    ]
    if trains:
        raise InputError(
            f"{trains[0]}: {recipe.data.title} have no targets that could be trained on: leave it "
            "out (ptq and qat need none), or give data with labels"
        )
