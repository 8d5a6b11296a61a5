"""A whole recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from edgeticket.pipeline.recipe.config import Config
from edgeticket.pipeline.recipe.distil import DENSE
from edgeticket.pipeline.recipe.methods import Pass
from edgeticket.pipeline.recipe.model import ModelConfig
from edgeticket.pipeline.recipe.parts import BenchConfig, BundleConfig, TrainConfig
from edgeticket.pipeline.recipe.sources import RANDOM, DataConfig
from edgeticket.pipeline.recipe.task import TaskConfig, check_loss


class Recipe(Config):
    """A whole recipe."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="What the results are called, and their folder."
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0,
        description="Decides the splits, random weights, the order of examples, and all noise.",
    )
    data: DataConfig = Field(description="Which examples, and how they are split.")
    task: TaskConfig | None = Field(
        default=None,
        description="What the network's outputs mean, see [tasks](tasks.md); a name alone has "
        "default settings. Left out: classes, transcripts or nothing, as the data have them.",
    )
    model: ModelConfig = Field(description="The dense network.")
    train: TrainConfig | None = Field(
        default=None,
        description="How the dense network is trained. Left out with `model.weights`, and when the "
        "first pass starts from a random network.",
    )
    compress: tuple[Pass, ...] = Field(
        description="Passes, in this order; the last is `ptq` or `qat`."
    )
    bundle: BundleConfig = Field(
        default=BundleConfig(), description="What is copied to the device."
    )
    bench: BenchConfig = Field(default=BenchConfig(), description="How this machine measures.")

    @classmethod
    def spelled_out(cls, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """``data: random`` is short for a hundred random examples, a task's name for the task."""
        whole = dict(document)
        if whole.get("data") == "random":
            whole["data"] = {"random": RANDOM}
        if isinstance(whole.get("task"), str):
            whole["task"] = {"name": whole["task"]}
        return whole

    @model_validator(mode="after")
    def _losses_are_those_of_the_task(self) -> Recipe:
        for place, training in self.trainings():
            if training.loss is not None and ":" not in training.loss:
                name = None if self.task is None else self.task.name
                check_loss(name, training.loss, place=place)
        return self

    def trainings(self) -> list[tuple[str, TrainConfig]]:
        """Every training of the recipe, and where it stands."""
        passes = [(f"compress.{i}.train", step.training) for i, step in enumerate(self.compress)]
        places = [("train", self.train), *passes]
        return [(place, training) for place, training in places if training is not None]

    @model_validator(mode="after")
    def _finished_files_are_not_trained(self) -> Recipe:
        training = [step.method for step in self.compress if step.training is not None]
        if self.model.file is not None and (self.train is not None or training):
            key = "onnx" if self.model.onnx else "pt2"
            raise ValueError(
                f"{training[0] if training else 'train'} trains, and model.{key} is a finished "
                "file (its batch norms are folded away): leave it out, or give the network that it "
                "was exported from as `model: {import: package.module:function, weights: FILE}`"
            )
        return self

    @model_validator(mode="after")
    def _one_source_of_weights(self) -> Recipe:
        if self.train is not None and self.model.brings_weights:
            raise ValueError("give either train (train the network) or model.weights (import it)")
        first = self.compress[0] if self.compress else None
        random_start = first is not None and first.starts_at_random
        if self.train is None and not self.model.brings_weights and not random_start:
            raise ValueError(
                "give either train (train the network) or model.weights (import it); only passes "
                "that search or train by themselves can start from a random network"
            )
        return self

    @model_validator(mode="after")
    def _teachers_come_before(self) -> Recipe:
        if self.train is not None and self.train.distil is not None:
            self.train.distil.teacher.find({}, place="train")
        for i, step in enumerate(self.compress):
            if step.training is not None and step.training.distil is not None:
                step.training.distil.teacher.find(
                    self.networks_before(i), place=f"compress.{i}.train"
                )
        return self

    @model_validator(mode="after")
    def _ends_in_int8(self) -> Recipe:
        methods = [step.method for step in self.compress if step.decides_scales]
        if methods not in (["ptq"], ["qat"], ["ptq", "qat"]) or methods != [
            step.method for step in self.compress[-len(methods) :]
        ]:
            raise ValueError("compress must end with `method: ptq`, `method: qat`, or both")
        last = self.compress[-1]
        if len(methods) == 2 and last.layers_in_fp32:
            raise ValueError("compress: say keep_fp32 in ptq; qat goes on with its layers")
        return self

    @model_validator(mode="after")
    def _channels_before_weights(self) -> Recipe:
        weights = [i for i, step in enumerate(self.compress) if step.removes == "weights"]
        for i, step in enumerate(self.compress):
            if step.removes == "channels" and weights and weights[0] < i:
                raise ValueError(
                    f"compress: {step.method} removes channels, {self.compress[weights[0]].method} "
                    "before it single weights; put the one that removes channels first"
                )
        return self

    def networks_before(self, position: int) -> dict[int, str]:
        """The networks that can teach the pass at ``position``, by name.

        0 is the dense network, unless it is not trained; i + 1 is what pass i leaves.
        """
        random = self.train is None and not self.model.brings_weights
        passes: dict[int, str] = {
            i + 1: step.method for i, step in enumerate(self.compress[:position])
        }
        return passes if random else {0: DENSE, **passes}
