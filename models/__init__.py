"""The architectures: plain PyTorch, no weights.

A new one is a module that builds it and a line in ``ARCHITECTURES``. Those from elsewhere
(`models.own`) have a source before their name; what they take and give shows when they run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from edgeticket.models.anchored_upscaler import AnchoredUpscaler
from edgeticket.models.bc_resnet import BcResNet
from edgeticket.models.cell_detector import CellDetector
from edgeticket.models.cifar_resnet import resnet20, resnet56
from edgeticket.models.conv_autoencoder import ConvAutoencoder
from edgeticket.models.conv_gru import ConvGru
from edgeticket.models.conv_net import conv2, conv4, conv6
from edgeticket.models.conv_stack import DigitsCnn, VggSmall
from edgeticket.models.ds_cnn import DsCnn
from edgeticket.models.efficientnet_lite import EfficientNetLite0
from edgeticket.models.fast_cifar import FastCifar
from edgeticket.models.lenet import LeNet5, LeNet300
from edgeticket.models.own import build_own, is_own
from edgeticket.models.separable_classifier import SeparableClassifier
from edgeticket.models.separable_ctc import SeparableCtc
from edgeticket.models.unet import UNet
from edgeticket.models.vit import cifar_conv_vit, cifar_vit, digits_vit

Args = Mapping[str, bool | int | float | str]


@dataclass(frozen=True)
class Architecture:
    """How to build a network, and what it takes and gives.

    The arguments of ``builder`` are keyword-only whole numbers with defaults. Parameters that
    require no gradient are part of the architecture: weight files need not contain them.
    """

    builder: Callable[..., nn.Module]
    takes: tuple[str | int, ...]  # shape of one input; a text is the argument that decides the size
    gives: str = "num_classes"  # the argument that decides how many outputs there are; "": none


def build(arch: str, args: Args) -> nn.Module:
    """Architecture name and arguments -> a freshly initialised module in training mode.

    Raises:
        ValueError: the architecture is unknown, or an argument is; the message lists the known.
    """
    if is_own(arch):
        return build_own(arch, args)
    return _architecture(arch).builder(**_complete(arch, args))


def input_shape(arch: str, args: Args) -> tuple[int, ...]:
    """Architecture name and arguments -> (channels, height, width) or (channels, frames)."""
    complete = _complete(arch, args)
    return tuple(complete[n] if isinstance(n, str) else n for n in _architecture(arch).takes)


def size_arguments(arch: str) -> tuple[str, ...]:
    """Names of the arguments that decide the shape of the input."""
    return tuple(dict.fromkeys(n for n in _architecture(arch).takes if isinstance(n, str)))


def num_classes(arch: str, args: Args) -> int:
    """Architecture name and arguments -> how many classes or symbols it tells apart.

    Raises:
        ValueError: unknown architecture or argument; or it gives something else than classes.
    """
    complete, gives = _complete(arch, args), _architecture(arch).gives
    if not gives:
        raise ValueError(f"{arch} gives pictures, no classes: name the task that they are for")
    return complete[gives]


def transcribes(arch: str) -> bool:
    """Whether an architecture writes down what it hears: logits of symbols for a CTC loss."""
    return _architecture(arch).gives == "symbols"


def removable_blocks(module: nn.Module) -> tuple[str, ...]:
    """Names of the submodules that a network still works without, in its order.

    Their outputs have the shape of their inputs, and are those plus something learnt. They say so
    by an attribute ``removable``.
    """
    return tuple(n for n, block in module.named_modules() if getattr(block, "removable", False))


def _architecture(arch: str) -> Architecture:
    if arch not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {arch!r} (known: {', '.join(ARCHITECTURES)})")
    return ARCHITECTURES[arch]


def _complete(arch: str, args: Args) -> dict[str, int]:
    """The arguments with defaults filled in, checked."""
    parameters = inspect.signature(_architecture(arch).builder).parameters
    complete: dict[str, int] = {name: p.default for name, p in parameters.items()}
    for name, value in args.items():
        if name not in complete:
            known = ", ".join(complete)
            raise ValueError(f"{arch} has no argument {name!r} (known: {known})")
        if type(value) is not int or value < 1:  # a bool is an int, but not a width
            raise ValueError(f"{arch}: {name} is a whole number from 1 up, not {value!r}")
        complete[name] = value
    return complete


_PIXELS_28 = ("in_channels", 28, 28)
_PIXELS_32 = ("in_channels", 32, 32)
_FEATURES = ("in_channels", "frames", "mels")

ARCHITECTURES: dict[str, Architecture] = {
    "resnet20": Architecture(resnet20, _PIXELS_32),
    "resnet56": Architecture(resnet56, _PIXELS_32),
    "vgg_small": Architecture(VggSmall, _PIXELS_32),
    "fast_cifar": Architecture(FastCifar, _PIXELS_32),
    "efficientnet_lite0": Architecture(EfficientNetLite0, ("in_channels", 224, 224)),
    "conv2": Architecture(conv2, _PIXELS_32),
    "conv4": Architecture(conv4, _PIXELS_32),
    "conv6": Architecture(conv6, _PIXELS_32),
    "lenet300": Architecture(LeNet300, _PIXELS_28),
    "lenet5": Architecture(LeNet5, _PIXELS_28),
    "digits_cnn": Architecture(DigitsCnn, _PIXELS_28),
    "cifar_vit": Architecture(cifar_vit, _PIXELS_32),
    "cifar_conv_vit": Architecture(cifar_conv_vit, _PIXELS_32),
    "digits_vit": Architecture(digits_vit, _PIXELS_28),
    "cell_detector": Architecture(CellDetector, ("in_channels", "side", "side")),
    "unet": Architecture(UNet, ("in_channels", "side", "side")),
    "anchored_upscaler": Architecture(AnchoredUpscaler, (1, "side", "side"), gives=""),
    "conv_autoencoder": Architecture(ConvAutoencoder, (1, 28, 28), gives=""),
    "conv_gru": Architecture(ConvGru, ("channels", "steps")),
    "ds_cnn": Architecture(DsCnn, _FEATURES),
    "bc_resnet1": Architecture(BcResNet, _FEATURES),
    "separable_classifier": Architecture(SeparableClassifier, ("mels", "frames")),
    "separable_ctc": Architecture(SeparableCtc, ("mels", "frames"), gives="symbols"),
}
