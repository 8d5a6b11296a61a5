"""Layers that a network calls as functions of its own tensors, as timm's do, become modules."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from edgeticket.device_runner.errors import InputError

# Function -> its arguments behind the input, with what stands for those that are left out.
ARGUMENTS: dict[Any, dict[str, Any]] = {
    F.linear: {"weight": None, "bias": None},
    F.conv2d: {
        "weight": None,
        "bias": None,
        "stride": 1,
        "padding": 0,
        "dilation": 1,
        "groups": 1,
    },
    F.batch_norm: {
        "running_mean": None,
        "running_var": None,
        "weight": None,
        "bias": None,
        "training": False,
        "momentum": 0.1,
        "eps": 1e-5,
    },
}


def is_spelled(node: fx.Node) -> bool:
    """Whether ``node`` calls such a function on nothing but one value and stored tensors."""
    if node.op != "call_function" or node.target not in ARGUMENTS:
        return False
    return sum(n.op != "get_attr" for n in node.all_input_nodes) == 1


def spelled_layer(node: fx.Node, source: nn.Module) -> nn.Module:
    """The module that does what ``node`` does with tensors of ``source``.

    Raises:
        InputError: batch norm of each batch.
    """
    wanted = ARGUMENTS[node.target]
    given = wanted | dict(zip(wanted, node.args[1:], strict=False)) | dict(node.kwargs)
    tensors = {
        name: operator.attrgetter(str(value.target))(source).detach()
        for name, value in given.items()
        if isinstance(value, fx.Node) and name != "input"
    }
    if node.target is F.linear:
        rows, columns = tensors["weight"].shape
        return _filled(nn.Linear(columns, rows, bias="bias" in tensors), tensors)
    if node.target is F.conv2d:
        weight = tensors["weight"]
        settings = {k: given[k] for k in ("stride", "padding", "dilation", "groups")}
        channels = weight.shape[1] * given["groups"]
        size = tuple(weight.shape[2:])
        layer = nn.Conv2d(channels, len(weight), size, **settings, bias="bias" in tensors)
        return _filled(layer, tensors)
    if given["training"] or "running_mean" not in tensors:
        raise InputError(
            f"{node.name} (batch_norm) cannot be folded: it must have running statistics"
        )
    channels = len(tensors["running_mean"])
    norm = nn.BatchNorm2d(channels, eps=given["eps"], affine="weight" in tensors)
    return _filled(norm, tensors)


def _filled(layer: nn.Module, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    layer.load_state_dict(dict(tensors), strict=False)
    return layer.eval()
