"""A recipe to start from, for a network and the data of a task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data.named import target_names
from edgeticket.pipeline.inspect.first_network import Wishes, written
from edgeticket.pipeline.inspect.listed_parts import TABLES, pairs_part, table_part
from edgeticket.pipeline.inspect.task_parts import (
    TaskPart,
    arrays_part,
    boxes_part,
    masks_part,
    series_part,
)
from edgeticket.pipeline.recipe import Recipe, check
from edgeticket.pipeline.recipe.reading import parse_document
from edgeticket.pipeline.recipe.task import LOSSES

_TABLE = ", or a .csv with a row for each picture"
STEPS = 300  # of training, at least


def write_task_recipe(wishes: Wishes) -> str:
    """Look at the data and try the network -> the text of a recipe.

    Raises:
        InputError: the data are not laid out for the task, or no network fits them.
    """
    assert wishes.task is not None
    if wishes.task not in LOSSES:
        raise InputError(f"--task {wishes.task}: no such task (known: {', '.join(LOSSES)})")
    if wishes.data is None:
        raise InputError(f"--task {wishes.task}: give DATA, too (docs/data.md has the layouts)")
    if not wishes.data.exists():
        raise InputError(f"{wishes.data} is not there: give a file or a folder that is")
    if wishes.data.suffix.lower() == ".npz":
        part = arrays_part(wishes, wishes.data)
    elif wishes.task == "boxes":
        part = boxes_part(wishes, wishes.data)
    elif wishes.task == "masks":
        part = masks_part(wishes, wishes.data)
    elif wishes.task == "series" and wishes.data.suffix.lower() == ".csv":
        part = series_part(wishes, wishes.data)
    elif wishes.task in TABLES and wishes.data.suffix.lower() == ".csv":
        part = table_part(wishes, wishes.data)
    elif wishes.task == "images":
        part = pairs_part(wishes, wishes.data)
    else:
        names = " and ".join(target_names(Task(wishes.task, {}))[:1])
        raise InputError(
            f"--task {wishes.task} with {wishes.data}: give a .npz with an array for each input "
            f"and {names}{_TABLE * (wishes.task in TABLES)}; docs/data.md shows the layouts on disk"
        )
    return _text(wishes, part)


def _text(wishes: Wishes, part: TaskPart) -> str:
    chosen = part.chosen
    trained = chosen.trained
    batch = 16 if part.count < 1000 else 64
    epochs = max(5, min(60, -(-STEPS * batch // max(1, part.count))))
    text = _HEAD.format(command=f"{wishes.name}.yaml", name=_value(wishes.name))
    text += f"data:  # {part.count:,} examples; sizes of parts that are left out fit the data\n"
    text += _mapping(part.data) + part.notes
    text += f"task:  # settings that are left out: docs/tasks.md#{wishes.task}\n"
    text += _mapping(part.task)
    text += "model:\n" + _mapping(chosen.source)
    if chosen.args:
        text += f"  args: {json.dumps(dict(chosen.args))}\n"
    if wishes.weights is not None:
        text += f"  weights: {_value(written(wishes.weights))}\n"
    text += "" if trained else _TRAIN.format(epochs=epochs, batch=batch)
    text += _PTQ if trained else _PASSES.format(epochs=max(2, epochs // 2), batch=batch)
    text += _TAIL
    check(Recipe, parse_document(text), place="the new recipe")  # it must be one
    return text


def _mapping(values: Mapping[str, Any]) -> str:
    return "".join(f"  {key}: {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    """As YAML reads it back, on one line."""
    if isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum():
        return value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)


_HEAD = """\
# Made by `edgeticket init`; change what you like. Unknown keys are errors that name the known ones.
#
#   edgeticket inspect {command}    # what will happen, before any work
#   edgeticket run {command}

name: {name}
"""

_TRAIN = """\
  # weights: FILE  # trained ones, safetensors or a state_dict; then leave out `train`. Or
  # trained: true  # if the function returns trained weights
train:
  epochs: {epochs}
  batch_size: {batch}
  optimizer: adam
  lr: 0.003  # the peak
"""

_PASSES = """\
compress:  # passes, in this order
  # To make it smaller and faster, too, take away the "# " in front of these lines:
  # - method: channel_magnitude
  #   budget: {{macs: 0.6}}  # 60 % of the multiply-accumulates may stay
  # - method: finetune
  #   train: {{epochs: {epochs}, batch_size: {batch}, optimizer: adam, lr: 0.001}}
  - method: ptq  # int8: one set of scales for both runtimes
    ranges: mse
"""

_PTQ = """\
compress:  # passes, in this order
  - method: ptq  # int8: one set of scales for both runtimes
    ranges: mse
"""

_TAIL = """\
bench:
  threads: 1
  min_seconds: 1.0  # for each file, and at least so many queries
  min_queries: 200
"""
