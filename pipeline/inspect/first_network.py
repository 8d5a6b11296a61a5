"""The network that a first recipe begins with: found, tried, and with weights that fit it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.models import ARCHITECTURES
from edgeticket.models.network import Network, Takes
from edgeticket.models.own import FILES, SOURCES, is_own
from edgeticket.models.torchvision_cure import import_torchvision
from edgeticket.pipeline.network.file import import_weights, new_network
from edgeticket.pipeline.network.finished import read_finished
from edgeticket.pipeline.network.weights import IN_A_PACKAGE, find_weights

NUMBER_OF_CLASSES = ("num_classes", "classes", "n_classes", "num_labels")


@dataclass(frozen=True)
class Wishes:
    """What the user says about the recipe."""

    name: str
    model: str  # mobilenet_v2 of torchvision, or with a source, or an arch, or FILE.onnx, FILE.pt2
    data: Path | None  # a folder of pictures, or a .npz; None: random numbers
    weights: str | None
    size: int | None  # pixels
    takes: tuple[tuple[int, ...], ...] = ()  # shapes of inputs, where there are no pictures
    task: str | None = None  # what is asked of the outputs, where it is not classes


@dataclass(frozen=True)
class Chosen:
    """The network of the recipe, as it is written there."""

    source: Mapping[str, str]
    args: Mapping[str, Any]
    network: Network
    trained: bool
    takes: tuple[int, int, int]


def is_finished(model: str) -> bool:
    """Whether a model is named by a file that it is, whole."""
    return Path(model).suffix.lower().removeprefix(".") in FILES


def refuse_tflite(model: str, data: Path | None) -> None:
    """A TFLite file is the end of the way: say which commands take it.

    Raises:
        InputError: ``model`` is one.
    """
    given = "--random 100" if data is None else f"--samples {data}"
    if Path(model).suffix.lower() in (".tflite", ".lite"):
        raise InputError(
            f"{model} is a TFLite file, which is finished, so that no recipe can begin with it: "
            f"`edgeticket bundle {model} {given}` makes a bundle to measure of it, and "
            f"`edgeticket inspect {model}` says what is in it"
        )


def choose_alone(wishes: Wishes, classes: int = 0) -> Chosen:
    """The network that is wished for, whatever it tells.

    Args:
        wishes: names it.
        classes: what a function is given that takes a number of classes; 0: its own default.

    Raises:
        InputError: there is none, or nothing says what it takes.
    """
    if is_finished(wishes.model):
        network = read_finished(Path(wishes.model))
        kind = network.arch.partition(":")[0]
        return Chosen({kind: written(wishes.model)}, {}, network, trained=True, takes=(1, 1, 1))
    source, args = _model(wishes.model, classes)
    args = {key: value for key, value in args.items() if value}
    arch = source["arch"] if "arch" in source else ":".join(next(iter(source.items())))
    takes: Takes = wishes.takes
    if not takes and wishes.size is not None:
        takes = ((3, wishes.size, wishes.size),)
    if is_own(arch) and not takes:
        raise InputError(
            f"nothing says what {wishes.model} takes: give --takes with the shape of one input, "
            "e.g. --takes 3x64x64, or of each, 3x64x64,10"
        )
    own = takes if is_own(arch) else ()
    if wishes.weights is None:
        network = new_network(arch, args, seed=0, takes=own)
    else:
        file = find_weights(wishes.weights, folders=(Path(),))
        network = import_weights(file, arch, args, takes=own)
    return Chosen(source, args, network, wishes.weights is not None, takes=(1, 1, 1))


def choose_network(wishes: Wishes, classes: int, size: Callable[[], int]) -> Chosen:
    """The network that is wished for, tried with its weights.

    Args:
        wishes: names it.
        classes: how many the data have.
        size: of the pictures, asked where the network leaves it open.

    Raises:
        InputError: there is none, it does not fit the data, or its weights do not fit it.
    """
    if is_finished(wishes.model):
        return _of_file(wishes, classes)
    source, args = _model(wishes.model, classes)
    arch = source["arch"] if "arch" in source else ":".join(next(iter(source.items())))
    if is_own(arch):
        side = wishes.size or size()
        takes = (3, side, side)
    else:
        takes = _takes(arch, args)
    own = takes if is_own(arch) else ()
    if wishes.weights is None:
        network = new_network(arch, args, seed=0, takes=own)
    else:
        file = find_weights(wishes.weights, folders=(Path(),))
        try:
            network = import_weights(file, arch, args, takes=own)
        except InputError as error:
            raise InputError(
                f"{error}; {wishes.data} has {classes} folders, one for each class: give weights "
                f"of a network of {classes} classes, or leave out --weights, and it is trained"
            ) from None
    return Chosen(source, args, network, wishes.weights is not None, takes)


def _of_file(wishes: Wishes, classes: int) -> Chosen:
    if wishes.weights is not None:
        raise InputError(f"{wishes.model} has its weights in it: leave out --weights")
    network = read_finished(Path(wishes.model))
    takes = network.input_shape
    if len(takes) != 3 or takes[0] not in (1, 3):
        shape = "x".join(map(str, takes))
        raise InputError(
            f"{wishes.model} takes {shape}, which pictures are not (3 or 1 channels, height, "
            f"width): `edgeticket bundle {wishes.model} --samples FILE.npz` takes any numbers"
        )
    if wishes.size is not None and (wishes.size,) * 2 != takes[1:]:
        raise InputError(
            f"--size {wishes.size}: {wishes.model} takes {takes[1]}x{takes[2]}: leave out --size, "
            "or export the file for that size"
        )
    with torch.no_grad():
        gives = network.module()(torch.zeros(1, *takes)).shape[-1]
    if gives != classes:
        raise InputError(
            f"{wishes.model} tells {gives} classes apart, and {wishes.data} has {classes} folders, "
            "one for each class: give the folder of its classes, or write a recipe by hand with "
            "data.classes, which says the number of each folder"
        )
    channels, height, width = takes
    return Chosen(
        {network.arch.partition(":")[0]: written(wishes.model)},
        {},
        network,
        trained=True,
        takes=(channels, height, width),
    )


def _takes(arch: str, args: Mapping[str, Any]) -> tuple[int, int, int]:
    takes = models.input_shape(arch, args)
    if len(takes) != 3:
        raise InputError(f"{arch} does not take pictures: choose another network")
    channels, height, width = takes
    return channels, height, width


def written(name: str) -> str:
    """As a recipe in any folder finds it."""
    return name if name.startswith(IN_A_PACKAGE) else str(Path(name).absolute())


def _model(model: str, classes: int) -> tuple[dict[str, str], dict[str, Any]]:
    """The keys that name the model, and arguments that fit it to the data."""
    if model in ARCHITECTURES:
        return {"arch": model}, {"num_classes": classes}
    source, colon, name = model.partition(":")
    if not colon:
        source, name = "torchvision", model
    if source not in RECIPE_SOURCES:
        near = difflib.get_close_matches(source, RECIPE_SOURCES, n=1)
        hint = f"did you mean {near[0]}:{name}? " if near else ""
        raise InputError(
            f"{model}: no such source of networks ({hint}known: {', '.join(RECIPE_SOURCES)}; or a "
            f"file FILE.onnx or FILE.pt2; or one of {', '.join(ARCHITECTURES)})"
        )
    try:
        function = SOURCES[source](name)
    except ValueError as error:
        if colon:
            raise InputError(f"model.{source}: {error}") from None
        near = difflib.get_close_matches(name, (*torchvision_names(), *ARCHITECTURES), n=3)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise InputError(
            f"{model!r} is no network of torchvision and none of this project's ({hint}timm's are "
            "written timm:NAME, a function of yours import:package.module:function, a file "
            "FILE.onnx or FILE.pt2)"
        ) from None
    if source != "import":
        return {source: name}, {"num_classes": classes}
    takes = inspect.signature(function).parameters
    return {source: name}, {key: classes for key in NUMBER_OF_CLASSES if key in takes}


def torchvision_names() -> list[str]:
    """All networks of torchvision by name."""
    library = import_torchvision().models
    return list(library.list_models(module=library))


RECIPE_SOURCES = ("torchvision", "timm", "import")
