"""Run a folded graph over the calibration set and see which values its tensors take."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.batches import Batch, size_of, tensors_of
from edgeticket.pipeline.quantize.ranges import BINS, Histogram, Range

Ranges = dict[str, Range]


def observe_extremes(
    folded: fx.GraphModule, inputs: Sequence[Batch], names: Collection[str]
) -> Ranges:
    """Step -> least and greatest value of its output over all inputs.

    Raises:
        InputError: there are no inputs, or an output is not finite.
    """
    found: Ranges = {}

    def look(name: str, value: Tensor) -> None:
        low, high = (float(v) for v in torch.aminmax(value))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(
                f"the output of {name} is not finite over the calibration set "
                f"(from {low} to {high}); check the weights and the preprocessing"
            )
        before = found.get(name, (low, high))
        found[name] = min(low, before[0]), max(high, before[1])

    if not watch(folded, inputs, names, look):
        raise InputError("the calibration set is empty; int8 ranges need at least one example")
    return found


def observe_histograms(
    folded: fx.GraphModule, inputs: Sequence[Batch], ranges: Ranges
) -> dict[str, Histogram]:
    """Step -> histogram of its output between its extremes: a second run over the inputs."""
    counts = {name: torch.zeros(BINS, dtype=torch.float64) for name in ranges}
    zeros = dict.fromkeys(ranges, 0)

    def look(name: str, value: Tensor) -> None:
        low, high = ranges[name]
        present = value[value != 0]
        zeros[name] += value.numel() - present.numel()
        if high > low:
            counts[name] += torch.histc(present.float(), BINS, low, high)

    watch(folded, inputs, ranges, look)
    return {name: Histogram(*ranges[name], counts[name].numpy(), zeros[name]) for name in ranges}


def watch(
    folded: fx.GraphModule,
    inputs: Sequence[Batch],
    names: Collection[str],
    look: Callable[[str, Tensor], None],
) -> int:
    """Show ``look`` the named steps' outputs, batch by batch -> how many batches there were."""
    watched = _Watched(folded, names, look)
    batches = [batch for batch in inputs if size_of(batch)]
    with torch.inference_mode():
        for batch in batches:
            watched.run(*tensors_of(batch))
    return len(batches)


class _Watched(fx.Interpreter):
    def __init__(
        self, folded: fx.GraphModule, names: Collection[str], look: Callable[[str, Tensor], None]
    ) -> None:
        super().__init__(folded)
        self.names, self.look = names, look

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self.names:
            self.look(n.name, result)
        return result
