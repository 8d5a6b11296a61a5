"""What looks wrong about scales, in sentences, over the calibration set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from edgeticket.pipeline.quantize.observe import watch
from edgeticket.pipeline.quantize.scales import HIGHEST, LOWEST, ActivationScale, Scales

SATURATED = 0.01  # share of values beyond the codes from which it is said
CROWDED = 8  # a range is too wide if all but a few values lie in this part of it
FEW = 0.001


@dataclass
class Tally:
    """What was seen of one tensor; shares follow from the numbers of values."""

    values: int = 0
    beyond: int = 0  # more than half a step outside of the codes
    outer: int = 0  # outside of the inner 1/`CROWDED` of the range
    alive: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))  # [channels]


def find_doubts(folded: fx.GraphModule, scales: Scales, inputs: Sequence[Tensor]) -> list[str]:
    """One sentence for each tensor that saturates often, has channels that are always zero, or
    has a range far larger than its values; in the order of the network."""
    tallies = {name: Tally() for name in scales.activations}

    def look(name: str, value: Tensor) -> None:
        tally, scale = tallies[name], scales.activations[name]
        low, high = _ends(scale)
        tally.values += value.numel()
        tally.beyond += int(((value < low) | (value > high)).sum())
        tally.outer += int(((value < low / CROWDED) | (value > high / CROWDED)).sum())
        alive = (value != 0).movedim(1, 0).flatten(1).any(1)
        tally.alive = alive | tally.alive if len(tally.alive) else alive

    watch(folded, inputs, tallies, look)
    return [sentence for name in tallies for sentence in _sentences(name, tallies[name])]


def _ends(scale: ActivationScale) -> tuple[float, float]:
    lowest, highest = LOWEST - scale.zero_point - 0.5, HIGHEST - scale.zero_point + 0.5
    return lowest * scale.scale, highest * scale.scale


def _sentences(name: str, tally: Tally) -> list[str]:
    found = []
    if tally.beyond > SATURATED * tally.values:
        share = tally.beyond / tally.values
        found.append(f"{name}: {share:.1%} of the values saturate; widen its range")
    dead = int((~tally.alive).sum())
    if 0 < dead < len(tally.alive):
        found.append(f"{name}: {dead} of {len(tally.alive)} channels are always zero")
    elif dead:
        found.append(f"{name}: always zero")
    elif tally.outer < FEW * tally.values:
        found.append(
            f"{name}: {1 - tally.outer / tally.values:.2%} of the values use "
            f"1/{CROWDED} of the range; try ranges: percentile or mse"
        )
    return found
