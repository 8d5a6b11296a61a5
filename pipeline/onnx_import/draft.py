"""The program that a walk over the nodes of an ONNX graph writes."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from torch import nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.program import INPUT
from edgeticket.pipeline.onnx_import.source import Array, Source


@dataclass
class Step:
    """One line of a program."""

    name: str
    operator: str
    inputs: list[str]
    settings: dict[str, Any]


@dataclass
class Draft:
    """What there is so far: steps, the tensors of their modules, and which step makes a value."""

    source: Source
    place: str
    steps: dict[str, Step] = field(default_factory=dict)
    tensors: dict[str, Array] = field(default_factory=dict)  # as a state_dict names them
    made_by: dict[str, str] = field(default_factory=dict)  # value of the graph -> step
    readers: Counter[str] = field(default_factory=Counter)  # of each value of the graph

    def __post_init__(self) -> None:
        self.made_by[self.source.input] = INPUT
        self.readers.update(name for node in self.source.nodes for name in node.input)
        self.readers[self.source.output] += 1

    def refuse(self, node: onnx.NodeProto, reason: str) -> InputError:
        """The sentence for what ``node`` does that cannot be had."""
        return InputError(f"{self.place}: {node.name or node.output[0]} ({node.op_type}) {reason}")

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a value or constant."""
        if name in self.source.constants:
            return self.source.constants[name].shape
        return self.source.shapes[name]

    def constant(self, node: onnx.NodeProto, index: int) -> Array | None:
        """What ``node`` reads at ``index``, None if nothing.

        Raises:
            InputError: it is computed from the input.
        """
        name = node.input[index] if index < len(node.input) else ""
        if name and name not in self.source.constants:
            raise self.refuse(node, f"computes its input {index}: export it with constants folded")
        return self.source.constants[name] if name else None

    def append(
        self,
        node: onnx.NodeProto,
        operator: str,
        inputs: Sequence[str],
        settings: Mapping[str, Any] = MappingProxyType({}),
        tensors: Mapping[str, Array] = MappingProxyType({}),
        output: str | None = None,
    ) -> None:
        """A step that makes ``output`` of ``inputs``, values of the graph.

        ``tensors`` are those of its module; ``output`` None is what ``node`` makes.
        """
        name = self._name(node)
        sources = [self._step_of(node, value) for value in inputs]
        self.steps[name] = Step(name, operator, sources, dict(settings))
        self.tensors |= {f"{name}.{key}": tensor for key, tensor in tensors.items()}
        self.made_by[output or node.output[0]] = name

    def alias(self, node: onnx.NodeProto) -> None:
        """``node`` passes on what it reads."""
        self.made_by[node.output[0]] = self._step_of(node, node.input[0])

    def stored(self, node: onnx.NodeProto, array: Array) -> str:
        """A name for numbers that are stored in the network."""
        name = self._name(node, "constant")
        self.steps[name] = Step(name, "constant", [], {"shape": list(array.shape)})
        self.tensors[name] = array.astype(np.float32)
        self.made_by[name] = name
        return name

    def _step_of(self, node: onnx.NodeProto, value: str) -> str:
        if value not in self.made_by:
            raise self.refuse(node, f"works on the constant {value}: export it with them folded")
        return self.made_by[value]

    def _name(self, node: onnx.NodeProto, suffix: str = "") -> str:
        plain = re.sub(r"\W+", "_", f"{node.name or node.output[0]}_{suffix}", flags=re.ASCII)
        stem = plain.strip("_") or "step"
        if stem[0].isdigit() or keyword.iskeyword(stem) or hasattr(nn.Module, stem):
            stem = f"step_{stem}"
        name, count = stem, 1
        while name in self.steps or name == INPUT:
            name, count = f"{stem}_{count}", count + 1
        return name
