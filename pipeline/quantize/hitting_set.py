"""The smallest choice that takes something out of every one of given sets, as a whole-number
programme (HiGHS, by scipy)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np


def smallest_hitting_set(
    sets: Sequence[Collection[str]], *, first: Mapping[str, float]
) -> frozenset[str]:
    """Choose the fewest names so that every set has one; of equals, those of the least sum.

    Args:
        sets: none of them empty.
        first: every name that may be chosen -> what it costs, of which equals have the least sum.
    """
    names = list(first)
    if not sets:
        return frozenset()
    fewest = _solve(sets, names, np.ones(len(names)), most=len(names))
    assert fewest is not None
    costs = np.array([first[name] for name in names], dtype=np.float64)
    costs -= costs.min(initial=0.0)
    costs /= max(costs.max(initial=0.0), 1e-300)
    equals = _solve(sets, names, costs, most=len(fewest))
    assert equals is not None
    return equals


def cheapest_hitting_set(
    sets: Sequence[Collection[str]], *, costs: Mapping[str, float], most: int
) -> frozenset[str] | None:
    """Choose at most ``most`` names of the least cost so that every set has one.

    Args:
        sets: none of them empty.
        costs: every name that may be chosen -> what it costs, at least 0.

    Returns:
        None: so few names cannot.
    """
    names = list(costs)
    if not sets:
        return frozenset()
    scale = max(max(costs.values()), 1e-300)
    return _solve(sets, names, np.array([costs[name] / scale for name in names]), most=most)


def _solve(
    sets: Sequence[Collection[str]], names: Sequence[str], costs: np.ndarray, *, most: int
) -> frozenset[str] | None:
    from scipy.optimize import Bounds, LinearConstraint, milp

    rows = np.array([[name in wanted for name in names] for wanted in sets], dtype=np.float64)
    answer = milp(
        costs,
        integrality=np.ones(len(names)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(rows, lb=1.0),
            LinearConstraint(np.ones((1, len(names))), ub=float(most)),
        ],
        options={"mip_rel_gap": 0.0},
    )
    if answer.x is None:
        return None
    return frozenset(name for name, x in zip(names, answer.x, strict=True) if x > 0.5)
