"""Heads of attention as channels that are removed whole.

A head writes its share of the rows of the query, key and value layers, and the output layer reads
that share of its inputs. The softmax works in each head by itself, so a head whose values are zero
adds nothing: without it the function is the same (Michel et al., "Are Sixteen Heads Really Better
than One?", 2019).
"""

from __future__ import annotations

from torch import nn

from edgeticket.models.vit import Attention
from edgeticket.pipeline.prune.channel_group import ChannelGroup, Cut, Span, row_tensors


def find_heads(module: nn.Module) -> tuple[ChannelGroup, ...]:
    """The heads of every `models.vit.Attention` in ``module``, a group for each.

    Other attention splits its channels by a number of heads that is fixed; those heads stay.
    """
    return tuple(
        _heads(module, name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, Attention)
    )


def _heads(module: nn.Module, name: str, attention: Attention) -> ChannelGroup:
    rows = range(attention.value.out_features)
    span = Span(tuple(rows), tuple(row // attention.head_size for row in rows))
    cuts = [
        Cut(tensor, 0, span, writes=True, gate=layer == "value")
        for layer in ("query", "key", "value")
        for tensor in row_tensors(module, f"{name}.{layer}")
    ]
    cuts.append(Cut(f"{name}.out.weight", 1, span))
    return ChannelGroup(
        name,
        width=len(rows) // attention.head_size,
        producers={f"{name}.{layer}": span for layer in ("query", "key", "value")},
        consumers={f"{name}.out": span},
        last_producers=(f"{name}.value",),
        heads=True,
        cuts=tuple(cuts),
    )
