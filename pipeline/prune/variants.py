"""A module without some channels, or with zeros for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeticket.models.copies import shared_copy
from edgeticket.models.network import narrow
from edgeticket.pipeline.prune.channel_group import ChannelGroup

Kept = Mapping[str, npt.NDArray[np.bool_]]
"""Name of a group -> [width], True = stays."""


def removed_indices(
    gone: Iterable[tuple[ChannelGroup, Sequence[int]]],
) -> dict[str, dict[int, tuple[int, ...]]]:
    """What disappears from each tensor and axis with these channels of groups."""
    indices: dict[str, dict[int, set[int]]] = {}
    for group, channels in gone:
        for cut in group.cuts:
            if lost := cut.span.indices_of(set(channels)):
                indices.setdefault(cut.tensor, {}).setdefault(cut.axis, set()).update(lost)
    return {
        name: {axis: tuple(sorted(lost)) for axis, lost in axes.items()}
        for name, axes in indices.items()
    }


def narrowed(module: nn.Module, groups: Iterable[ChannelGroup], kept: Kept) -> nn.Module:
    """A copy without channels; what is not narrower is shared with ``module``."""
    removed = removed_indices(
        (group, np.flatnonzero(~kept[group.name]).tolist()) for group in groups
    )
    result = shared_copy(module)
    tensors = {name: _tensor(module, name) for name in removed}
    narrow(result, removed)
    for name, axes in removed.items():
        tensor = tensors[name]
        for axis, indices in axes.items():
            stays = np.setdiff1d(np.arange(tensor.shape[axis]), indices)
            tensor = tensor.index_select(axis, torch.from_numpy(stays))
        _set_tensor(result, name, tensor)
    return result


def masked(module: nn.Module, groups: Iterable[ChannelGroup], kept: Kept) -> nn.Module:
    """A copy that writes zeros to channels; all else is shared with ``module``."""
    result = shared_copy(module)
    for group in groups:
        gone = set(np.flatnonzero(~kept[group.name]).tolist())
        for cut in group.written:
            places = torch.tensor(cut.span.indices_of(gone), dtype=torch.int64)
            zeros = _tensor(result, cut.tensor).index_fill(cut.axis, places, 0)
            _set_tensor(result, cut.tensor, zeros)
    return result


def _tensor(module: nn.Module, name: str) -> Tensor:
    owner, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(module.get_submodule(owner), leaf)
    return tensor.detach()


def _set_tensor(module: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    is_parameter = leaf in owner._parameters
    setattr(owner, leaf, nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor)
