"""The numbers that layers keep about themselves, once channels were removed from their tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import nn

Shapes = Mapping[str, tuple[int, ...]]
Gone = Mapping[str, Mapping[int, Collection[int]]]


def set_counts(layer: nn.Module, shapes: Shapes, gone: Gone) -> None:
    """Make the numbers of ``layer`` agree with its tensors.

    Args:
        layer: with its narrow tensors.
        shapes: of those that are narrower, before; by name.
        gone: what was removed from each, by axis.
    """
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        _convolution(layer, shapes, gone)
    elif isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
        _transposed(layer, shapes, gone)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm1d | nn.InstanceNorm2d):
        layer.num_features = _length(layer, shapes)
    elif isinstance(layer, nn.GroupNorm):
        name = next(iter(shapes))
        layer.num_groups = groups_left(layer.num_groups, shapes[name][0], gone[name].get(0, ()))
        layer.num_channels = _length(layer, shapes)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)
    elif isinstance(layer, nn.Embedding):
        layer.embedding_dim = layer.weight.shape[1]
    elif isinstance(layer, nn.RNNBase):
        layer.input_size = layer.get_parameter("weight_ih_l0").shape[1]


def _convolution(layer: nn.Conv1d | nn.Conv2d, shapes: Shapes, gone: Gone) -> None:
    if "weight" in shapes:
        rows = gone["weight"].get(0, ())
        layer.groups = groups_left(layer.groups, shapes["weight"][0], rows)
    layer.out_channels = layer.weight.shape[0]
    layer.in_channels = layer.weight.shape[1] * layer.groups


def _transposed(layer: nn.ConvTranspose1d | nn.ConvTranspose2d, shapes: Shapes, gone: Gone) -> None:
    if "weight" in shapes:
        inputs = gone["weight"].get(0, ())
        layer.groups = groups_left(layer.groups, shapes["weight"][0], inputs)
    layer.in_channels = layer.weight.shape[0]
    layer.out_channels = layer.weight.shape[1] * layer.groups


def _length(layer: nn.Module, shapes: Shapes) -> int:
    return int(getattr(layer, next(iter(shapes))).shape[0])


def groups_left(groups: int, size: int, removed: Collection[int]) -> int:
    """How many of ``groups``, equal parts of an axis of ``size``, keep something of it."""
    part = size // groups
    gone = set(removed)
    return sum(any(g * part + i not in gone for i in range(part)) for g in range(groups))
