"""The data of a recipe, checked against its network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeticket import models
from edgeticket.device_runner.chunks import Chunks
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network, Takes, skeleton
from edgeticket.models.own import is_own, prototype
from edgeticket.pipeline.data import Dataset, Split, load_dataset
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.data.unlabelled import Drawn, random_dataset
from edgeticket.pipeline.graph.batches import shapes_of
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.graph.indices import index_limits
from edgeticket.pipeline.network.finished import model_args, takes_of
from edgeticket.pipeline.network.receptive_field import find_reach
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.quantize import fold_bn
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
    model = recipe.model
    folders = (*beside, folder)
    if recipe.data.random is not None:
        check_untrained(recipe)
        return random_dataset(recipe.data, _drawn(recipe, folders), seed=recipe.seed)
    data = load_dataset(
        recipe.data,
        seed=recipe.seed,
        folder=folder,
        beside=beside,
        store=store,
        progress=progress,
    )
    if data.test.labels is None:
        return _unlabelled(recipe, data, folders)
    steps = pixels_of_weights(model.pixel_mean, model.pixel_std, data, place="model")
    if data.test.spoken is not None:
        data = data.heard_in(_chunks(recipe, data))
    elif _transcribes(model.architecture):
        raise InputError(
            f"model: {model.architecture} writes down speech, and {data.name} has classes; choose "
            "another arch, or data: {name: librispeech}"
        )
    args = model_args(model, folders=(*beside, folder))
    if model.file is not None and takes_of(args) != (data.input_shape,):
        told = ", ".join(map(_by, takes_of(args)))
        raise InputError(
            f"model.{'onnx' if model.onnx else 'pt2'}: {model.file} takes {told} "
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


def _unlabelled(recipe: Recipe, data: Dataset, folders: Sequence[Path]) -> Dataset:
    """Examples of which nothing is asked, in the order of the network's inputs.

    Raises:
        InputError: they do not fit the network, or the recipe trains.
    """
    check_untrained(recipe)
    model = recipe.model
    steps = data.preprocessing
    if not isinstance(data.test.inputs, Tensors):
        steps = pixels_of_weights(model.pixel_mean, model.pixel_std, data, place="model")
        _graph_ends(recipe, folders, shapes_of(data.input_shape))
        return replace(data, preprocessing=steps)
    shapes = data.test.inputs.shapes
    names = list(data.test.inputs.names)
    ends = _graph_ends(recipe, folders, shapes, names)
    wanted = tuple(one.name for one in ends)
    if len(names) > 1 and set(names) == set(wanted):
        return _reordered(data, wanted)
    return _renamed(data, wanted)


def _reordered(data: Dataset, names: tuple[str, ...]) -> Dataset:
    return _with_tensors(data, lambda tensors: tensors.in_order(names))


def _renamed(data: Dataset, names: tuple[str, ...]) -> Dataset:
    return _with_tensors(data, lambda tensors: replace(tensors, names=names))


def _with_tensors(data: Dataset, change: Callable[[Tensors], Tensors]) -> Dataset:
    def changed(split: Split) -> Split:
        assert isinstance(split.inputs, Tensors)
        return replace(split, inputs=change(split.inputs))

    return replace(
        data,
        train=changed(data.train),
        validation=changed(data.validation),
        calibration=changed(data.calibration),
        test=changed(data.test),
    )


def _drawn(recipe: Recipe, folders: Sequence[Path]) -> list[Drawn]:
    """What the network of ``recipe`` takes, for random numbers.

    Raises:
        InputError: nothing says so, or the network does not take it.
    """
    model, takes = recipe.model, recipe.data.takes
    args = model_args(model, folders=folders)
    if takes is not None:
        shapes = shapes_of(takes)
    elif model.file is not None:
        shapes = takes_of(args)
    elif is_own(model.architecture):
        raise InputError(
            f"data.takes: nothing says what {model.architecture} takes: give the shape of one "
            "input without the batch, e.g. data: {random: 100, takes: [3, 64, 64]}, or a list of "
            "one for each input"
        )
    else:
        try:
            shapes = (models.input_shape(model.architecture, args),)
        except ValueError as error:
            raise InputError(f"model: {error}") from None
    return _graph_ends(recipe, folders, shapes)


def _graph_ends(
    recipe: Recipe,
    folders: Sequence[Path],
    shapes: tuple[tuple[int, ...], ...],
    names: Sequence[str] = (),
) -> list[Drawn]:
    """The network's inputs by name and kind, for inputs of ``shapes``, perhaps with ``names``.

    Raises:
        InputError: it does not take those.
    """
    model = recipe.model
    args = model_args(model, folders=folders)
    if model.file is not None:
        takes = takes_of(args)
        if sorted(takes) != sorted(shapes):
            told = (", ".join(map(_by, each)) for each in (takes, shapes))
            raise InputError(
                "model.{}: {} takes {} (channels first), but the data have {}".format(
                    "onnx" if model.onnx else "pt2", model.file, *told
                )
            )
    try:
        network = Network.fresh(model.architecture, args, seed=recipe.seed, takes=shapes)
        module = network.module()
    except ValueError as error:
        raise InputError(f"model: {error}") from None
    shapes = _in_order(module, shapes, names)
    graph: Graph = fold_bn(module, shapes).meta["graph"]
    limits = index_limits(graph)
    return [
        Drawn(
            "input" if len(graph.inputs) == 1 else name,
            graph.values[name].shape[1:],
            graph.values[name].dtype != "float32",
            limits.get(name),
        )
        for name in graph.inputs
    ]


def _in_order(
    module: nn.Module, shapes: tuple[tuple[int, ...], ...], names: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    """Shapes in the order of what the module's forward takes, where that has the same names."""
    taken = [name for name in inspect.signature(module.forward).parameters if name in names]
    if len(names) < 2 or len(taken) != len(names):
        return shapes
    return tuple(shapes[list(names).index(name)] for name in taken)


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


def _by(takes: Takes) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in shapes_of(takes))
