"""A graph with fewer channels, made of the graph itself: milliseconds for each structure.

Pruning works on modules, whose weights matter. The time of a step depends on its shapes alone,
so here channels are followed on the exported graph, and constants and shapes lose them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.channel_flow import Labels, Origin, Part
from edgeticket.pipeline.graph.graph import Constant, Graph, Operator, Value
from edgeticket.pipeline.operators import KINDS
from edgeticket.pipeline.operators.passing_layers import loses_whole_groups
from edgeticket.pipeline.prune.channels import flow_through
from edgeticket.pipeline.search.structure import Structure, check_structure


class ChannelsError(InputError):
    """An operator has numbers of channels in its attributes that are not known here."""


@dataclass(frozen=True)
class Group:
    """Channels that go together; ``roots`` are their labels, in order."""

    name: str  # of the first layer that computes them
    layers: tuple[str, ...]  # all that compute them
    roots: tuple[int, ...]


class StoredNumbers:
    """Every float32 constant of a graph, and every coded one, as a parameter."""

    def __init__(self, constants: Mapping[str, Constant]) -> None:
        self._constants = constants

    def origin(self, constant: str, axis: int) -> Origin | None:
        """Itself; integers say how operators work, and one number stands for all."""
        stored = self._constants[constant]
        coded = stored.scale is not None
        if not coded and (stored.data.dtype != np.float32 or stored.data.size < 2):
            return None
        return Origin(constant, axis, np.arange(stored.data.shape[axis]))

    def size(self, tensor: str, axis: int) -> int:
        """Of an axis of a constant."""
        return int(self._constants[tensor].data.shape[axis])

    def fixed(self, tensor: str, axis: int) -> str:
        """Nothing is."""
        return ""


class Narrowing:
    """A graph, the groups of channels that it can lose, and the graph without them."""

    def __init__(self, graph: Graph, allowed: Collection[str] | None = None) -> None:
        """``allowed``: names of groups that may lose channels; None: all that the graph allows."""
        self.graph = graph
        self._flow = flow_through(graph, StoredNumbers(graph.constants))
        groups = self._groups()
        if allowed is not None:
            groups = [group for group in groups if group.name in allowed]
        self.groups: Mapping[str, Group] = {group.name: group for group in groups}

    @property
    def widths(self) -> dict[str, int]:
        """Of each group."""
        return {name: len(group.roots) for name, group in self.groups.items()}

    def narrowed(self, structure: Structure) -> Graph:
        """The graph without the channels that ``structure`` does not keep.

        Raises:
            ChannelsError: an operator has a number of channels in an attribute that is not known.
            InputError: a group that there is not.
        """
        check_structure(structure, self.widths)
        gone = {
            root for name, kept in structure.keep.items() for root in self.groups[name].roots[kept:]
        }
        if not gone:
            return self.graph
        constants = {
            name: self._constant(name, stored, gone)
            for name, stored in self.graph.constants.items()
        }
        values = {name: self._value(value, gone) for name, value in self.graph.values.items()}
        operators = tuple(
            self._operator(op, constants, values, gone) for op in self.graph.operators
        )
        return replace(self.graph, operators=operators, values=values, constants=constants)

    def _stays(self, labels: Labels, gone: set[int]) -> Any:
        return np.array([self._flow.root(label) not in gone for label in labels.tolist()], bool)

    def _constant(self, name: str, stored: Constant, gone: set[int]) -> Constant:
        data, scale = stored.data, stored.scale
        for axis in range(data.ndim):
            first = self._flow.first.get((name, axis))
            if first is None:
                continue
            stays = self._stays(first + np.arange(data.shape[axis]), gone)
            data = data.compress(stays, axis)
            if axis == 0 and scale is not None:
                scale = scale[stays]
        return Constant(data, scale)

    def _value(self, value: Value, gone: set[int]) -> Value:
        shape = list(value.shape)
        for axis in range(len(shape)):
            track = self._flow.track(value.name, axis)
            if track is not None:
                shape[axis] = int(self._stays(track.labels, gone).sum())
        return replace(value, shape=tuple(shape))

    def _operator(
        self,
        op: Operator,
        constants: Mapping[str, Constant],
        values: Mapping[str, Value],
        gone: set[int],
    ) -> Operator:
        def shape(name: str) -> tuple[int, ...]:
            if not name:
                return ()
            return constants[name].data.shape if name in constants else values[name].shape

        attributes = dict(op.attributes)
        if attributes.get("group", 1) > 1:
            attributes["group"] = self._group_count(op, shape(op.inputs[0])[1])
        if op.kind == "Slice":
            attributes |= self._slice(op, gone)
        before, after = self.graph.values[op.output].shape, shape(op.output)
        if before != after:
            for name in ("shape", "free"):
                if name in attributes and len(attributes[name]) == len(before):
                    attributes[name] = [
                        new if size == old else size
                        for size, old, new in zip(attributes[name], before, after, strict=True)
                    ]
        narrow = replace(op, attributes=attributes)
        try:
            fits = tuple(KINDS[op.kind].shape(attributes, *map(shape, op.inputs))) == after
        except (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError):
            fits = False
        if not fits and before != after:
            raise ChannelsError(
                f"{op} has a number of channels in its attributes: keep all channels that it reads"
            )
        return narrow

    def _slice(self, op: Operator, gone: set[int]) -> dict[str, list[int]]:
        """Where a part of the channels begins, and how many it has."""
        begin, size = (list(op.attributes[name]) for name in ("begin", "size"))
        for axis in range(len(begin)):
            track = self._flow.track(op.inputs[0], axis)
            if track is not None:
                stays = self._stays(track.labels, gone)
                first, end = begin[axis], begin[axis] + size[axis]
                begin[axis], size[axis] = int(stays[:first].sum()), int(stays[first:end].sum())
        return {"begin": begin, "size": size}

    def _group_count(self, op: Operator, inputs: int) -> int:
        groups, wide = int(op.attributes["group"]), self._flow.shape(op.inputs[0])[1]
        per_group = wide // groups
        return inputs // per_group if loses_whole_groups(groups, per_group) else groups

    def _groups(self) -> list[Group]:
        """Sets of labels that the same layers compute, and others read."""
        flow = self._flow
        places: dict[int, list[tuple[str, int]]] = {}
        for key, first in flow.first.items():
            for root in flow.roots(first, flow.parameters.size(*key)):
                if root not in flow.reasons:
                    places.setdefault(root, []).append(key)
        alike: dict[tuple[tuple[str, int], ...], list[int]] = {}
        for root, keys in places.items():
            makers = tuple(dict.fromkeys(k for k in keys if flow.parts[k] is Part.MAKES))
            if makers and any(flow.parts[key] is Part.READS for key in keys):
                alike.setdefault(makers, []).append(root)
        groups: dict[str, Group] = {}
        for makers, roots in alike.items():
            layers = [flow.makers[key][0] for key in makers]
            names = [next(iter(op.origin), "") or op.name for op in layers]
            name = next((n for n in names if n not in groups), f"{names[0]} {len(groups)}")
            if len(roots) > 1:
                groups[name] = Group(name, tuple(names), tuple(roots))
        return list(groups.values())
