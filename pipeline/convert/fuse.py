"""Several ONNX operators that are one operator of a `Graph`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators import KINDS

Shapes = Mapping[str, tuple[int, ...]]
CLIPS = {name for name, kind in KINDS.items() if kind.clips}


def fuse(operators: Iterable[Operator], shapes: Shapes, kept: Iterable[str]) -> list[Operator]:
    """Put each of `RULES` to work.

    Args:
        shapes: of every value, by name.
        kept: values that are read from outside, or rounded, and so must stay.
    """
    found = list(operators)
    for rule in RULES:
        found = _apply(rule, found, shapes, Counter(kept))
    return found


class _Chain:
    """What came before an operator, as far as nothing else reads it."""

    def __init__(self, shapes: Shapes, readers: Counter[str]) -> None:
        self.shapes, self.readers = shapes, readers
        self.producers: dict[str, Operator] = {}  # by output, in order

    def alone(self, name: str, kind: str) -> Operator | None:
        """The operator of that kind that makes ``name``, if one other operator reads it."""
        producer = self.producers.get(name)
        if producer is None or producer.kind != kind or self.readers[name] != 1:
            return None
        return None if producer.clamp is not None and kind != "Clip" else producer


Rule = Callable[[_Chain, Operator], tuple[Operator, Sequence[Operator]] | None]
"""An operator -> the operator in its place, and those before it that are gone; or None."""


def _apply(
    rule: Rule, operators: list[Operator], shapes: Shapes, readers: Counter[str]
) -> list[Operator]:
    readers.update(name for op in operators for name in op.inputs)
    chain = _Chain(shapes, readers)
    for op in operators:
        made = rule(chain, op)
        if made is None:
            chain.producers[op.output] = op
        else:
            fused, gone = made
            for old in gone:
                del chain.producers[old.output]
            chain.producers[op.output] = replace(fused, output=op.output)
    return list(chain.producers.values())


def clamp(chain: _Chain, op: Operator) -> tuple[Operator, Sequence[Operator]] | None:
    """An operator clips its own output, where a Clip is all that reads it."""
    producer = chain.producers.get(op.inputs[0])
    if op.kind != "Clip" or producer is None or chain.readers[producer.output] != 1:
        return None
    if producer.kind not in CLIPS or producer.clamp is not None:
        return None
    return replace(producer, clamp=op.clamp), [producer]


def hard_swish(chain: _Chain, op: Operator) -> tuple[Operator, Sequence[Operator]] | None:
    """x · HardSigmoid(x) (Howard et al., Searching for MobileNetV3, 2019)."""
    if op.kind != "Mul" or op.clamp is not None:
        return None
    for x, other in (op.inputs, op.inputs[::-1]):
        gate = chain.alone(other, "HardSigmoid")
        if gate is not None and gate.inputs == (x,):
            return Operator(op.name, "HardSwish", (x,), op.output), [gate]
    return None


def channel_shuffle(chain: _Chain, op: Operator) -> tuple[Operator, Sequence[Operator]] | None:
    """[1, C, H, W] as [1, G, C/G, H, W] as [1, C/G, G, H, W] and back (Zhang et al. 2017)."""
    turn = chain.alone(op.inputs[0], "Transpose") if op.kind == "Reshape" else None
    split = chain.alone(turn.inputs[0], "Reshape") if turn else None
    if turn is None or split is None or list(turn.attributes["perm"]) != [0, 2, 1, 3, 4]:
        return None
    before, parts = chain.shapes[split.inputs[0]], chain.shapes[split.output]
    if len(before) != 4 or chain.shapes[op.output] != before or parts[3:] != before[2:]:
        return None
    groups = {"groups": parts[1]}
    return Operator(op.name, "ChannelShuffle", split.inputs, op.output, groups), [split, turn]


def padded_convolution(chain: _Chain, op: Operator) -> tuple[Operator, Sequence[Operator]] | None:
    """Zeros around a map become the padding of the convolution that reads it."""
    pad = chain.alone(op.inputs[0], "Pad") if op.kind == "Conv" else None
    if pad is None or any(pad.attributes["before"][:2]) or any(pad.attributes["after"][:2]):
        return None
    if pad.attributes.get("mode", "constant") != "constant" or pad.attributes.get("value"):
        return None
    added = [*pad.attributes["before"][2:], *pad.attributes["after"][2:]]
    pads = [a + b for a, b in zip(op.attributes["pads"], added, strict=True)]
    inputs = (pad.inputs[0], *op.inputs[1:])
    return replace(op, inputs=inputs, attributes={**op.attributes, "pads": pads}), [pad]


RULES: tuple[Rule, ...] = (clamp, hard_swish, channel_shuffle, padded_convolution)
