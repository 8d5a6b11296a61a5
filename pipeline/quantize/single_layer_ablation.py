"""One layer in int8, all others in float32."""

from __future__ import annotations

from torch import fx, nn

from edgeticket.pipeline.quantize.fake import FakeQuantize, QuantizedLayer, fake_quantized
from edgeticket.pipeline.quantize.placement import place
from edgeticket.pipeline.quantize.ptq import Quantized


def alone(quantized: Quantized, layer: str) -> fx.GraphModule:
    """The network in which ``layer`` alone rounds: its input, its weights and its output."""
    module = fake_quantized(quantized.folded, quantized.scales)
    owners = place(quantized.folded, keep_fp32=quantized.scales.fp32).owners
    (node,) = (n for n in owners if n.name == layer)
    rounded = {f"{owners[n].name}_int8" for n in (node, *node.all_input_nodes)}
    for name, step in list(module.named_children()):
        if isinstance(step, FakeQuantize) and name not in rounded:
            module.set_submodule(name, nn.Identity())
        if isinstance(step, QuantizedLayer) and name != layer:
            module.set_submodule(name, quantized.folded.get_submodule(name))
    return module
