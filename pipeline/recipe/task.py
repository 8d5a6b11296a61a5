"""What a recipe asks of a network's outputs: a task with its settings.

docs/tasks.md explains tasks; `device_runner.task` has their settings, which are checked here as
they are in bundles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.task import TASKS
from edgeticket.pipeline.recipe.config import Config

Named = Literal[
    "labels",
    "numbers",
    "keypoints",
    "masks",
    "boxes",
    "images",
    "embeddings",
    "anomaly",
    "series",
]

# What `train.loss` may say of each, the first where nothing is said; `pipeline.task` has them.
LOSSES: Mapping[str, tuple[str, ...]] = {
    "labels": ("bce", "focal"),
    "numbers": ("mse", "l1", "huber"),
    "keypoints": ("mse", "l1", "huber"),
    "masks": ("cross_entropy", "cross_entropy_dice", "dice"),
    "boxes": ("giou", "l1"),
    "images": ("l1", "mse", "charbonnier"),
    "embeddings": ("triplet", "contrastive"),
    "anomaly": ("reconstruction", "bce"),
    "series": ("mse", "l1", "huber"),
}


class TaskConfig(Config):
    """What the network's outputs mean: beside the name stand the task's settings, see
    docs/tasks.md.

    In a recipe ``task: masks`` is short for ``task: {name: masks}``.
    """

    model_config = ConfigDict(extra="allow")

    name: Named = Field(description="Which task; the settings of each are below.")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """One object for each task; its name alone is one, too."""
        described = handler(core_schema)
        named = described["properties"]["name"]
        objects = []
        for name in LOSSES:
            settings = TASKS[name].settings.schema()
            objects.append(
                {
                    **settings,
                    "description": TASKS[name].meaning,
                    "properties": {
                        "name": {"const": name, "description": named["description"]},
                        **settings["properties"],
                    },
                    "required": ["name", *settings.get("required", [])],
                }
            )
        return {
            "title": described["title"],
            "description": described["description"],
            "anyOf": [*objects, {"enum": list(LOSSES)}],
        }

    @model_validator(mode="after")
    def _settings_are_whole(self) -> TaskConfig:
        """Settings are those of the task, and what is left out is there with its default."""
        given = self.__pydantic_extra__ or {}
        needed = TASKS[self.name].settings.schema().get("required", [])
        missing = [key for key in needed if key not in given]
        if missing:
            raise ValueError(
                f"task {self.name} needs {', '.join(missing)} (docs/tasks.md#{self.name}); "
                f"`edgeticket init NETWORK DATA --task {self.name}` writes what outputs tell"
            )
        try:
            settings = TASKS[self.name].settings.from_json(to_json(self.__pydantic_extra__ or {}))
        except InputError as error:
            raise ValueError(_placed(str(error))) from None
        # The value is frozen for everybody else: nobody has seen it yet.
        object.__setattr__(self, "__pydantic_extra__", to_json(settings))
        return self

    @property
    def task(self) -> Task:
        """As manifests have it."""
        return Task(self.name, dict(self.__pydantic_extra__ or {}))


def check_loss(task: str | None, loss: str, *, place: str) -> None:
    """Look at the name of a loss; without a task, named data may bring one.

    Raises:
        ValueError: the task has no such loss; ``place`` is that of the training.
    """
    every = dict.fromkeys(name for losses in LOSSES.values() for name in losses)
    known = tuple(every) if task is None else LOSSES[task]
    if loss not in known:
        raise ValueError(
            f"{place}.loss: no loss {loss!r}{f' for task {task}' * (task is not None)} (known: "
            f"{', '.join(known)}); or give a function of yours, package.module:function"
        )


def _placed(sentence: str) -> str:
    """A sentence of `Settings` without its own place, which the recipe's comes before."""
    match = re.match(r"task at /([^:]*): ", sentence)
    if match is None:
        return sentence.removeprefix("task: ")
    path, rest = match[1].replace("/", "."), sentence[match.end() :]
    return f"{path}: {rest}" if path else rest
