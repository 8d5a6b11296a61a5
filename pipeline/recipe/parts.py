"""The parts of a recipe that are no passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.recipe.config import Config, Count, Share
from pipeline.recipe.distil import Distil


class DataConfig(Config):
    """Which data set, and how it is split. Sizes are numbers of examples."""

    name: str  # a key of pipeline.data.DATASETS
    validation: Count = 5000  # choices are made on these
    calibration: Count = 300  # these fix the int8 ranges
    test: Count | None = None  # None: the official test set, whole; read once, at the end
    train: Count | None = None  # None: all that is left; fewer makes a quick try


class ModelConfig(Config):
    """The dense network: an architecture, and weights to import instead of training."""

    arch: str  # a key of models.ARCHITECTURES
    args: Mapping[str, bool | int | float | str] = {}
    # A safetensors file. A relative path is looked up beside the recipe, then in the
    # current folder, then in the data folder.
    weights: str | None = None
    # How random weights are drawn, see pipeline.initialise; default is PyTorch's own.
    init: Literal["default", "kaiming_normal", "uniform", "signed_constant"] = "default"
    # The share of the weights that a ticket will keep: those are made larger by 1/√share, so that
    # what is left has the variance that the whole would have had.
    init_kept: Share = 1.0
    # Per-channel mean and std of the pixels in 0..255 that the weights were trained with;
    # None takes the data set's own.
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _only_what_is_drawn_has_an_init(self) -> ModelConfig:
        if self.weights is not None and self.init != "default":
            raise ValueError("give either weights or init: imported weights are not drawn")
        if self.init == "default" and self.init_kept != 1:
            raise ValueError("init_kept needs an init other than default")
        return self


class TrainConfig(Config):
    """One run of the training loop."""

    epochs: Count = 20
    batch_size: Count = 128
    # sgd has Nesterov momentum; adam decays weights apart from the gradient (AdamW)
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1  # the peak
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4  # not on biases and normalisation
    schedule: Literal["cosine", "step", "constant"] = "cosine"  # stepped once per batch
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of all steps with rising lr
    milestones: tuple[Share, ...] = (0.5, 0.75)  # schedule: step; shares of all steps, lr × 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # shift and crop_flip are for images; speech is for recordings, speech_speed for those whose
    # speaker does not matter.
    augment: Literal["none", "shift", "crop_flip", "speech", "speech_speed"] = "none"
    # bf16: multiply in bfloat16 and keep weights in float32. Faster where the hardware has it:
    # GPUs, and x86 CPUs with AMX; slower elsewhere.
    precision: Literal["fp32", "bf16"] = "fp32"
    # A teacher's help, see docs/distillation.md; None: labels alone.
    distil: Distil | None = None


class BundleConfig(Config):
    """What is copied to the device besides the artifacts."""

    baseline: bool = True  # the dense fp32 artifacts too, so that the device can prove the gain
    samples: Count | None = None  # test examples to carry; None: all of them


class BenchConfig(Config):
    """How the artifacts are measured on this machine; see `device-runner bench --help`."""

    threads: Count = 1
    min_seconds: Annotated[float, Field(ge=0)] = 2.0  # per artifact
    min_queries: Count = 700  # per artifact; p99 needs 662
    # False keeps Intel's AMX from the runtimes. LiteRT takes it where the CPU has it, also for
    # layers that it makes slower (fewer than 64 input channels), and boards have none.
    amx: bool = True
