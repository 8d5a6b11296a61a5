"""Scales in front of tables and behind products, so that integer kernels round them alike.

Two integer kernels of the runtimes differ where a number lies half way between two codes, or so
near that float32 decides. Of a product ONNX Runtime adds the zero point before it rounds half to
even, LiteRT after that: an even zero point makes both the same, but for numbers that lose their
last bits when a zero point is added. Sigmoid and tanh are tables, which each runtime computes by
itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import gcd

import numpy as np
import numpy.typing as npt
from torch import fx

from edgeticket.pipeline.operators import Role
from edgeticket.pipeline.quantize.alignment import LARGEST_MULTIPLE
from edgeticket.pipeline.quantize.functions import fixed_scale, functions_of
from edgeticket.pipeline.quantize.placement import Placement, connected, role
from edgeticket.pipeline.quantize.ranges import Range
from edgeticket.pipeline.quantize.scales import HIGHEST, LOWEST, ActivationScale, activation_scale
from edgeticket.pipeline.quantize.ties import CLEAR, WIDER, from_half, results_of

Activations = Mapping[str, ActivationScale]

WIDEST = 1.05  # of scales that meet in a sum, which have coarse steps


@dataclass
class _Wishes:
    """What one scale is judged by."""

    tables: list[fx.Node] = field(default_factory=list)  # functions with a fixed scale that read it
    products: list[tuple[str, str]] = field(default_factory=list)  # operands of what it is made by


def rounded_alike(
    folded: fx.GraphModule,
    placement: Placement,
    activations: Activations,
    ranges: Mapping[str, Range],
) -> dict[str, ActivationScale]:
    """Scales that tables read and products are written in, a little wider where that is needed.

    Those that meet in a sum stay odd multiples of one unit; those that several share stay, and
    only get an even zero point.
    """
    shared = {name: group for group in placement.shared for name in group}
    units = _units(placement, activations)
    found = dict(activations)
    for name, wishes in _wishes(folded, placement, activations).items():
        scales = [found[name].scale]
        if name not in shared:
            scales = _wider(scales[0], units.get(name))
        judged = [_judge(folded, s, ranges[name], wishes, found) for s in scales]
        best = max(range(len(scales)), key=lambda i: (judged[i][0], -i))
        chosen = judged[best][1]
        found |= dict.fromkeys(shared.get(name, {name}), chosen)
    return {name: scale for name, scale in found.items() if scale != activations[name]}


def _wishes(
    folded: fx.GraphModule, placement: Placement, activations: Activations
) -> dict[str, _Wishes]:
    """By owner, in the order of the graph: operands come before their product."""
    owners, integer = placement.owners, set(placement.integer_steps)
    functions = functions_of(folded)
    fixed = {
        name
        for name, node in functions.items()
        if name in activations
        and (activations[name].scale, activations[name].zero_point) == fixed_scale(folded, node)
    }
    found: dict[str, _Wishes] = {
        owners[n].name: _Wishes()
        for n in owners
        if n.op == "placeholder" or (n in integer and owners[n].name not in functions)
    }
    for node in placement.integer_steps:
        sources = [owners[n].name for n in node.all_input_nodes if n in owners]
        if node.name in fixed and sources[0] in found:
            found[sources[0]].tables.append(node)
        is_product = role(folded.get_submodule(node.name)) is Role.PRODUCT
        if is_product and owners[node].name in found:
            found[owners[node].name].products.append((sources[0], sources[-1]))
    return {name: wishes for name, wishes in found.items() if wishes.tables or wishes.products}


def _units(placement: Placement, activations: Activations) -> dict[str, float]:
    """Of each scale that meets others in a sum, the unit that all of these are odd multiples of."""
    units: dict[str, float] = {}
    for group in connected([*placement.additions, *placement.shared]):
        if not any(group & names for names in placement.additions):
            continue
        parts = [Fraction(activations[name].scale) for name in group]
        whole = max(part.denominator for part in parts)  # powers of two
        unit = gcd(*(int(part * whole) for part in parts)) / whole
        units |= dict.fromkeys(group, unit)
    return units


def _wider(scale: float, unit: float | None) -> list[float]:
    """Scales to try, the given one first."""
    if unit is None:
        return [float(s) for s in (WIDER * scale).astype(np.float32)]
    multiple = round(scale / unit)
    last = min(int(multiple * WIDEST), max(multiple, LARGEST_MULTIPLE))
    return [float(np.float32(m * unit)) for m in range(multiple, last + 1, 2)]


def _judge(
    folded: fx.GraphModule, scale: float, span: Range, wishes: _Wishes, found: Activations
) -> tuple[float, ActivationScale]:
    """How well all is rounded alike, 0 at best, and the scale with its zero point."""
    chosen = activation_scale(*span, scale=scale)
    if wishes.products:
        chosen = _with_even_zero_point(chosen, span)
    wrong = 0.0
    for node in wishes.tables:
        results = results_of(folded, node, chosen)
        fixed = fixed_scale(folded, node)[0]
        wrong += float((from_half(results, np.array([fixed])) < CLEAR).sum())
    for left, right in wishes.products:
        wrong += _parted(found[left], found[right], chosen)
    return -wrong, chosen


def _with_even_zero_point(chosen: ActivationScale, span: Range) -> ActivationScale:
    """At most one code of the range is given up, at one end."""
    exact = LOWEST - min(span[0], 0.0) / chosen.scale
    nearest = int(np.clip(2 * np.rint(exact / 2), LOWEST, HIGHEST - 1))
    even = chosen.zero_point if chosen.zero_point % 2 == 0 else nearest
    return ActivationScale(chosen.scale, even)


def _parted(left: ActivationScale, right: ActivationScale, made: ActivationScale) -> int:
    """How many of all products of two codes the runtimes round to different sides."""
    counts = _counts(left.zero_point, right.zero_point)
    ratio = np.float32(left.scale) * np.float32(right.scale) / np.float32(made.scale)
    real = counts * ratio
    real = real[np.abs(real) < HIGHEST - LOWEST]
    zero = np.float32(made.zero_point)
    return int((np.rint(real + zero) != np.rint(real) + zero).sum())


@lru_cache(maxsize=64)
def _counts(left_zero: int, right_zero: int) -> npt.NDArray[np.float32]:
    codes = np.arange(LOWEST, HIGHEST + 1)
    return np.unique(np.outer(codes - left_zero, codes - right_zero)).astype(np.float32)
