"""Scales a little wider, so that runtimes never round one number to different sides.

What is computed in float32 between codes differs in its last bits from runtime to runtime. Where a
result lies half way between two codes, or nearly, one takes the lower and one the upper.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from edgeticket.pipeline.graph.module import kind_of
from edgeticket.pipeline.operators import Role
from edgeticket.pipeline.operators.functions import KINDS as FUNCTIONS
from edgeticket.pipeline.quantize.functions import fixed_scale, functions_of
from edgeticket.pipeline.quantize.placement import Placement, role
from edgeticket.pipeline.quantize.ranges import Range
from edgeticket.pipeline.quantize.scales import HIGHEST, LOWEST, ActivationScale, activation_scale

Activations = Mapping[str, ActivationScale]

# How far from half way between two codes all 256 results stay: kernels compute functions to some
# 1e-6 of the largest, 3e-4 codes. Zero is the most frequent input by far (behind a ReLU, and
# where nothing is), so its result stays farther.
CLEAR, CLEAR_OF_ZERO = 1e-3, 0.1
WIDER = 1 + np.arange(400) / 2**14  # scales to try, as multiples of the first: to 2.4 % more

# Means and resizing give whole parts of a code; those that are common.
PARTS = (1, 2, 3, 4, 6, 8, 9)
CLEAR_OF_PARTS = 1e-4  # of a code; float32 is off by 2e-5 there
# LiteRT multiplies by the reciprocal of a scale where ONNX Runtime divides by it. Where the
# reciprocal is that exact, one result in 10^9 is rounded to another side.
RECIPROCAL = 2.0**-36  # relative; float32 may be off by 2^-24
NEXT = np.arange(512)  # float32 numbers from one of `WIDER` on to the next, or to that after it


def clear_of_ties(
    folded: fx.GraphModule,
    placement: Placement,
    activations: Activations,
    ranges: Mapping[str, Range],
) -> dict[str, ActivationScale]:
    """Scales of what is computed in float32 between codes, wider where that is needed.

    Scales that others depend on (sums, joins) stay.
    """
    bound = {name for group in (*placement.additions, *placement.shared) for name in group}
    found: dict[str, ActivationScale] = {}
    for name, scale in _of_functions(folded, placement, activations, bound):
        found[name] = activation_scale(*ranges[name], scale=scale)
    for name, scale in _of_real_steps(placement, {**activations, **found}, bound):
        found[name] = activation_scale(*ranges[name], scale=scale)
    return found


def _of_functions(
    folded: fx.GraphModule,
    placement: Placement,
    activations: Activations,
    bound: Collection[str],
) -> Iterator[tuple[str, float]]:
    owners = placement.owners
    functions = functions_of(folded)
    for name, node in {**functions, **_in_float32(folded, owners)}.items():
        sources = [owners[n].name for n in node.all_input_nodes if n in owners]
        if name in bound or owners.get(node) is not node or not sources:
            continue
        chosen, source = activations[name], activations[sources[0]]
        if name in functions and chosen == ActivationScale(*fixed_scale(folded, node)):
            continue
        results = results_of(folded, node, source)
        scales = (WIDER * chosen.scale).astype(np.float32)
        apart = from_half(results, scales)
        of_zero = apart[:, source.zero_point - LOWEST]
        margins = np.minimum(apart.min(1) / CLEAR, of_zero / CLEAR_OF_ZERO)
        yield name, float(scales[int(np.argmax(np.minimum(margins, 1)))])


def _in_float32(folded: fx.GraphModule, owners: Mapping[fx.Node, fx.Node]) -> dict[str, fx.Node]:
    """Steps that make a number of each rounded number in float32, by name."""
    return {
        node.name: node
        for node in owners
        if node.op == "call_module"
        and len(node.args) == 1
        and node.args[0] in owners
        and kind_of(folded.get_submodule(node.name)) in FUNCTIONS
        and role(folded.get_submodule(node.name)) is Role.REAL
    }


def results_of(
    folded: fx.GraphModule, node: fx.Node, source: ActivationScale
) -> npt.NDArray[np.float64]:
    """What the step makes of each of the 256 codes."""
    codes = torch.arange(LOWEST, HIGHEST + 1, dtype=torch.float64) - source.zero_point
    with torch.inference_mode():
        results = folded.get_submodule(node.name)(codes * source.scale)
    return np.asarray(results.numpy(), np.float64)


def _of_real_steps(
    placement: Placement, activations: Activations, bound: Collection[str]
) -> Iterator[tuple[str, float]]:
    owners, integer = placement.owners, set(placement.integer_steps)
    made: dict[str, set[str]] = {}  # owner -> owners of the codes that it is computed from
    for node, owner in owners.items():
        if node.op == "call_module" and node not in integer and owner.name not in bound:
            made.setdefault(owner.name, set()).update(_sources(node, owners))
    for name, sources in made.items():
        scales = {activations[n].scale for n in sources - {name}}
        yield name, _clear_of_parts(activations[name].scale, scales)


def _sources(node: fx.Node, owners: Mapping[fx.Node, fx.Node]) -> set[str]:
    """The owners of the codes that a step in float32 is computed from, directly or over others."""
    found: set[str] = set()
    seen = {node}
    waiting = list(node.all_input_nodes)
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        if source in owners:
            found.add(owners[source].name)
        else:
            waiting += source.all_input_nodes
    return found


def _clear_of_parts(scale: float, sources: Collection[float]) -> float:
    """The first scale from ``scale`` on that parts of codes of ``sources`` stay clear in."""
    usable = _with_exact_reciprocals(scale)
    for wider in usable:
        if all(_is_clear(source, wider) for source in sources):
            return wider
    return usable[0] if usable else scale


def _with_exact_reciprocals(scale: float) -> list[float]:
    """Scales from ``scale`` on, one for each of `WIDER` where there is one."""
    first = (WIDER * scale).astype(np.float32)
    scales = (first.view(np.int32)[:, None] + NEXT.astype(np.int32)).view(np.float32)
    inverse = (np.float32(1) / scales).astype(np.float64)
    off = np.abs(scales.astype(np.float64) * inverse - 1)
    best = off.argmin(1)[:, None]
    chosen = np.take_along_axis(scales, best, 1)[np.take_along_axis(off, best, 1) < RECIPROCAL]
    return [float(x) for x in chosen]


def _is_clear(source: float, scale: float) -> bool:
    span = HIGHEST - LOWEST
    for parts in PARTS:
        results = np.arange(span * parts + 1) * (source / parts)
        within = results[results < scale * span]
        if from_half(within, np.array([scale])).min() < CLEAR_OF_PARTS:
            return False
    return True


def from_half(
    results: npt.NDArray[np.floating], scales: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """How far each result [n] is from half way between codes of each scale [m] -> [m, n]."""
    codes = results / scales[:, None].astype(np.float64)
    return np.asarray(np.abs(np.abs(np.modf(codes)[0]) - 0.5))
