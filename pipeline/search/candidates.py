"""A network in both precisions, and what is left of it for a structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.prune.channels import follow_channels
from edgeticket.pipeline.prune.mask import channel_mask
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.run.preflight import exports
from edgeticket.pipeline.search.narrowing import ChannelsError, Narrowing
from edgeticket.pipeline.search.structure import Structure, check_structure

Precision = Literal["fp32", "int8"]


@dataclass(frozen=True, eq=False)
class Candidates:
    """What can be left of one network.

    allowed: groups of channels that pruning can remove from the module.
    narrowings: by precision; or why there is no such graph.
    """

    network: Network
    allowed: frozenset[str]
    narrowings: Mapping[str, Narrowing | str]

    @classmethod
    def of(cls, network: Network) -> Candidates:
        """All that can be left of ``network``; its weights do not matter."""
        allowed: frozenset[str] = frozenset()
        if len(network.input_shapes) == 1:  # pruning follows channels of one input
            groups = follow_channels(network.module(), network.input_shape).groups
            allowed = frozenset(group.name for group in groups)
        narrowings = {
            precision: str(source) if isinstance(source, InputError) else Narrowing(source, allowed)
            for precision, source in exports(network).items()
        }
        return cls(network, allowed, narrowings)

    @property
    def widths(self) -> dict[str, int]:
        """Of each group of channels."""
        for narrowing in self.narrowings.values():
            if not isinstance(narrowing, str):
                return narrowing.widths
        return {}

    def narrowing(self, precision: str) -> Narrowing:
        """Of a precision.

        Raises:
            InputError: the network has no such graph.
        """
        found = self.narrowings[precision]
        if isinstance(found, str):
            raise InputError(found)
        return found

    def graph(self, precision: str, structure: Structure) -> Graph:
        """What is left, ready to be written.

        Where an operator has numbers of channels that narrowing does not know, the network itself
        is pruned, which takes seconds.

        Raises:
            InputError: as `narrowing`, or the structure does not fit.
        """
        narrowing = self.narrowing(precision)
        check_structure(structure, narrowing.widths)
        try:
            return prepare(narrowing.narrowed(structure))
        except ChannelsError:
            return prepare(self.pruned(structure).narrowing(precision).graph)

    def pruned(self, structure: Structure) -> Candidates:
        """The network without the channels that a structure does not keep, by pruning it."""
        module = self.network.module()
        groups = follow_channels(module, self.network.input_shape).groups
        kept = [torch.arange(g.width) < structure.keep.get(g.name, g.width) for g in groups]
        return Candidates.of(shrink(self.network, channel_mask(module, groups, kept)))

    def without(self, blocks: frozenset[str]) -> Candidates:
        """The same network with blocks bypassed.

        Raises:
            InputError: there are no such blocks.
        """
        if not blocks:
            return self
        removable = models.removable_blocks(self.network.module())
        unknown = sorted(blocks - set(removable))
        if unknown:
            known = ", ".join(removable) or "none"
            raise InputError(f"{unknown[0]} is no block that can be bypassed (there are: {known})")
        return Candidates.of(self.network.without(blocks))


def carried_over(structure: Structure, before: Candidates, after: Candidates) -> Structure:
    """The widths of a structure for a network with fewer blocks.

    A group has the name of its first layer, which may be gone: what is left of its layers tells.
    """
    keep: dict[str, int] = {}
    for precision, narrowing in before.narrowings.items():
        left = after.narrowings[precision]
        if isinstance(narrowing, str) or isinstance(left, str):
            continue
        for name, kept in structure.keep.items():
            layers = set(narrowing.groups[name].layers) if name in narrowing.groups else {name}
            for group in left.groups.values():
                if layers & set(group.layers):
                    keep[group.name] = min(kept, len(group.roots))
    return Structure(keep)
