"""Do data and networks fit? Inputs, outputs, and what pixels are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network, Takes, skeleton
from edgeticket.models.own import is_own, prototype
from edgeticket.pipeline.data import Dataset, Split
from edgeticket.pipeline.graph.batches import leaves_of, shapes_of, tensors_of
from edgeticket.pipeline.network.finished import model_args
from edgeticket.pipeline.recipe import Recipe
from edgeticket.pipeline.recipe.task import check_loss
from edgeticket.pipeline.task import task_of
from edgeticket.pipeline.train import to_torch
from edgeticket.pipeline.train.batches import check_moves

Pixels = tuple[float, ...]


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
    if data.test.inputs.dtype != np.uint8:
        raise InputError(
            f"{place}.pixel_mean and {place}.pixel_std are for images, and {data.name} has none; "
            "leave them out"
        )
    channels = data.input_shape[0]
    if mean is None or std is None or {len(mean), len(std)} != {channels} or min(std) <= 0:
        raise InputError(
            f"{place}.pixel_mean and {place}.pixel_std: give both, {channels} numbers each (one "
            f"per channel of {data.name}, in 0..255), std above 0; not {mean} and {std}"
        )
    return ({"op": "normalize", "mean": list(mean), "std": list(std)},)


def check_task(recipe: Recipe, data: Dataset, folders: Sequence[Path]) -> None:
    """Try the network on two examples: the task must be able to read what it gives.

    Raises:
        InputError: outputs, targets and settings do not fit; or the recipe trains, and no loss of
            the task could learn from such outputs.
    """
    model = recipe.model
    args = model_args(model, folders=folders)
    outputs = answers_of(model.architecture, args, data, place="model")
    task = task_of(data.train)
    assert data.train.targets is not None
    name = data.train.targets.task.name
    for place, training in recipe.trainings():
        check_moves(training.augment, data.train, views=training.views)
        if training.label_smoothing:
            raise InputError(
                f"{place}.label_smoothing is for classes, and the task is {name}: leave it out"
            )
        if training.loss is not None and ":" not in training.loss:
            try:
                check_loss(name, training.loss, place=place)
            except ValueError as error:
                raise InputError(str(error)) from None
    few = two_of(data.train)
    try:
        assert task.agree is not None
        task.agree(outputs, outputs)
        for split in (data.train, data.validation, data.calibration, data.test):
            sentence = task.misfit(outputs, split)
            if sentence is not None:
                raise InputError(sentence)
        judge = task.judge(few)
        judge.add(outputs)
        judge.finish()
    except InputError as error:
        raise InputError(f"task: {name}: {error}") from None
    if any(training.loss is None or ":" not in training.loss for _, training in recipe.trainings()):
        sentence = task.refuse(outputs)
        if sentence is not None:
            raise InputError(f"task: {name}: {sentence}")
    for part, split in (("validation", data.validation), ("test", data.test)):
        try:
            task.judge(split)
        except InputError as error:
            raise InputError(f"data: {part} of {data.name}: {error}") from None


def two_of(split: Split) -> Split:
    """Two examples of a split, the same twice where there is one."""
    return split.take(np.arange(2) % len(split))


def answers_of(
    arch: str, args: models.Args, data: Dataset, *, place: str
) -> tuple[npt.NDArray[Any], ...]:
    """What a network gives for two training examples, as it is made, after training.

    Raises:
        InputError: it raises, or gives something else while it is trained.
    """
    few = two_of(data.train)
    batch = tensors_of(to_torch(few.queries(), data.preprocessing))
    takes = data.input_shape if is_own(arch) else ()
    try:
        module = Network.fresh(arch, args, seed=0, takes=takes).module()
    except ValueError as error:
        raise InputError(f"{place}: {error}") from error
    answers = []
    for training in (True, False):
        try:
            with torch.no_grad():
                answers.append(leaves_of(module.train(training)(*batch)))
        except Exception as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{place}: {arch} does not take inputs of {size_text(data.input_shape)} (channels "
                f"x height x width), which {data.name} has: it raised {type(error).__name__}: "
                f"{reason}"
            ) from error
    shapes = [[list(output.shape) for output in outputs] for outputs in answers]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"{place}: {arch} gives outputs of {shapes[0]} while it is trained, and of {shapes[1]} "
            "afterwards: they must be the same (no auxiliary outputs)"
        )
    return tuple(output.numpy() for output in answers[1])


def check_takes(arch: str, args: models.Args, data: Dataset, *, place: str) -> int:
    """A network must take the inputs of the data; ``place`` is where messages say it is named.

    Returns:
        How many outputs it has.

    Raises:
        InputError: it does not, or there is no such network.
    """
    if is_own(arch):
        return _try(arch, args, data, place=place)
    try:
        takes = models.input_shape(arch, args)
        skeleton(arch, args, {})  # arguments can contradict one another
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None
    if takes != data.input_shape:
        raise InputError(
            f"{place}: {arch} takes inputs of {size_text(takes)} (channels x height x width), but "
            f"{data.name} has {size_text(data.input_shape)}; choose another arch, or set "
            f"args.{' and args.'.join(models.size_arguments(arch))}"
        )
    return models.num_classes(arch, args)


def _try(arch: str, args: models.Args, data: Dataset, *, place: str) -> int:
    """What an architecture from elsewhere gives shows when it runs, as in training and after it."""
    try:
        module = prototype(arch, args)
    except ValueError as error:
        raise InputError(f"{place}: {error}") from error
    gives: set[tuple[int, ...]] = set()
    for training in (True, False):
        inputs = torch.zeros(2, *data.input_shape)
        try:
            with torch.no_grad():
                outputs = module.train(training)(inputs)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{place}: {arch} does not take inputs of {size_text(data.input_shape)} (channels "
                f"x height x width), which {data.name} has: it raised "
                f"{type(error).__name__}: {reason}"
            ) from error
        if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or len(outputs) != 2:
            returned = (
                f"outputs of shape {list(outputs.shape)}"
                if isinstance(outputs, torch.Tensor)
                else f"a {type(outputs).__name__}"
            )
            raise InputError(
                f"{place}: {arch} gives {returned} for two inputs; a classifier gives [2, "
                "classes], and only that (no auxiliary outputs)"
            )
        gives.add(tuple(outputs.shape[1:]))
    return gives.pop()[0]


def size_text(takes: Takes) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in shapes_of(takes))
