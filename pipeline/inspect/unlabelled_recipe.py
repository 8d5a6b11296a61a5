"""A recipe to start from for a network that tells no classes: int8, and how near it stays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import torch

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data.given import read_arrays
from edgeticket.pipeline.data.scaling import IMAGENET_MEAN, IMAGENET_STD
from edgeticket.pipeline.graph.batches import leaves_of, zeros_for
from edgeticket.pipeline.inspect.first_network import (
    Wishes,
    choose_alone,
    is_finished,
    written,
)
from edgeticket.pipeline.inspect.shapes import input_shapes, output_shapes
from edgeticket.pipeline.recipe import Recipe, check
from edgeticket.pipeline.recipe.reading import parse_document

LABELS = ("label", "labels")


def tells_classes(network: Network) -> bool:
    """Whether a network gives nothing but one vector of several numbers."""
    module = network.module()
    with torch.no_grad():
        outputs = leaves_of(module(*zeros_for(module, network.input_shapes)))
    return len(outputs) == 1 and outputs[0].ndim == 2 and outputs[0].shape[1] > 1


def write_unlabelled_recipe(wishes: Wishes) -> str:
    """The text of a recipe without labels: on pictures, on arrays, or on random numbers.

    Raises:
        InputError: there is no such network, or nothing says what it takes.
    """
    if wishes.data is not None and wishes.data.suffix == ".npz" and not wishes.takes:
        wishes = replace(wishes, takes=input_shapes(read_arrays(wishes.data), leave=LABELS)[0])
    chosen = choose_alone(wishes)
    if wishes.data is not None and wishes.data.suffix == ".npz":
        output_shapes(
            chosen.network,
            way_out=f"{wishes.data} must have an array for each input and nothing else: leave out "
            "the others, or give --task, whose targets lie beside the inputs (docs/tasks.md)",
        )
    text = _HEAD.format(command=f"{wishes.name}.yaml", name=_quoted(wishes.name))
    text += _data(wishes, chosen.network.input_shapes)
    text += "model:\n" + "".join(f"  {k}: {_quoted(v)}\n" for k, v in chosen.source.items())
    if chosen.args:
        text += f"  args: {json.dumps(dict(chosen.args))}\n"
    if wishes.weights is not None:
        text += f"  weights: {_quoted(written(wishes.weights))}\n"
    elif "import" in chosen.source:
        text += (
            "  trained: true  # the function returns trained weights; else give `weights: FILE`\n"
        )
    elif not is_finished(wishes.model):
        raise InputError(
            f"{wishes.model} tells no classes, so that nothing can be trained on labels: give its "
            "trained weights with --weights"
        )
    text += _TAIL
    check(Recipe, parse_document(text), place="the new recipe")  # it must be one
    return text


def _data(wishes: Wishes, shapes: Sequence[Sequence[int]]) -> str:
    data = wishes.data
    if data is None:
        takes = [list(shape) for shape in shapes]
        told = takes[0] if len(takes) == 1 else takes
        return _RANDOM.format(takes="" if is_finished(wishes.model) else f"\n  takes: {told}")
    if data.suffix == ".npz":
        return _ARRAYS.format(file=_quoted(str(data.absolute())))
    if len(shapes) > 1 or len(shapes[0]) != 3 or shapes[0][0] not in (1, 3):
        shown = ", ".join("x".join(map(str, shape)) for shape in shapes)
        raise InputError(
            f"{wishes.model} takes {shown}, which pictures are not: give a .npz with an array for "
            f"each input, or leave {data} out for random numbers"
        )
    channels, height, width = shapes[0]
    return _PICTURES.format(
        folder=_quoted(str(data.absolute())),
        size=[height, width],
        grey="  grey: true  # the network takes one channel\n" * (channels == 1),
        mean=[127.5] if channels == 1 else list(IMAGENET_MEAN),
        std=[127.5] if channels == 1 else list(IMAGENET_STD),
    )


def _quoted(text: str) -> str:
    """As YAML reads it back, whatever is in it."""
    return text if text.replace("_", "").replace("-", "").isalnum() else json.dumps(text)


_HEAD = """\
# Made by `edgeticket init`; change what you like. Unknown keys are errors that name the known ones.
# The network tells no classes: int8 is judged by how near its outputs stay to those in float32.
#
#   edgeticket run {command}

name: {name}
"""

_RANDOM = """\
data:
  random: 100  # noise: it says whether files agree, and nothing of how good they are{takes}
"""

_ARRAYS = """\
data:  # an array for each input, as the network takes it, [N, C, H, W]
  npz: {file}
"""

_PICTURES = """\
data:
  folder: {folder}
  labels: false  # the classes of the folders are not what the network tells
  resize: {size}  # height and width, in pixels
{grey}  # mean and std of the pixels per channel, 0..255: those that the network was trained with
  mean: {mean}
  std: {std}
"""

_TAIL = """\
compress:  # passes, in this order
  - method: ptq  # int8: one set of scales for both runtimes
bench:
  threads: 1
  min_seconds: 1.0  # for each file, and at least so many queries
  min_queries: 200
"""
