"""Where a recipe starts: the dense network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Literal

from pydantic import Field, model_validator

from edgeticket.pipeline.recipe.config import Config, Share


class ModelConfig(Config):
    """The dense network: an architecture, and weights to import instead of training.

    Exactly one of arch, import, torchvision, timm, onnx and pt2.
    """

    arch: str | None = Field(
        default=None, description="An architecture of this project, e.g. `resnet20`; see models/."
    )
    import_: str | None = Field(
        default=None,
        alias="import",
        description="A function of yours, package.module:function, that returns a "
        "torch.nn.Module. It is looked for beside the recipe, in the current folder, then among "
        "the installed packages, and it is run.",
    )
    torchvision: str | None = Field(
        default=None, description="A name of torchvision.models; without its weights."
    )
    timm: str | None = Field(
        default=None,
        description="A name of timm.list_models(), without weights; needs the extra `timm`.",
    )
    onnx: str | None = Field(
        default=None,
        description="A finished float32 file, [N, C, H, W] in. Looked up as `weights` are; nothing "
        "is trained then.",
    )
    pt2: str | None = Field(
        default=None,
        description="A finished float32 file of `torch.export.save`, looked up as `weights` are; "
        "nothing is trained then. Nothing in it is run.",
    )
    args: Mapping[str, bool | int | float | str] = Field(
        default={}, description="Arguments of the architecture, e.g. {num_classes: 10}."
    )
    weights: str | None = Field(
        default=None,
        description="Trained weights, instead of `train`: safetensors, or a state_dict of "
        "torch.save. A relative path is looked up beside the recipe, then in the current folder, "
        "then in the data folder; package:NAME/FILE lies in an installed package.",
    )
    rename: Mapping[str, str] = Field(
        default={},
        description="Regular expressions, and what stands for them in names of tensors, where the "
        "file of weights has other names.",
    )
    trained: bool = Field(
        default=False,
        description="The function of `import` returns trained weights: nothing is trained.",
    )
    init: Literal["default", "kaiming_normal", "uniform", "signed_constant"] = Field(
        default="default",
        description="How random weights are drawn. The default is PyTorch's own; strong tickets "
        "want another, see docs/tickets.md.",
    )
    init_kept: Share = Field(
        default=1.0,
        description="The share κ of the weights that a ticket will keep: weights are drawn larger "
        "by 1/√κ, so that what is left has the variance that the whole would have had.",
    )
    pixel_mean: tuple[float, ...] | None = Field(
        default=None,
        description="Of the pixels in 0..255, one for each channel, that the weights were trained "
        "with. Default: the data's.",
    )
    pixel_std: tuple[float, ...] | None = Field(default=None, description="Likewise; give both.")

    @property
    def architecture(self) -> str:
        """As `models.build` takes it."""
        if self.arch is not None:
            return self.arch
        if self.file is not None:
            return f"{'onnx' if self.onnx else 'pt2'}:{PurePath(self.file).name}"
        source = next(s for s in ("import_", "torchvision", "timm") if getattr(self, s) is not None)
        return f"{source.rstrip('_')}:{getattr(self, source)}"

    @property
    def file(self) -> str | None:
        """The finished file that the network is, if it is one."""
        return self.onnx or self.pt2

    @property
    def brings_weights(self) -> bool:
        """Whether there are trained weights, so that the dense network is not trained."""
        return self.weights is not None or self.trained or self.file is not None

    @model_validator(mode="after")
    def _one_architecture(self) -> ModelConfig:
        given = [self.arch, self.import_, self.torchvision, self.timm, self.onnx, self.pt2]
        if sum(name is not None for name in given) != 1:
            raise ValueError("give exactly one of arch, import, torchvision, timm, onnx, pt2")
        if self.file is not None and (self.weights is not None or self.args):
            raise ValueError(
                f"{self.file} has its weights and sizes in it: leave out weights, args"
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
