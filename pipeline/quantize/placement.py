"""Where a folded graph is quantised: which step's output owns the scale of each tensor."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from device_runner.errors import InputError
from pipeline.quantize.fold import kind

LAYERS: frozenset[Any] = frozenset({nn.Conv2d, nn.Linear})
ADDITIONS: frozenset[Any] = frozenset({operator.add, operator.iadd, torch.add, Tensor.add})
AVERAGES: frozenset[Any] = frozenset(
    {
        nn.AdaptiveAvgPool2d,
        nn.AvgPool2d,
        F.adaptive_avg_pool2d,
        F.avg_pool2d,
        torch.mean,
        Tensor.mean,
    }
)
CLAMPS: frozenset[Any] = frozenset(
    {
        nn.ReLU,
        nn.ReLU6,
        nn.Hardtanh,
        F.relu,
        F.relu6,
        F.hardtanh,
        torch.relu,
        Tensor.relu,
        Tensor.relu_,
    }
)
# These give out only values that came in, or 0, so that the codes stay meaningful.
REARRANGEMENTS: frozenset[Any] = frozenset(
    {
        nn.MaxPool2d,
        nn.Flatten,
        F.max_pool2d,
        torch.flatten,
        torch.reshape,
        Tensor.flatten,
        Tensor.reshape,
        Tensor.view,
        Tensor.size,
    }
)


def scale_owners(folded: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Node -> the node whose output's scale its own output has.

    A layer, addition or average owns its scale; where a ReLU or the like is all that reads it,
    the ReLU owns it instead, because both run as one. Max pooling, reshaping, and a ReLU that
    shares its input with another step keep the scale of their input.

    Raises:
        InputError: a step that cannot be quantised, by name.
    """
    owners: dict[fx.Node, fx.Node] = {}
    for node in folded.graph.nodes:
        if node.op == "output":
            continue
        what = node.op if node.op == "placeholder" else kind(folded.get_submodule(node.name))
        if what in LAYERS | ADDITIONS | AVERAGES:
            owners[node] = _following_clamp(folded, node) or node
        elif what in CLAMPS | REARRANGEMENTS:
            owners[node] = node if owners[node.args[0]] is node else owners[node.args[0]]
        elif what == "placeholder":
            owners[node] = node
        else:
            name = getattr(what, "__name__", str(what))
            raise InputError(
                f"{node.name} ({name}) cannot be quantised; known are "
                "Conv2d, Linear, addition, average and max pooling, ReLU, ReLU6, Hardtanh, flatten"
            )
    return owners


def _following_clamp(folded: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    readers = list(node.users)
    if len(readers) != 1 or readers[0].op == "output":
        return None
    return readers[0] if kind(folded.get_submodule(readers[0].name)) in CLAMPS else None


def additions(
    folded: fx.GraphModule, owners: dict[fx.Node, fx.Node]
) -> list[tuple[str, str, str]]:
    """For each addition, the scale owners (left, right, sum)."""
    return [
        (owners[node.args[0]].name, owners[node.args[1]].name, owners[node].name)
        for node in owners
        if node.op == "call_module" and kind(folded.get_submodule(node.name)) in ADDITIONS
    ]


def layer_names(folded: fx.GraphModule) -> list[str]:
    """The convolution and linear layers, in order."""
    steps = [node.name for node in folded.graph.nodes if node.op == "call_module"]
    return [name for name in steps if type(folded.get_submodule(name)) in LAYERS]
