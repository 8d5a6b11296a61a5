"""What looks wrong about scales, in sentences, over the calibration set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from edgeticket.pipeline.graph.batches import Batch
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


def diagnose(folded: fx.GraphModule, scales: Scales, inputs: Sequence[Batch]) -> list[str]:
    """One sentence each for the tensors that saturate often, that have channels that are always
    zero, and whose range is far larger than their values; it names them and the key that helps."""
    tallies = {name: Tally() for name in scales.activations}

    def look(name: str, value: Tensor) -> None:
        tally, scale = tallies[name], scales.activations[name]
        low, high = _ends(scale)
        tally.values += value.numel()
        tally.beyond += int(((value < low) | (value > high)).sum())
        tally.outer += int(((value < low / CROWDED) | (value > high / CROWDED)).sum())
        if value.ndim < 2:  # one number for an example has no channels
            value = value.reshape(-1, 1)
        alive = (value != 0).movedim(1, 0).flatten(1).any(1)
        tally.alive = alive | tally.alive if len(tally.alive) else alive

    watch(folded, inputs, tallies, look)
    return _sentences(tallies)


def _ends(scale: ActivationScale) -> tuple[float, float]:
    lowest, highest = LOWEST - scale.zero_point - 0.5, HIGHEST - scale.zero_point + 0.5
    return lowest * scale.scale, highest * scale.scale


def _sentences(tallies: Mapping[str, Tally]) -> list[str]:
    """Each kind of finding once, with the tensors that it is about and the key that helps."""
    about: dict[str, list[str]] = {}
    for name, tally in tallies.items():
        if tally.beyond > SATURATED * tally.values:
            about.setdefault(SATURATES, []).append(f"{name} ({tally.beyond / tally.values:.1%})")
        dead = int((~tally.alive).sum())
        if 0 < dead < len(tally.alive):
            about.setdefault(DEAD, []).append(f"{name} ({dead} of {len(tally.alive)})")
        elif dead:
            about.setdefault(ALL_DEAD, []).append(name)
        elif tally.outer < FEW * tally.values:
            share = 1 - tally.outer / tally.values
            about.setdefault(WIDE, []).append(f"{name} ({share:.2%})")
    return [f"{kind}: {', '.join(about[kind])}; {ADVICE[kind]}" for kind in ADVICE if kind in about]


SATURATES = "values that saturate"
DEAD = "channels that are always zero on the calibration set"
ALL_DEAD = "always zero on the calibration set"
WIDE = f"values that use 1/{CROWDED} of their range"
ADVICE = {
    SATURATES: "`ranges: minmax` in this pass makes ranges as wide as the values",
    DEAD: "`method: channel_magnitude` before this pass can remove such channels; a larger "
    "`data.calibration` shows whether they are needed",
    ALL_DEAD: "a larger `data.calibration` shows whether it is needed",
    WIDE: "`ranges: mse` or `ranges: percentile` in this pass makes ranges narrower",
}
