"""An exported program made plain: nothing is changed in place, and operators are those we know."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram, default_decompositions
from torch.export.graph_signature import ExportGraphSignature


@dataclass(frozen=True)
class Program:
    """An exported program, and the tensors that it names."""

    graph: fx.Graph
    signature: ExportGraphSignature
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, program: ExportedProgram) -> Program:
        """All of ``program`` that is read."""
        named = {**program.constants, **program.state_dict}
        tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
        return cls(program.graph, program.graph_signature, tensors)

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Program:
        """The program of a network with other numbers."""
        return replace(self, tensors={**self.tensors, **tensors})

    def without(self, names: Collection[str]) -> Program:
        """The program without those tensors, which `with_tensors` is to bring."""
        kept = {name: tensor for name, tensor in self.tensors.items() if name not in names}
        return replace(self, tensors=kept)


ROUNDS = 3  # what an operator is decomposed into may be decomposed again


def plain_program(program: ExportedProgram, known: Collection[str]) -> ExportedProgram:
    """The same function, as `torch.export` can restate it.

    Values that are changed in place after others read them become new values, wrapped parts are
    unwrapped, and operators that are not ``known`` become simpler ones, as far as PyTorch has
    decompositions for them. A program without any of that stays as it is.
    """
    for _ in range(ROUNDS):
        unknown = {
            node.target
            for node in program.graph.nodes
            if isinstance(node.target, torch._ops.OpOverload)
            and operator_name(node.target) not in known
        }
        table = default_decompositions() if unknown else {}
        simpler = {target: table[target] for target in unknown if target in table}
        simpler |= _more_decompositions(unknown - simpler.keys())
        if not simpler and not _needs_restating(program.graph):
            return program
        with quiet(), torch.no_grad():
            program = program.run_decompositions(simpler)
    return program


def _more_decompositions(targets: Collection[Any]) -> dict[Any, Any]:
    """Those that PyTorch has, but does not take by default."""
    return dict(torch._decomp.get_decompositions(list(targets))) if targets else {}


def _needs_restating(graph: fx.Graph) -> bool:
    places = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            return True
        if not isinstance(node.target, torch._ops.OpOverload) or not _changes_in_place(node):
            continue
        changed = node.args[0]
        if not isinstance(changed, fx.Node):
            continue
        later = any(places[user] > places[node] for user in changed.users)
        if later or _is_view(changed):
            return True
    return False


def _changes_in_place(node: fx.Node) -> bool:
    return bool(node.target._schema.is_mutable)  # type: ignore[union-attr]


def _is_view(node: fx.Node) -> bool:
    """Whether the numbers of a value are those of another, so that both would change."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.op == "placeholder"
    results = node.target._schema.returns
    return not _changes_in_place(node) and any(r.alias_info is not None for r in results)


def operator_name(target: Any) -> str:
    """``aten::relu_`` -> ``relu``: what is changed in place is a value like any other here."""
    if isinstance(target, torch._ops.OpOverload):
        name = target._schema.name.partition("::")[2]
        return name[:-1] if name.endswith("_") and not name.startswith("_") else name
    return str(getattr(target, "__name__", target))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What torch.export logs and warns of concerns its own code alone."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.fx", "torch._export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
