"""The architectures: plain PyTorch, no weights.

A new one is a module that builds it and a line in ``ARCHITECTURES``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from models.cifar_resnet import resnet20, resnet56
from models.conv_net import conv2, conv4, conv6
from models.conv_stack import DigitsCnn, VggSmall
from models.fast_cifar import FastCifar
from models.lenet import LeNet5, LeNet300

Args = Mapping[str, bool | int | float | str]


@dataclass(frozen=True)
class Architecture:
    """How to build a network, and what it takes.

    The arguments of ``builder`` are keyword-only whole numbers with defaults, among them
    ``in_channels`` and ``num_classes``. Parameters that require no gradient are part of the
    architecture: weight files need not contain them.
    """

    builder: Callable[..., nn.Module]
    image_size: tuple[int, int]  # height, width


def build(arch: str, args: Args) -> nn.Module:
    """Architecture name and arguments -> a freshly initialised module in training mode.

    Raises:
        ValueError: the architecture is unknown, or an argument is; the message lists the known.
    """
    return _architecture(arch).builder(**_complete(arch, args))


def input_shape(arch: str, args: Args) -> tuple[int, int, int]:
    """Architecture name and arguments -> (channels, height, width) of one input."""
    return (_complete(arch, args)["in_channels"], *_architecture(arch).image_size)


def num_classes(arch: str, args: Args) -> int:
    """Architecture name and arguments -> how many classes it tells apart."""
    return _complete(arch, args)["num_classes"]


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


ARCHITECTURES: dict[str, Architecture] = {
    "resnet20": Architecture(resnet20, (32, 32)),
    "resnet56": Architecture(resnet56, (32, 32)),
    "vgg_small": Architecture(VggSmall, (32, 32)),
    "fast_cifar": Architecture(FastCifar, (32, 32)),
    "conv2": Architecture(conv2, (32, 32)),
    "conv4": Architecture(conv4, (32, 32)),
    "conv6": Architecture(conv6, (32, 32)),
    "lenet300": Architecture(LeNet300, (28, 28)),
    "lenet5": Architecture(LeNet5, (28, 28)),
    "digits_cnn": Architecture(DigitsCnn, (28, 28)),
}
