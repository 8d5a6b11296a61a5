"""Channels that can only be removed together, as values that name layers and tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import nn


@dataclass(frozen=True)
class Span:
    """Where a layer meets a group: its channel ``indices[i]`` is the group's ``channels[i]``."""

    indices: tuple[int, ...]
    channels: tuple[int, ...]

    def indices_of(self, channels: Collection[int]) -> tuple[int, ...]:
        """The layer's channels that belong to ``channels`` of the group."""
        pairs = zip(self.indices, self.channels, strict=True)
        return tuple(index for index, channel in pairs if channel in channels)


@dataclass(frozen=True)
class Cut:
    """Where a tensor meets a group: what is removed of its ``axis`` with each channel.

    writes: a channel is zero where this and all others that write it are.
    gate: multiplying it multiplies the channel, as no batch norm follows.
    """

    tensor: str
    axis: int
    span: Span
    writes: bool = False
    gate: bool = False


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that stay or go together.

    A channel is zero when every one of ``producers`` writes zeros to it, and can then be removed
    from all layers of the group without a trace.
    """

    name: str  # of its first layer; of the attention, if it is one of heads
    width: int  # number of channels
    producers: Mapping[str, Span]  # layers that write the channels, batch norm included
    # Convolutions and linear layers that read them; a depthwise one is a producer only, because
    # it loses an input with each output.
    consumers: Mapping[str, Span]
    last_producers: tuple[str, ...]  # those whose output no batch norm of the group rescales
    heads: bool = False  # whether a channel is a head, which is many rows wide
    cuts: tuple[Cut, ...] = field(default=(), repr=False)  # everything that goes

    @property
    def written(self) -> tuple[Cut, ...]:
        """Where zeros make channels zero."""
        return tuple(cut for cut in self.cuts if cut.writes)


def row_tensors(module: nn.Module, layer: str) -> dict[str, nn.Parameter]:
    """The parameters of ``layer``, by full name; row i of each makes its output channel i."""
    parameters = module.get_submodule(layer).named_parameters(recurse=False)
    return {f"{layer}.{name}": parameter for name, parameter in parameters}
