"""What every step of a network costs at every width of the groups that it touches.

A step's time depends on the channels that come in and on those that go out, so its table has an
axis for each group. Of an axis a few widths are measured, and multilinear interpolation gives the
rest; that structures are then measured as wholes is what catches where this is wrong. One graph
holds many of these combinations at once: `covering` finds few graphs that have them all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import RegularGridInterpolator

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.search.additive import AdditiveModel, nonnegative
from edgeticket.pipeline.search.candidates import Candidates
from edgeticket.pipeline.search.frames import frame_steps
from edgeticket.pipeline.search.predict import ANCHORS, BEFORE, Case, Files
from edgeticket.pipeline.search.probes import ProbeFile
from edgeticket.pipeline.search.probing import Times
from edgeticket.pipeline.search.steps import Step, steps_of
from edgeticket.pipeline.search.structure import Structure, uniform

LEVELS = 12  # widths of a group that can be chosen, at most
MEASURED = 4  # of these, whose steps are timed
MOST_CELLS = 2048  # of a step's table; more groups than that meet in no usual step
TABLE = "table"

Grid = npt.NDArray[np.float64]
Widths = tuple[int, ...]


@dataclass(frozen=True)
class StepPrice:
    """``ns`` and ``size_bytes`` have an axis for each of ``groups``, along its levels."""

    name: str
    origin: str
    groups: tuple[str, ...]
    ns: Grid
    size_bytes: Grid


@dataclass(frozen=True)
class Prices:
    """Of one runtime and precision on one target.

    levels: of each group, the widths that can be chosen, ascending.
    ends_ns: what the file costs at its ends, whatever is inside.
    size: bytes of a file, and how many times the bytes of its weights come on top.
    """

    runtime: str
    precision: str
    levels: Mapping[str, Widths]
    steps: tuple[StepPrice, ...]
    ends_ns: float
    size: tuple[float, float]
    model: AdditiveModel

    def ns(self, structure: Structure) -> float:
        """A whole network, where each width is one of the levels."""
        return self.ends_ns + sum(
            float(step.ns[self._at(step, structure)])
            for step in self.steps
            if not is_inside(step.origin, structure.bypass)
        )

    def size_bytes(self, structure: Structure) -> float:
        """Of its file."""
        weights = sum(
            float(step.size_bytes[self._at(step, structure)])
            for step in self.steps
            if not is_inside(step.origin, structure.bypass)
        )
        return self.size[0] + self.size[1] * weights

    def _at(self, step: StepPrice, structure: Structure) -> tuple[int, ...]:
        return tuple(
            self.levels[g].index(structure.keep.get(g, self.levels[g][-1])) for g in step.groups
        )


def is_inside(origin: str, blocks: frozenset[str]) -> bool:
    """Whether a module is one of ``blocks``, or in one."""
    return any(origin == block or origin.startswith(f"{block}.") for block in blocks)


def levels_of(widths: Mapping[str, int], *, quantum: int) -> dict[str, Widths]:
    """The widths of each group that can be chosen: multiples of the quantum, and all channels."""
    return {
        name: spread((*range(quantum, width, quantum), width), LEVELS)
        for name, width in widths.items()
    }


def spread(values: Sequence[int], most: int) -> Widths:
    """At most so many of ``values``, evenly, the first and the last among them."""
    if len(values) <= most:
        return tuple(values)
    return tuple(values[round(i * (len(values) - 1) / (most - 1))] for i in range(most))


def covering(
    wanted: Sequence[Mapping[str, int]], levels: Mapping[str, Widths]
) -> list[dict[str, int]]:
    """Few structures that have every combination of widths in ``wanted``, each in some."""
    left = {tuple(sorted(one.items())) for one in wanted}
    structures = []
    while left:
        keep: dict[str, int] = {}
        for one in sorted(left):
            if all(keep.get(name, width) == width for name, width in one):
                keep |= dict(one)
        left = {one for one in left if not all(keep.get(n) == w for n, w in one)}
        structures.append({name: keep.get(name, levels[name][-1]) for name in levels})
    return structures


class PriceList:
    """The steps of all structures for one runtime and precision, and what they cost once timed."""

    def __init__(
        self, candidates: Candidates, runtime: str, precision: str, levels: Mapping[str, Widths]
    ) -> None:
        """Cut graphs until every combination that is to be timed has been seen.

        Raises:
            InputError: there is no such graph, or its structures cannot be told apart.
        """
        self.levels, self.runtime, self.precision = levels, runtime, precision
        widths = candidates.narrowing(precision).widths
        few = {name: spread(values, MEASURED) for name, values in levels.items()}

        def cut(keep: Mapping[str, int]) -> dict[str, Step]:
            graph = candidates.graph(precision, Structure(keep))
            return {step.name: step for step in steps_of(graph, runtime=runtime)}

        whole = cut({})
        touched: dict[str, list[str]] = {name: [] for name in whole}
        for group, values in few.items():
            for name, step in cut({group: values[0]}).items():
                if name not in whole:
                    raise InputError(f"{runtime} {precision}: {name} is a step in narrow graphs")
                if step.key != whole[name].key:
                    touched[name].append(group)
        self.groups = {name: tuple(groups) for name, groups in touched.items()}
        for name, groups in self.groups.items():
            if math.prod(len(levels[g]) for g in groups) > MOST_CELLS:
                raise InputError(f"{name} has channels of {len(groups)} groups, too many to tell")
        wanted = [
            dict(zip(groups, combination, strict=True))
            for groups in self.groups.values()
            for combination in itertools.product(*(few[g] for g in groups))
        ]
        self.few = few
        self.seen: dict[tuple[str, Widths], Step] = {}
        for keep in covering(wanted, levels):
            for name, step in cut(keep).items():
                at = tuple(keep[g] for g in self.groups[name])
                self.seen.setdefault((name, at), step)
        self.origins = {name: step.origin for name, step in whole.items()}
        graphs = {BEFORE: candidates.graph(precision, Structure())}
        graphs |= {
            f"{share:.0%} of all channels": candidates.graph(precision, uniform(widths, share))
            for share in ANCHORS
        }
        steps = {name: steps_of(graph, runtime=runtime) for name, graph in graphs.items()}
        steps[TABLE] = tuple(self.seen.values())
        every = {step.key: step for part in steps.values() for step in part}
        frames = frame_steps(every.values(), graphs.values(), runtime=runtime)
        self.case = Case(runtime, precision, graphs, steps, {}, None, frames)

    def prices(self, files: Files, times: Times) -> Prices:
        """Steps with their times.

        Raises:
            InputError: one was not measured.
        """
        case = self.case
        model = files.model(case, times, list(case.graphs))
        steps = tuple(
            StepPrice(
                name, self.origins[name], groups,
                self._table(name, model.step_ns), self._table(name, lambda s: s.weight_bytes),
            )
            for name, groups in self.groups.items()
        )  # fmt: skip
        return Prices(
            runtime=case.runtime,
            precision=case.precision,
            levels=self.levels,
            steps=steps,
            ends_ns=model.ends.ns(case.graphs[BEFORE]),
            size=self._size(files),
            model=model,
        )

    def _table(self, name: str, of: object) -> Grid:
        """All levels of a step's groups, from those that were measured."""
        assert callable(of)
        groups = self.groups[name]
        few = [self.few[g] for g in groups]
        known = np.array([float(of(self.seen[name, at])) for at in itertools.product(*few)])
        known = known.reshape([len(values) for values in few])
        # A group of one width has nothing to interpolate between.
        axes = [axis for axis, values in enumerate(few) if len(values) > 1]
        if not axes:
            return known
        grid = RegularGridInterpolator([few[a] for a in axes], known.reshape(
            [len(few[a]) for a in axes]))  # fmt: skip
        shape = [len(self.levels[g]) for g in groups]
        every = list(itertools.product(*(self.levels[groups[a]] for a in axes)))
        table: Grid = np.maximum(0, grid(every)).reshape(shape)
        return table

    def _size(self, files: Files) -> tuple[float, float]:
        """Bytes of whole files, by those of their weights."""
        rows, sizes = [], []
        for name in self.case.graphs:
            file = files.whole[self.case.title, name]
            if isinstance(file, ProbeFile):
                weights = sum(step.weight_bytes for step in self.case.steps[name])
                rows.append([1 / len(file.data), weights / len(file.data)])
                sizes.append(1.0)
        fixed, factor = nonnegative(np.array(rows), np.array(sizes))
        return fixed, factor
