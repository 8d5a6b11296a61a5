"""Shapes that kernels do not like: channels beside their tiles, and axes that are moved about."""

from __future__ import annotations

from collections.abc import Sequence

from edgeticket.pipeline.search.structure import QUANTUM
from edgeticket.pipeline.why.finding import Cause, Change, Finding, Remedy
from edgeticket.pipeline.why.nodes import copies, numbers_computed, wide_layers
from edgeticket.pipeline.why.pair import Pair

TICKETS = ("stochastic_gates", "channel_magnitude")
# Copies that write a twentieth of all numbers cost about as much of the time of copying kernels;
# multiplying ones take longer, so fewer are never worth a word.
LEAST_COPIED = 0.05


def find_quantum(pair: Pair) -> Sequence[Finding]:
    """Layers that lost channels, and kept more than half of what these cost.

    Kernels compute channels in tiles of `QUANTUM`: 57 channels take as long as 64.
    """
    one, other = pair.first.file, pair.second.file
    if one is None or other is None:
        return ()
    before, after = wide_layers(one), wide_layers(other)
    by_name = {layer.name: layer for layer in before}
    in_turn = len(before) == len(after)
    found = []
    for i, layer in enumerate(after):
        was = by_name.get(layer.name) or (before[i] if in_turn else None)
        if was is None or layer.outputs >= was.outputs or layer.outputs % QUANTUM == 0:
            continue
        on_paper = 1 - layer.outputs / was.outputs
        in_tiles = 1 - _tiles(layer.outputs) / _tiles(was.outputs)
        if in_tiles > on_paper / 2:
            continue
        found.append(
            Finding(
                Cause.QUANTUM,
                layer.name,
                f"{was.outputs} channels became {layer.outputs}: {on_paper:.0%} less work on "
                f"paper, {in_tiles:.0%} in tiles of {QUANTUM}",
                {
                    "channels": layer.outputs,
                    "channels_before": was.outputs,
                    "saved_on_paper": on_paper,
                    "saved_in_tiles": in_tiles,
                    "quantum": QUANTUM,
                },
                Remedy(
                    f"keep channels in multiples of {QUANTUM}",
                    (Change(TICKETS, "round_to", QUANTUM),),
                ),
            )
        )
    return found


def _tiles(channels: int) -> int:
    return -(-channels // QUANTUM)


def find_copies(pair: Pair) -> Sequence[Finding]:
    """Transpositions inside the second file that the first does without."""
    one, other = pair.first.file, pair.second.file
    if one is None or other is None:
        return ()
    inner = [copy for copy in copies(other) if copy.inner]
    before = sum(copy.numbers for copy in copies(one) if copy.inner)
    moved = sum(copy.numbers for copy in inner)
    if moved <= before:
        return ()
    written = numbers_computed(other)
    share = (moved - before) / max(written, 1)
    if share < LEAST_COPIED:
        return ()
    return tuple(
        Finding(
            Cause.COPIES,
            copy.name,
            f"it copies {copy.numbers:,} numbers to move axes; all such copies write {share:.0%} "
            "of what the file computes",
            {"numbers": copy.numbers, "share_of_all_numbers": share},
            Remedy(
                "convert the ONNX file with `edgeticket convert`, which moves the axes of weights "
                "instead; no recipe of ours makes such copies"
            ),
        )
        for copy in inner
    )
