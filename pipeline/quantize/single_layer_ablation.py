"""One layer in int8, all others in float32."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import fx, nn

from edgeticket.pipeline.quantize.fake import FakeQuantize, QuantizedLayer, fake_quantized
from edgeticket.pipeline.quantize.placement import place
from edgeticket.pipeline.quantize.ptq import Quantized


def units(folded: fx.GraphModule, *, keep_fp32: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """What is rounded alone: the layers, by name; those of a recurrent module are one, by its path.

    Each name is one that ``keep_fp32`` takes.
    """
    placement = place(folded, keep_fp32=keep_fp32)
    paths = {n.name: n.meta.get("module", "") for n in placement.owners}
    tied = {name for names in placement.tied for name in names}
    recurrent = {paths[name] for name in tied} - {""}
    found: dict[str, tuple[str, ...]] = {}
    for name in placement.int8:
        unit = paths[name] if paths[name] in recurrent else name
        found[unit] = (*found.get(unit, ()), name)
    return found


def alone(quantized: Quantized, layers: Collection[str]) -> fx.GraphModule:
    """The network in which ``layers`` alone round: their inputs, weights and outputs."""
    module = fake_quantized(quantized.folded, quantized.scales)
    owners = place(quantized.folded, keep_fp32=quantized.scales.fp32).owners
    nodes = [n for n in owners if n.name in layers]
    rounded = {f"{owners[n].name}_int8" for node in nodes for n in (node, *node.all_input_nodes)}
    for name, step in list(module.named_children()):
        if isinstance(step, FakeQuantize) and name not in rounded:
            module.set_submodule(name, nn.Identity())
        if isinstance(step, QuantizedLayer) and name not in layers:
            module.set_submodule(name, quantized.folded.get_submodule(name))
    return module
