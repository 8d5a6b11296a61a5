"""How a recipe trains, bundles and measures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgeticket.pipeline.recipe.config import Config, Count, Share
from edgeticket.pipeline.recipe.distil import Distil


class TrainConfig(Config):
    """One run of the training loop."""

    epochs: Count = Field(default=20, description="Passes over the training examples.")
    batch_size: Count = Field(default=128, description="Examples a step.")
    optimizer: Literal["sgd", "adam"] = Field(
        default="sgd",
        description="`sgd` has Nesterov momentum; `adam` decays weights apart from the gradient "
        "(AdamW).",
    )
    lr: Annotated[float, Field(gt=0)] = Field(
        default=0.1,
        description="The learning rate at its peak. The default is for SGD on networks with batch "
        "norm; fine-tuning wants a fifth of it or less, `adam` about 1e-3.",
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.9, description="Of `sgd`.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=5e-4, description="Not on biases and normalisation."
    )
    schedule: Literal["cosine", "step", "constant"] = Field(
        default="cosine",
        description="How the learning rate falls behind the warm-up, batch by batch.",
    )
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Share of all steps in which the learning rate rises to its peak."
    )
    milestones: tuple[Share, ...] = Field(
        default=(0.5, 0.75),
        description="Of `schedule: step`: shares of all steps behind which the learning rate is a "
        "tenth.",
    )
    loss: str | None = Field(
        default=None,
        description="What is made small: a loss of the task, see docs/tasks.md, or a function of "
        "yours, package.module:function, of the outputs and the named targets of a batch, that "
        "returns one number. Default: the task's first.",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of the truth that is spread over all classes."
    )
    augment: Literal[
        "none",
        "flip",
        "shift",
        "crop_flip",
        "light",
        "zoom",
        "zoom_flip",
        "zoom_flip_light",
        "speech",
        "speech_speed",
        "speech_whole",
    ] = Field(
        default="none",
        description="How examples vary. Pictures: `flip` mirrors half of them, `shift` moves by up "
        "to 2 pixels, `crop_flip` by up to 4 and mirrors, `light` changes brightness and contrast, "
        "`zoom` makes them up to 1.4 times larger or smaller and moves them, `zoom_flip` and "
        "`zoom_flip_light` do several; boxes, masks, points and pictures that are targets move "
        "along. Recordings: `speech`, `speech_speed` where the speaker does not matter, "
        "`speech_whole` where every word counts.",
    )
    views: Count | None = Field(
        default=None,
        description="In how many ways `augment` changes each example; epoch by epoch they come "
        "round again. A teacher whose outputs alone are learnt then looks at each once, and not "
        "in every epoch; see docs/distillation.md. Default: new changes in every epoch.",
    )
    precision: Literal["fp32", "bf16", "auto"] = Field(
        default="fp32",
        description="`bf16` multiplies in bfloat16 and keeps weights in float32: faster on GPUs "
        "and on x86 CPUs with AMX or AVX512-BF16, slower elsewhere; `auto` is `bf16` on these and "
        "`fp32` elsewhere, so another machine may end in other weights.",
    )
    distil: Distil | None = Field(
        default=None,
        description="A teacher's help, see docs/distillation.md. Default: labels alone.",
    )


class BundleConfig(Config):
    """What is copied to the device besides the artifacts."""

    baseline: bool = Field(
        default=True, description="The dense fp32 files too, so that the device can prove the gain."
    )
    samples: Count | None = Field(
        default=None, description="Test examples that it carries. Default: all of them."
    )
    tensorrt: bool = Field(
        default=False,
        description="The int8 file for TensorRT on a Jetson too, see docs/devices.md. Its codes "
        "are symmetric, so its answers differ from those of the other int8 files.",
    )
    max_p90_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="What the 90th percentile of one inference may take on a device, in "
        "milliseconds; `device-runner prove --budget` holds devices to it, see docs/prove.md.",
    )


class BenchConfig(Config):
    """How the artifacts are measured on this machine; see `device-runner bench --help`."""

    threads: Count = Field(default=1, description="Within one inference.")
    min_seconds: Annotated[float, Field(ge=0)] = Field(
        default=2.0, description="Seconds that each artifact is timed, at least."
    )
    min_queries: Count = Field(
        default=700,
        description="Inferences that are timed of each artifact, at least; p99 needs 662.",
    )
    amx: bool = Field(
        default=True,
        description="false keeps Intel's AMX from the runtimes. LiteRT takes it where the CPU has "
        "it, also for layers that it makes slower (fewer than 64 input channels), and boards have "
        "none.",
    )
