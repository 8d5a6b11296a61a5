"""The parts of a recipe that are no passes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgeticket.pipeline.recipe.config import Config, Count, Share
from edgeticket.pipeline.recipe.distil import Distil

Sides = tuple[Count, Count]
SOURCES = ("name", "folder", "npz", "factory")
OWN_ONLY = ("classes", "resize", "crop", "filter", "grey", "mean", "std")


class DataConfig(Config):
    """Which data, and how they are split. Sizes are numbers of examples.

    Exactly one of name, folder, npz and factory. Pictures become inputs of one size by resize and
    crop; see docs/your-own-model.md.
    """

    name: str | None = None  # a key of pipeline.data.DATASETS
    # Pictures, PATH/CLASS/*.jpg, or PATH/train/CLASS and PATH/val or PATH/test. A relative path
    # is looked up as model.weights is.
    folder: str | None = None
    npz: str | None = None  # inputs uint8 [N, H, W, C], labels; perhaps test_inputs, test_labels
    factory: str | None = None  # package.module:function, which returns such arrays
    args: Mapping[str, bool | int | float | str] = {}  # of the factory
    # Which class has which number: lines `folder` or `folder name`, or a .csv with the columns
    # folder, index and name. None: by the names of the folders.
    classes: str | None = None
    resize: Annotated[int, Field(ge=1, le=4096)] | Sides | None = None  # shorter side, or [H, W]
    crop: Annotated[int, Field(ge=1, le=4096)] | Sides | None = None  # the middle; a square, [H, W]
    filter: Literal["bilinear", "bicubic"] = "bilinear"  # of resize
    grey: bool = False  # one channel instead of three
    # Per channel, of pixels in 0..255. None: ImageNet's, or 127.5 for one channel.
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    validation: Count = 5000  # choices are made on these
    calibration: Count = 300  # these fix the int8 ranges
    test: Count | None = None  # None: the official test set, whole; read once, at the end
    train: Count | None = None  # None: all that is left; fewer makes a quick try

    @property
    def title(self) -> str:
        """What people call these data."""
        if self.name or self.factory:
            return str(self.name or self.factory)
        path = PurePath(str(self.folder or self.npz))
        plain = path.parent if path.name in ("train", "val") else path
        return plain.stem if self.npz else plain.name

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        given = [key for key in SOURCES if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(SOURCES)}")
        if self.name is not None:
            # By value: a recipe that was written out says its defaults, too.
            fields = type(self).model_fields
            own = {
                key
                for key in (*OWN_ONLY, "args")
                if getattr(self, key) != fields[key].get_default(call_default_factory=True)
            }
            if own:
                raise ValueError(f"{sorted(own)[0]} is for data of your own, not for {self.name}")
        elif self.args and self.factory is None:
            raise ValueError("args are for a factory")
        if self.folder is not None and self.resize is None and self.crop is None:
            raise ValueError("pictures in a folder need resize, or crop, or both, in pixels")
        if (self.mean is None) != (self.std is None):
            raise ValueError("give both mean and std, or neither")
        if isinstance(self.resize, int):
            sides = self.crop if isinstance(self.crop, tuple) else (self.crop or self.resize,)
            if max(sides) > self.resize and isinstance(self.crop, int):
                raise ValueError(f"crop {self.crop} is larger than resize {self.resize}")
        return self


class ModelConfig(Config):
    """The dense network: an architecture, and weights to import instead of training.

    Exactly one of arch, import, torchvision, timm and onnx.
    """

    arch: str | None = None  # a key of models.ARCHITECTURES
    # package.module:function, which returns a torch.nn.Module; looked for beside the recipe too.
    import_: str | None = Field(default=None, alias="import")
    torchvision: str | None = None  # a name of torchvision.models, without weights
    timm: str | None = None  # a name of timm.list_models(); needs the extra `timm`
    # A finished file: float32, [N, C, H, W] in, looked up as weights are; nothing is trained then.
    onnx: str | None = None
    args: Mapping[str, bool | int | float | str] = {}
    # Safetensors, or a state_dict of torch.save. A relative path is looked up beside the recipe,
    # then in the current folder, then in the data folder; package:NAME/FILE in a package.
    weights: str | None = None
    # Regular expressions -> what stands for them in names of tensors, where a file has others.
    rename: Mapping[str, str] = {}
    trained: bool = False  # whether the imported function returns trained weights
    # How random weights are drawn, see pipeline.network.initialise; default is PyTorch's own.
    init: Literal["default", "kaiming_normal", "uniform", "signed_constant"] = "default"
    # The share of the weights that a ticket will keep: those are made larger by 1/√share, so that
    # what is left has the variance that the whole would have had.
    init_kept: Share = 1.0
    # Per-channel mean and std of the pixels in 0..255 that the weights were trained with;
    # None takes the data set's own.
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None

    @property
    def architecture(self) -> str:
        """As `models.build` takes it."""
        if self.arch is not None:
            return self.arch
        if self.onnx is not None:
            return f"onnx:{PurePath(self.onnx).name}"
        source = next(s for s in ("import_", "torchvision", "timm") if getattr(self, s) is not None)
        return f"{source.rstrip('_')}:{getattr(self, source)}"

    @property
    def brings_weights(self) -> bool:
        """Whether there are trained weights, so that the dense network is not trained."""
        return self.weights is not None or self.trained or self.onnx is not None

    @model_validator(mode="after")
    def _one_architecture(self) -> ModelConfig:
        given = [self.arch, self.import_, self.torchvision, self.timm, self.onnx]
        if sum(name is not None for name in given) != 1:
            raise ValueError("give exactly one of arch, import, torchvision, timm, onnx")
        if self.onnx is not None and (self.weights is not None or self.args):
            raise ValueError(
                "an onnx file has its weights and sizes in it: leave out weights, args"
            )
        if self.trained and (self.import_ is None or self.weights is not None):
            raise ValueError("trained is for an imported function that brings its weights itself")
        if self.rename and self.weights is None:
            raise ValueError("rename is for the names in a file of weights")
        return self

    @model_validator(mode="after")
    def _only_what_is_drawn_has_an_init(self) -> ModelConfig:
        if self.brings_weights and self.init != "default":
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
    # speaker does not matter, speech_whole for those of which every word counts.
    augment: Literal["none", "shift", "crop_flip", "speech", "speech_speed", "speech_whole"] = (
        "none"
    )
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
