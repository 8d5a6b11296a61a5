"""A recipe to start from, for a network and a folder of pictures, with comments."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from PIL import Image

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.folder import Layout, list_folder
from edgeticket.pipeline.data.scaling import IMAGENET_MEAN, IMAGENET_STD
from edgeticket.pipeline.data.sizes import fitting_sizes
from edgeticket.pipeline.inspect.first_network import (
    Chosen,
    Wishes,
    choose_network,
    is_finished,
    refuse_tflite,
    written,
)
from edgeticket.pipeline.inspect.task_data import guess_task
from edgeticket.pipeline.inspect.task_recipe import write_task_recipe
from edgeticket.pipeline.inspect.unlabelled_recipe import tells_classes, write_unlabelled_recipe
from edgeticket.pipeline.network.finished import read_finished
from edgeticket.pipeline.recipe import Recipe, check
from edgeticket.pipeline.recipe.reading import parse_document
from edgeticket.pipeline.run.passes import PASSES

LOOKED_AT = 100  # pictures whose size is read
LARGEST = 224
STEPS = 300  # of training, at least, so that a small set is seen often enough


def write_first_recipe(wishes: Wishes) -> str:
    """Look at the pictures and try the network -> the text of a recipe.

    Raises:
        InputError: there are no pictures, too few, or no such network; weights that are not there
            or do not fit.
    """
    refuse_tflite(wishes.model, wishes.data)
    if wishes.task is not None:
        return write_task_recipe(wishes)
    _refuse_another_task(wishes)
    if wishes.data is None or wishes.data.suffix == ".npz" or _tells_something_else(wishes):
        return write_unlabelled_recipe(wishes)
    layout = list_folder(wishes.data, classes=None)
    classes, pictures = len(layout.classes.labels), len(layout.pool.files)
    trained = wishes.weights is not None or is_finished(wishes.model)
    given = None if layout.validation is None else len(layout.validation.files)
    has_test = layout.test is not None
    sizes = fitting_sizes(pictures, classes, validation=given, has_test=has_test)
    left = pictures - sum(sizes.values()) + (layout.validation is not None) * sizes["validation"]
    if left < (1 if trained else classes):
        raise InputError(f"{wishes.data} has {pictures} pictures: too few to train and to test")
    chosen = choose_network(wishes, classes, lambda: _size(layout))
    batch = 16 if left < 1000 else 64
    epochs = max(5, min(60, -(-STEPS * batch // left)))
    channels, height, width = chosen.takes
    square = height == width
    text = _HEAD.format(
        command=f"{wishes.name}.yaml",
        name=_quoted(wishes.name),
        folder=_quoted(str(wishes.data.absolute())),
        resize=_resize(height) if square else [height, width],
        crop=f"  crop: {height}  # then the middle\n" if square else "",
        shorter="the shorter side, in pixels" if square else "height and width, in pixels",
        grey="  grey: true  # the network takes one channel\n" * (channels == 1),
        mean=[127.5] if channels == 1 else list(IMAGENET_MEAN),
        std=[127.5] if channels == 1 else list(IMAGENET_STD),
        whose="the middle of" if channels == 1 else "ImageNet's, of",
        classes=classes,
        pictures=pictures,
        sizes="\n".join(f"  {key}: {value}{_SIZES[key]}" for key, value in sizes.items()),
        source="\n".join(f"  {key}: {_quoted(value)}" for key, value in chosen.source.items()),
        args="" if is_finished(wishes.model) else f"  args: {json.dumps(dict(chosen.args))}\n",
    )
    if wishes.weights is not None:
        text += f"  weights: {_quoted(written(wishes.weights))}  # trained; the network is not\n"
    text += _PIXELS if trained else _TRAIN.format(epochs=epochs, batch=batch)
    text += _passes(
        chosen, epochs=max(2, epochs // 2), batch=batch, finished=is_finished(wishes.model)
    )
    text += _TAIL
    check(Recipe, parse_document(text), place="the new recipe")  # it must be one
    return text


def _refuse_another_task(wishes: Wishes) -> None:
    """Folders of pictures and masks are no classes, though they are folders of pictures.

    Raises:
        InputError: the data are laid out for another task; names it.
    """
    if wishes.data is None:
        return
    task = guess_task(wishes.data)
    if task is not None:
        raise InputError(
            f"{wishes.data} looks like data of task {task}, not like a folder for each class: give "
            f"--task {task}, or another task of docs/tasks.md; or a folder of pictures alone"
        )


def _tells_something_else(wishes: Wishes) -> bool:
    """Whether a finished network gives anything but classes."""
    return is_finished(wishes.model) and not tells_classes(read_finished(Path(wishes.model)))


def _passes(chosen: Chosen, *, epochs: int, batch: int, finished: bool) -> str:
    """int8; before it channels that go, as comments where weights are trained already."""
    text = "compress:  # passes, in this order\n"
    if finished:
        return text + _NO_TRAINING + _PTQ
    try:
        told = PASSES["channel_magnitude"].check(chosen.network, None)
        pruning = _CHANNELS.format(told=told, epochs=epochs, batch=batch)
        if chosen.trained:
            pruning = _OPTIONAL + "".join(f"  # {line[2:]}" for line in pruning.splitlines(True))
        text += pruning
    except InputError as error:
        text += f"  # No channels are removed: {error}.\n"
    return text + _PTQ


def _resize(crop: int) -> int:
    return crop if crop < 64 else crop * 8 // 7


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
  resize: {resize}  # {shorter}
{crop}{grey}{sizes}
  # mean and std of the pixels per channel: {whose} 0..255
  mean: {mean}
  std: {std}
model:
{source}
{args}"""

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

_OPTIONAL = """\
  # To make it smaller and faster, too, take away the "# " in front of these lines:
"""

_NO_TRAINING = """\
  # An ONNX file is not trained. To prune it as well, give the network that it was exported from:
  # edgeticket init torchvision:NAME, timm:NAME or import:package.module:function, with --weights.
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
