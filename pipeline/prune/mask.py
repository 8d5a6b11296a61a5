"""Masks as values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from edgeticket.models.network import Network
from edgeticket.pipeline.prune.channel_group import ChannelGroup


@dataclass(frozen=True, eq=False)
class Mask:
    """Which weights stay: tensor name -> bool tensor of its shape, True = kept.

    Tensors that it does not name stay whole.

    Raises:
        ValueError: a tensor is not of type bool.
    """

    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        for name, tensor in self.tensors.items():
            if tensor.dtype != torch.bool:
                raise ValueError(f"mask of {name} is {tensor.dtype}, not bool")

    @classmethod
    def of_zeros(cls, network: Network, names: Iterable[str]) -> Mask:
        """The mask that keeps what is not zero in the named tensors."""
        return cls({name: network.weights[name] != 0 for name in names})

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of what this mask says."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(np.packbits(tensor.numpy()).tobytes())
        return digest.hexdigest()

    @property
    def densities(self) -> dict[str, float]:
        """Tensor name -> kept share of its weights."""
        return {name: tensor.double().mean().item() for name, tensor in self.tensors.items()}

    @property
    def density(self) -> float:
        """Kept share of the weights in the masked tensors, 0..1; of no tensors, 1."""
        size = sum(tensor.numel() for tensor in self.tensors.values())
        kept = sum(int(tensor.sum()) for tensor in self.tensors.values())
        return kept / size if size else 1.0

    def is_subset_of(self, other: Mask) -> bool:
        """Whether all that this mask keeps is kept by ``other``, too."""
        for name, theirs in other.tensors.items():
            mine = self.tensors.get(name, torch.ones_like(theirs))
            if mine.shape != theirs.shape or bool((mine & ~theirs).any()):
                return False
        return True

    def apply(self, network: Network) -> Network:
        """``network`` with zeros for the weights that do not stay.

        Raises:
            ValueError: the mask names a tensor that the network does not have in that shape.
        """
        weights = dict(network.weights)
        for name, kept in self.tensors.items():
            if name not in weights or weights[name].shape != kept.shape:
                shape = list(weights[name].shape) if name in weights else "absent"
                raise ValueError(f"mask of {name} is {list(kept.shape)}, the tensor {shape}")
            weights[name] = weights[name].where(kept, 0)  # a product would give zeros a sign
        return replace(network, weights=weights)


def channel_mask(module: nn.Module, groups: Iterable[ChannelGroup], kept: Iterable[Tensor]) -> Mask:
    """A mask that keeps whole channels.

    Args:
        module: the network's module; only names and shapes are read.
        groups: its coupled channels.
        kept: for each group, a bool tensor [width].

    Returns:
        Zeros wherever a channel is written that is not kept.
    """
    tensors: dict[str, Tensor] = {}
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    for group, stays in zip(groups, kept, strict=True):
        for cut in group.written:
            whole = torch.ones(shapes[cut.tensor], dtype=torch.bool)
            mask = tensors.setdefault(cut.tensor, whole)
            gone = torch.tensor(cut.span.indices)[~stays[torch.tensor(cut.span.channels)]]
            mask.index_fill_(cut.axis, gone, False)
    return Mask(tensors)
