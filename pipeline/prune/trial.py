"""Whether a network's code goes along with narrower layers: they are narrowed, and it is run.

A graph does not tell a size that the code reads from a tensor from one that is a number in it. So
some channels of all groups are removed. Where the code stops, the groups that the place concerns
stay; where it computes something else, groups are tried apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from edgeticket.models.network import Takes
from edgeticket.pipeline.graph.batches import shapes_of
from edgeticket.pipeline.graph.channel_flow import ChannelFlow
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.prune.channel_group import ChannelGroup
from edgeticket.pipeline.prune.variants import Kept, masked, narrowed

EXAMPLES = 2
TRIES = 24  # runs to find out which group changes the outputs
TOLERANCE = 1e-3  # of how much outputs differ between examples
ROUNDING = 1e-5  # of the largest output

# Operators whose sizes a forward may have as numbers.
SIZED = frozenset(
    {"Concat", "DepthToSpace", "Flatten", "Gather", "Pad", "PadNumber", "Reshape", "Slice"}
)

Culprits = list[tuple[ChannelGroup, str]]


class Trial:
    """Runs of one module without channels of its groups."""

    def __init__(
        self,
        module: nn.Module,
        takes: Takes,
        graph: Graph,
        flow: ChannelFlow,
    ) -> None:
        """``module`` may change: its values are drawn anew."""
        self.module, self.graph, self.flow = module, graph, flow
        self._results: list[Tensor] = []
        self._is_fine = False
        generator = torch.Generator().manual_seed(0)
        _draw(module, generator)
        self.inputs: list[Tensor] = []
        kinds = [graph.values[name].dtype for name in graph.inputs] or ["float32"]
        for kind, shape in zip(kinds, shapes_of(takes), strict=True):
            if kind != "float32":
                drawn = torch.randint(0, 2, (EXAMPLES, *shape), generator=generator)
            else:
                drawn = torch.randn(EXAMPLES, *shape, generator=generator)
            self.inputs.append(drawn)

    def culprits(self, groups: Sequence[ChannelGroup]) -> Culprits:
        """Groups that have to stay, each with the reason; none where all can go."""
        kept = {group.name: _some(group, i) for i, group in enumerate(groups)}
        if (running := self._stopped(groups, kept)) is not None:
            return self._concerned(groups, running)
        if self._is_same(groups, kept, self._results):
            return []
        why = "meets other channels in a way that is not followed: without it outputs differ"
        return [(group, why) for group in self._changing(groups, kept)]

    def _stopped(self, groups: Sequence[ChannelGroup], kept: Kept) -> list[str] | None:
        """The modules, outermost first, in which a run without channels stops.

        If it does not, its outputs are kept.
        """
        running: list[str] = []

        def leave(*_: Any) -> None:
            running.pop()

        narrow = narrowed(self.module, groups, kept)
        for name, part in narrow.named_modules():
            part.register_forward_pre_hook(lambda *_, name=name: running.append(name))
            part.register_forward_hook(leave)
        try:
            with torch.no_grad():
                self._results = _outputs(narrow(*self.inputs))
        except Exception:  # whatever a network that somebody wrote raises
            return running
        return None

    def _concerned(self, groups: Sequence[ChannelGroup], running: Sequence[str]) -> Culprits:
        """The groups that meet the place where a run stopped: a layer's, or those in a forward."""
        by_root = {root: group for group in groups for root in self._roots(group)}
        for depth in reversed(range(len(running))):
            path = running[depth]
            choices = (
                [group for group in groups if path in group.consumers],
                [group for group in groups if path in group.producers],
                self._met(by_root, path, is_sized=True),
                self._met(by_root, path, is_sized=False),
            )
            for met in filter(None, choices):
                return [(group, self._number_in(running[: depth + 1], by_root)) for group in met]
        return [(group, self._number_in([""], by_root)) for group in groups]

    def _number_in(self, running: Sequence[str], by_root: Mapping[int, ChannelGroup]) -> str:
        """The sentence for the innermost module whose own forward deals with sizes of groups."""
        sized = (path for path in reversed(running) if self._met(by_root, path, is_sized=True))
        kind = type(self.module.get_submodule(next(sized, running[0]))).__name__
        return f"has its size as a number in the forward of {kind}"

    def _roots(self, group: ChannelGroup) -> set[int]:
        roots: set[int] = set()
        for cut in group.cuts:
            first = self.flow.first.get((cut.tensor, cut.axis))
            if first is not None:
                roots.update(self.flow.root(first + index) for index in cut.span.indices)
        return roots

    def _met(
        self, by_root: Mapping[int, ChannelGroup], path: str, *, is_sized: bool
    ) -> list[ChannelGroup]:
        """The groups whose channels flow into operators of a module's own forward."""
        found: dict[str, ChannelGroup] = {}
        for operator in self.graph.operators:
            if operator.origin[:1] != (path,) or (operator.kind in SIZED) is not is_sized:
                continue
            for name in filter(None, operator.inputs):
                if self.flow.is_stored(name):
                    continue
                for axis in range(len(self.flow.shape(name))):
                    for label in set(self.flow.labels(name, axis).tolist()):
                        group = by_root.get(self.flow.root(label))
                        if group is not None:
                            found[group.name] = group
        return list(found.values())

    def _is_same(
        self,
        groups: Sequence[ChannelGroup],
        kept: Kept,
        results: list[Tensor] | None = None,
    ) -> bool:
        """Whether outputs without channels, or ``results``, are those with zeros for them.

        Products of many layers make much of what is rounded; so numbers become finer, once.
        """
        with torch.no_grad():
            expected = self._run(masked(self.module, groups, kept)) or []
            if results is None:
                results = self._run(narrowed(self.module, groups, kept))
        if results is not None and _alike(results, expected):
            return True
        return results is not None and self._make_finer() and self._is_same(groups, kept)

    def _run(self, module: nn.Module) -> list[Tensor] | None:
        """Outputs; None where the code stops."""
        try:
            return _outputs(module(*self.inputs))
        except Exception:  # whatever a network that somebody wrote raises
            return None

    def _make_finer(self) -> bool:
        """Compute in float64 from now on, if that is new, and the network's code can."""
        if self._is_fine or not any(tensor.is_floating_point() for tensor in self.inputs):
            return False
        self._is_fine = True
        inputs = self.inputs
        self.inputs = [t.double() if t.is_floating_point() else t for t in inputs]
        self.module.double()
        with torch.no_grad():
            if self._run(self.module) is not None:
                return True
        self.inputs = inputs
        self.module.float()
        return False

    def _changing(self, groups: Sequence[ChannelGroup], kept: Kept) -> list[ChannelGroup]:
        """The groups that change outputs, found by halves; all that are left where that is long."""
        waiting: list[list[ChannelGroup]] = [list(groups)]  # sets that change something
        found: list[ChannelGroup] = []
        tries = 0
        while waiting:
            several = waiting.pop()
            if len(several) == 1 or tries >= TRIES:
                found += several
                continue
            middle = len(several) // 2
            halves = [several[:middle], several[middle:]]
            tries += 2
            changing = [half for half in halves if not self._is_same(half, kept)]
            waiting += changing or [halves[1]]  # only both together change something
        return found


def _some(group: ChannelGroup, seed: int) -> Any:
    """A share of a group's channels that is not every group's: bool [width], True = kept."""
    generator = np.random.default_rng(seed)
    share = generator.uniform(0.3, 0.7)
    count = min(max(round(share * group.width), 1), group.width - 1)
    kept = np.zeros(group.width, bool)
    kept[generator.permutation(group.width)[:count]] = True
    return kept


def _draw(module: nn.Module, generator: torch.Generator) -> None:
    """Values of usual sizes, none of them zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.is_floating_point():
                continue
            if parameter.ndim > 1:
                fan = max(parameter[0].numel(), 1)
                parameter.normal_(0, (2 / fan) ** 0.5, generator=generator)
            else:
                parameter.uniform_(0.5, 1.5, generator=generator)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1, generator=generator)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5, generator=generator)


def _outputs(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def _alike(results: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    if [t.shape for t in results] != [t.shape for t in expected]:
        return False
    return all(_close(a, b) for a, b in zip(results, expected, strict=True))


def _close(result: Tensor, expected: Tensor) -> bool:
    if not expected.is_floating_point() or not expected.numel():
        return True
    spread = float((expected - expected[:1]).abs().max())
    limit = max(TOLERANCE * spread, ROUNDING * float(expected.abs().max()))
    return bool(((result - expected).abs() <= limit).all()) or not bool(
        torch.isfinite(expected).all()
    )
