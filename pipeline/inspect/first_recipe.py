"""A recipe to start from, for a network and a folder of pictures, with comments."""

from __future__ import annotations

import inspect
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from edgeticket.device_runner.errors import InputError
from edgeticket.models import ARCHITECTURES
from edgeticket.models.network import Network
from edgeticket.models.own import SOURCES, is_own
from edgeticket.pipeline.data.folder import Layout, list_folder
from edgeticket.pipeline.data.sizes import fitting_sizes
from edgeticket.pipeline.network.file import new_network
from edgeticket.pipeline.recipe import Recipe, check
from edgeticket.pipeline.recipe.reading import parse_document
from edgeticket.pipeline.run.passes import PASSES

LOOKED_AT = 100  # pictures whose size is read
LARGEST = 224
STEPS = 300  # of training, at least, so that a small set is seen often enough
NUMBER_OF_CLASSES = ("num_classes", "classes", "n_classes", "num_labels")


@dataclass(frozen=True)
class Wishes:
    """What the user says about the recipe."""

    name: str
    model: str  # mobilenet_v2 of torchvision, or with a source before it, or an arch
    data: Path
    weights: str | None
    size: int | None  # pixels


def write_first_recipe(wishes: Wishes) -> str:
    """Look at the pictures and try the network -> the text of a recipe.

    Raises:
        InputError: there are no pictures, too few, or no such network.
    """
    layout = list_folder(wishes.data, classes=None)
    classes, pictures = len(layout.classes.labels), len(layout.pool.files)
    size = wishes.size or _size(layout)
    given = None if layout.validation is None else len(layout.validation.files)
    has_test = layout.test is not None
    sizes = fitting_sizes(pictures, classes, validation=given, has_test=has_test)
    left = pictures - sum(sizes.values()) + (layout.validation is not None) * sizes["validation"]
    if left < classes:
        raise InputError(f"{wishes.data} has {pictures} pictures: too few to train and to test")
    source, args = _model(wishes.model, classes, size)
    arch = source["arch"] if "arch" in source else ":".join(next(iter(source.items())))
    network = new_network(arch, args, seed=0, takes=(3, size, size) if is_own(arch) else ())
    batch = 16 if left < 1000 else 64
    epochs = max(5, min(60, -(-STEPS * batch // left)))
    text = _HEAD.format(
        command=f"{wishes.name}.yaml",
        name=_quoted(wishes.name),
        folder=_quoted(str(wishes.data.absolute())),
        resize=size if size < 64 else size * 8 // 7,
        crop=size,
        classes=classes,
        pictures=pictures,
        sizes="\n".join(f"  {key}: {value}{_SIZES[key]}" for key, value in sizes.items()),
        source="\n".join(f"  {key}: {_quoted(value)}" for key, value in source.items()),
        args=json.dumps(dict(args)),
    )
    if wishes.weights is not None:
        text += (
            f"  weights: {_quoted(wishes.weights)}  # nothing is trained but what passes train\n"
        )
        text += _PIXELS
    else:
        text += _TRAIN.format(epochs=epochs, batch=batch)
    text += _passes(network, epochs=max(2, epochs // 2), batch=batch) + _TAIL
    check(Recipe, parse_document(text), place="the new recipe")  # it must be one
    return text


def _passes(network: Network, *, epochs: int, batch: int) -> str:
    text = "compress:  # passes, in this order\n"
    try:
        told = PASSES["channel_magnitude"].check(network, None)
        text += _CHANNELS.format(told=told, epochs=epochs, batch=batch)
    except InputError as error:
        text += f"  # No channels are removed: {error}.\n"
    return text + _PTQ


def _model(model: str, classes: int, size: int) -> tuple[dict[str, str], dict[str, Any]]:
    """The keys that name the model, and arguments that fit it to the data."""
    if model in ARCHITECTURES:
        return {"arch": model}, {"num_classes": classes}
    source, colon, name = model.partition(":")
    if not colon:
        source, name = "torchvision", model
    if source not in SOURCES:
        raise InputError(
            f"{model}: no such source of networks (known: {', '.join(SOURCES)}, or one of "
            f"{', '.join(ARCHITECTURES)})"
        )
    if source != "import":
        return {source: name}, {"num_classes": classes}
    try:
        takes = inspect.signature(SOURCES[source](name)).parameters
    except ValueError as error:
        raise InputError(f"model.import: {error}") from None
    return {source: name}, {key: classes for key in NUMBER_OF_CLASSES if key in takes}


def _size(layout: Layout) -> int:
    """The largest multiple of 32 that half of the pictures have, up to 224."""
    step = max(1, len(layout.pool.files) // LOOKED_AT)
    shorter = []
    for file in layout.pool.files[::step]:
        try:
            with Image.open(layout.pool.root / file) as image:
                shorter.append(min(image.size))
        except (OSError, ValueError, SyntaxError):
            continue  # what cannot be read is named when it is decoded
    if not shorter:
        raise InputError(f"{layout.pool.root} has no picture that can be read")
    return min(LARGEST, max(32, int(statistics.median(shorter)) // 32 * 32))


def _quoted(text: str) -> str:
    """As YAML reads it back, whatever is in it."""
    return text if text.replace("_", "").replace("-", "").isalnum() else json.dumps(text)


_SIZES = {
    "validation": "  # pictures that choices are made on",
    "calibration": "  # pictures that fix the int8 ranges",
    "test": "  # pictures that are read once, at the end",
}

_HEAD = """\
# Made by `edgeticket init`; change what you like. Unknown keys are errors that name the known ones.
#
#   edgeticket inspect {command}    # what will happen, before any work
#   edgeticket run {command}

name: {name}
data:  # {pictures} pictures of {classes} classes, split evenly by class
  folder: {folder}
  resize: {resize}  # the shorter side, in pixels
  crop: {crop}  # then the middle
{sizes}
  # mean and std of the pixels per channel, in 0..255; these are ImageNet's
  mean: [123.675, 116.28, 103.53]
  std: [58.395, 57.12, 57.375]
model:
{source}
  args: {args}
"""

_PIXELS = """\
  # If the weights were trained with other pixels than data.mean and data.std:
  # pixel_mean: [127.5, 127.5, 127.5]
  # pixel_std: [127.5, 127.5, 127.5]
"""

_TRAIN = """\
  # weights: FILE  # trained ones, safetensors or a state_dict; then leave out `train`
train:
  epochs: {epochs}
  batch_size: {batch}
  optimizer: adam  # learns with most networks; sgd with lr 0.1 or so often ends better
  lr: 0.001  # the peak
  augment: crop_flip  # shift by up to 4 pixels, mirror
"""

_CHANNELS = """\
  # Whole channels go, which makes every runtime faster: {told}.
  - method: channel_magnitude
    budget: {{macs: 0.6}}  # 60 % of the multiply-accumulates may stay
  - method: finetune  # with the dense network as teacher
    train:
      epochs: {epochs}
      batch_size: {batch}
      optimizer: adam
      lr: 0.0005
      augment: crop_flip
      distil: {{teacher: dense, soft_targets: {{temperature: 4.0}}}}
"""

_PTQ = """\
  - method: ptq  # int8: one set of scales for both runtimes
    ranges: mse
"""

_TAIL = """\
bench:
  threads: 1
  min_seconds: 1.0  # for each file, and at least so many queries
  min_queries: 200
"""
