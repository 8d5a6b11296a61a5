"""The data of a recipe, checked against its network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeticket import models
from edgeticket.device_runner.chunks import Chunks
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network, skeleton
from edgeticket.models.own import is_own, prototype
from edgeticket.pipeline.data import Dataset, load_dataset
from edgeticket.pipeline.network.finished import model_args, takes_of
from edgeticket.pipeline.network.receptive_field import find_reach
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import Recipe

Pixels = tuple[float, ...]


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
    data = load_dataset(
        recipe.data,
        seed=recipe.seed,
        folder=folder,
        beside=beside,
        store=store,
        progress=progress,
    )
    model = recipe.model
    steps = pixels_of_weights(model.pixel_mean, model.pixel_std, data, place="model")
    if data.test.spoken is not None:
        data = data.heard_in(_chunks(recipe, data))
    elif _transcribes(model.architecture):
        raise InputError(
            f"model: {model.architecture} writes down speech, and {data.name} has classes; choose "
            "another arch, or data: {name: librispeech}"
        )
    args = model_args(model, folders=(*beside, folder))
    if model.file is not None and takes_of(args) != data.input_shape:
        raise InputError(
            f"model.{'onnx' if model.onnx else 'pt2'}: {model.file} takes {_by(takes_of(args))} "
            f"(channels x height x width), but {data.name} has {_by(data.input_shape)}; set "
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


def _transcribes(arch: str) -> bool:
    """False too for what is no architecture of ours, whether it is the user's or a typing error."""
    return arch in models.ARCHITECTURES and models.transcribes(arch)


def _chunks(recipe: Recipe, data: Dataset) -> Chunks:
    """How the network of ``recipe`` hears recordings that are longer than it takes at a time."""
    arch, args = recipe.model.architecture, recipe.model.args
    if not _transcribes(arch):
        known = ", ".join(filter(models.transcribes, models.ARCHITECTURES))
        raise InputError(
            f"model: {data.name} has what is said in recordings, and {arch} cannot write that "
            f"down; choose one of {known}"
        )
    try:
        takes = models.input_shape(arch, args)
        reach = find_reach(Network.fresh(arch, args, seed=0).module(), takes)
    except ValueError as error:
        raise InputError(f"model: {error}") from None
    if reach is None or takes[-1] <= 2 * reach.context + reach.stride:
        raise InputError(
            f"model: {arch} of {takes[-1]} frames is too short: what it says of a moment depends "
            "on more frames than that, so that it could not hear long recordings in pieces; raise "
            "model.args.frames, or use smaller kernels"
        )
    features = next(step for step in data.preprocessing if step["op"] == "log_mel")
    hop = int(features["hop_samples"])
    stride = reach.stride * hop
    return Chunks(
        rate_hz=int(features["rate_hz"]),
        window_samples=int(features["fft_samples"]) + (takes[-1] - 1) * hop,
        context_samples=-(-reach.context * hop // stride) * stride,
        stride_samples=stride,
    )


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
            f"{place}: {arch} takes inputs of {_by(takes)} (channels x height x width), but "
            f"{data.name} has {_by(data.input_shape)}; choose another arch, or set "
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
                f"{place}: {arch} does not take inputs of {_by(data.input_shape)} (channels x "
                f"height x width), which {data.name} has: it raised "
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


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
