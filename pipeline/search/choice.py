"""The structure that loses least within a time and a size: an integer programme, solved by HiGHS.

    minimise    Σ loss[group, level] · x[group, level]  +  Σ loss[block] · y[block]
    where       Σ x[group, ·] = 1, or 1 − y[block] of a group within a block
                Σ z[step, ·, ·] = 1, or 1 − y[block] of a step within a block
                the marginals of z are x
                ends + Σ ns · z ≤ time, on every target;  Σ bytes · z ≤ size

x and y are 0 or 1. A step's time depends on two widths, which is a product of two choices; z, a
variable for each pair of levels, makes it linear, and is whole by itself where x is (the *local
marginal polytope* of pairwise models).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from edgeticket.pipeline.search.prices import Prices, is_inside
from edgeticket.pipeline.search.structure import Structure

SOLVE_S = 20.0  # the best that is known by then is taken
GAP = 1e-3
TIE = 1e-6  # of equal losses the faster one


@dataclass(frozen=True)
class Losses:
    """What a structure is expected to lose: of groups by width, of blocks; added up."""

    groups: Mapping[str, Mapping[int, float]]
    blocks: Mapping[str, float]

    def of(self, structure: Structure) -> float:
        """The sum; of groups within bypassed blocks nothing."""
        kept = sum(
            self.groups[name][width]
            for name, width in structure.keep.items()
            if not is_inside(name, structure.bypass)
        )
        return kept + sum(self.blocks[block] for block in structure.bypass)


class _Rows:
    """Constraints, written one after the other."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, float]] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def add(self, terms: Mapping[int, float], low: float, high: float) -> None:
        self.entries += [(len(self.low), at, factor) for at, factor in terms.items()]
        self.low.append(low)
        self.high.append(high)

    def constraint(self, columns: int) -> LinearConstraint:
        rows, places, factors = zip(*self.entries, strict=True)
        matrix = coo_matrix((factors, (rows, places)), shape=(len(self.low), columns))
        return LinearConstraint(matrix.tocsr(), self.low, self.high)


def choose(
    prices: Sequence[Prices],
    losses: Losses,
    *,
    time_ns: Sequence[float],
    size_bytes: float | None = None,
) -> Structure | None:
    """The structure that loses least; None: none is so fast and so small.

    Args:
        prices: of each target; all know the same groups and levels.
        losses: by the same levels; blocks that it does not name stay.
        time_ns: the most that it may take, of each target.
        size_bytes: the most that each file may have; None: any.
    """
    levels = prices[0].levels
    columns: dict[object, int] = {}
    for group, widths in levels.items():
        for width in widths:
            columns[group, width] = len(columns)
    for block in losses.blocks:
        columns[block] = len(columns)
    whole = len(columns)
    rows = _Rows()
    for group, widths in levels.items():
        block = _block_of(group, losses)
        one = {columns[group, width]: 1.0 for width in widths}
        rows.add(one | ({columns[block]: 1.0} if block else {}), 1, 1)
    for number, (board, most_ns) in enumerate(zip(prices, time_ns, strict=True)):
        total_ns: dict[int, float] = {}
        total_bytes: dict[int, float] = {}
        for step in board.steps:
            block = _block_of(step.origin, losses)
            cells = list(itertools.product(*(range(len(levels[g])) for g in step.groups)))
            places = {}
            for cell in cells:
                places[cell] = len(columns)
                columns[number, step.name, cell] = len(columns)
                total_ns[places[cell]] = float(step.ns[cell])
                total_bytes[places[cell]] = float(step.size_bytes[cell])
            rows.add(
                dict.fromkeys(places.values(), 1.0) | ({columns[block]: 1.0} if block else {}), 1, 1
            )
            for axis, group in enumerate(step.groups):
                inner = _block_of(group, losses) == block
                for level, width in enumerate(levels[group]):
                    sums = {places[cell]: 1.0 for cell in cells if cell[axis] == level}
                    # Of a bypassed block nothing runs, whatever the widths around it.
                    rows.add(sums | {columns[group, width]: -1.0}, 0 if inner else -1, 0)
        rows.add(total_ns, -np.inf, most_ns - board.ends_ns)
        if size_bytes is not None:
            most = (size_bytes - board.size[0]) / max(board.size[1], 1e-9)
            rows.add(total_bytes, -np.inf, most)
    cost = np.zeros(len(columns))
    for group, widths in levels.items():
        for width in widths:
            cost[columns[group, width]] = losses.groups[group][width]
    for block, loss in losses.blocks.items():
        cost[columns[block]] = loss
    _prefer_fast(cost, prices, columns)
    integrality = np.zeros(len(columns))
    integrality[:whole] = 1
    solved = milp(
        cost,
        constraints=rows.constraint(len(columns)),
        integrality=integrality,
        bounds=Bounds(0, 1),
        options={"time_limit": SOLVE_S, "mip_rel_gap": GAP},
    )
    if solved.x is None:
        return None
    bypass = frozenset(block for block in losses.blocks if solved.x[columns[block]] > 0.5)
    keep = {
        group: next((w for w in widths if solved.x[columns[group, w]] > 0.5), widths[-1])
        for group, widths in levels.items()
    }
    return Structure(keep, bypass)


def _block_of(name: str, losses: Losses) -> str:
    """The block that a module lies in; "" where it is in none that may go."""
    return next((block for block in losses.blocks if is_inside(name, frozenset((block,)))), "")


def _prefer_fast(
    cost: np.ndarray[tuple[int], np.dtype[np.float64]],
    prices: Sequence[Prices],
    columns: Mapping[object, int],
) -> None:
    for number, board in enumerate(prices):
        most = sum(float(step.ns.max()) for step in board.steps) or 1.0
        for step in board.steps:
            for cell in np.ndindex(step.ns.shape):
                cost[columns[number, step.name, cell]] += TIE * float(step.ns[cell]) / most
