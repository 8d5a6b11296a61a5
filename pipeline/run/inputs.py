"""What the network of a recipe takes: the names, shapes and kinds of its inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.models.own import is_own
from edgeticket.pipeline.data import Dataset, Split
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.data.unlabelled import Drawn
from edgeticket.pipeline.graph.batches import shapes_of
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.graph.indices import index_limits
from edgeticket.pipeline.network.finished import model_args, takes_of
from edgeticket.pipeline.quantize import fold_bn
from edgeticket.pipeline.recipe import Recipe
from edgeticket.pipeline.run.fitting import pixels_of_weights, size_text


def in_order_of_network(recipe: Recipe, data: Dataset, folders: Sequence[Path]) -> Dataset:
    """Examples with their inputs in the order, and with the names, that the network has.

    Raises:
        InputError: they do not fit it.
    """
    model = recipe.model
    steps = pixels_of_weights(model.pixel_mean, model.pixel_std, data, place="model")
    if not isinstance(data.test.inputs, Tensors):
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


def drawn_for(recipe: Recipe, folders: Sequence[Path]) -> list[Drawn]:
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
            told = (", ".join(map(size_text, each)) for each in (takes, shapes))
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
