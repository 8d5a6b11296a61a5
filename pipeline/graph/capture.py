"""A PyTorch module -> the one graph, by torch.export."""

from __future__ import annotations

import inspect
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import OutputKind

from edgeticket.device_runner.errors import InputError
from edgeticket.models.copies import shared_copy
from edgeticket.pipeline.graph.batches import dtypes, wants_integers
from edgeticket.pipeline.graph.draft import BatchSize, Draft
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.graph.network import GraphNetwork
from edgeticket.pipeline.graph.program import Program, plain_program, quiet
from edgeticket.pipeline.graph.program import operator_name as _operator_name
from edgeticket.pipeline.graph.remembered import digest_of
from edgeticket.pipeline.graph.whole import WholeLayers
from edgeticket.pipeline.operators import ATEN, KINDS, RANDOM, REFUSED

KEPT = 4  # programs that are remembered
EXAMPLES = 2  # in the batch that a module is captured with; a size of 1 would be taken for fixed

Shapes = Sequence[tuple[int, ...]]


UNKNOWN = object()  # a number that no reader takes
OPAQUE = "Opaque"  # a kind that no table has: a step of which only the shapes are known


@dataclass(frozen=True)
class _Opaque:
    dtype = "float32"

    @staticmethod
    def shape(attributes: Mapping[str, Any], *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(attributes["shape"])


def capture(module: nn.Module, takes: tuple[int, ...] | Shapes, *, opaque: bool = False) -> Graph:
    """The function of ``module`` in evaluation mode, operator by operator.

    The batch is open wherever the module allows that. Operators are named after modules
    (``layer1_0_conv1``, ``layer1_0_add``), constants as in its state_dict.

    Args:
        module: stays as it is.
        takes: the shape of one input without the batch, or one for each input.
        opaque: what is not known becomes a step of the kind `OPAQUE`, so that the rest can be
            looked at; such a graph computes nothing.

    Raises:
        InputError: torch.export cannot follow it, or it uses an operator that is not known; both
            with the place.
    """
    shapes = input_shapes(takes)
    if isinstance(module, GraphNetwork):
        return _graph_of(module, shapes)
    return _Reader(_program_of(module, shapes), type(module).__name__, opaque=opaque).read()


def graph_of_program(program: ExportedProgram, title: str, *, opaque: bool = False) -> Graph:
    """What torch.export says of a network -> its graph.

    Args:
        title: what sentences call it.
        opaque: as `capture` has it.

    Raises:
        InputError: it uses an operator that is not known.
    """
    return _Reader(_plain(program), title, opaque=opaque).read()


def _plain(program: ExportedProgram) -> Program:
    known = ATEN.keys() | PASSED_OVER | SHAPED | REFUSED.keys()
    return Program.of(plain_program(program, known))


_programs: OrderedDict[object, Program] = OrderedDict()


def _program_of(module: nn.Module, shapes: Shapes) -> Program:
    """The plain program of ``module``; one that differs in the numbers of its tensors has the same.

    torch.export sees of parameters and buffers only what describes them.
    """
    tensors = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    digest = digest_of(module, ignoring=tensors.values())
    if digest is None:
        return _plain(_export(module, shapes)).with_tensors(tensors)
    key = digest, tuple(type(part) for part in module.modules()), str(shapes)
    if key not in _programs:
        _programs[key] = _plain(_export(module, shapes)).without(tensors)
        if len(_programs) > KEPT:
            _programs.popitem(last=False)
    _programs.move_to_end(key)
    return _programs[key].with_tensors(tensors)


def _graph_of(module: GraphNetwork, shapes: Shapes) -> Graph:
    """The graph that a network is made of."""
    if tuple(map(tuple, shapes)) != module.takes:
        given, wanted = ([list(shape) for shape in s] for s in (shapes, module.takes))
        raise InputError(
            f"the network takes {wanted}, not {given}: its sizes are fixed in its file"
        )
    try:
        return module.graph()
    except ValueError as error:
        raise InputError(f"the network no longer fits together: {error}") from None


def input_shapes(takes: tuple[int, ...] | Shapes) -> Shapes:
    """One shape for each input, from those, or from the only one."""
    sizes = tuple(size for size in takes if isinstance(size, int))
    if len(sizes) == len(takes):
        return (sizes,)
    return tuple(tuple(shape) for shape in takes if not isinstance(shape, int))


def _export(module: nn.Module, shapes: Shapes) -> ExportedProgram:
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError(
            f"{type(module).__name__} is a scripted module, whose Python code is gone: give the "
            "nn.Module that it was made of, with its weights, or export it to ONNX"
        )
    source = shared_copy(module).eval()
    failure: Exception | None = None
    for types in dtypes(len(shapes)):
        for batch in (EXAMPLES, 1):
            examples = tuple(
                torch.zeros(batch, *shape, dtype=dtype)
                for shape, dtype in zip(shapes, types, strict=True)
            )
            is_open = batch > 1
            sizes = _open_sizes(source, len(shapes)) if is_open else None
            try:
                with quiet(), torch.no_grad(), WholeLayers():
                    return export(source, examples, dynamic_shapes=sizes, strict=False)
            except Exception as error:  # torch.export raises whatever the module's code meets
                failure = failure or error
        if not wants_integers(failure):
            break
    reason = " ".join(str(failure).split())
    if not _runs(source, shapes):
        shown = " and ".join("x".join(map(str, shape)) for shape in shapes)
        raise InputError(
            f"{type(module).__name__} does not run on inputs of {shown} ({reason[:300]}): give it "
            "the shape that its forward takes, channels before or behind steps, height before width"
        ) from failure
    raise InputError(
        f"{type(module).__name__} cannot be traced ({reason[:300]}); write its forward without "
        "control flow that depends on tensors"
    ) from failure


def _runs(module: nn.Module, shapes: Shapes) -> bool:
    """Whether the module's code runs at all on such inputs, untraced."""
    for types in dtypes(len(shapes)):
        examples = (
            torch.zeros(1, *shape, dtype=dtype) for shape, dtype in zip(shapes, types, strict=True)
        )
        try:
            with torch.no_grad():
                module(*examples)
            return True
        except Exception:  # whatever a network that somebody wrote raises
            continue
    return False


def _open_sizes(module: nn.Module, count: int) -> tuple[Any, ...]:
    """Every input's first axis is open; inputs that ``*names`` takes are one entry."""
    sizes: list[Any] = [{0: Dim.DYNAMIC} for _ in range(count)]
    named = inspect.signature(module.forward).parameters.values()
    for place, parameter in enumerate(named):
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return (*sizes[:place], tuple(sizes[place:]))
    return tuple(sizes)


class _Reader:
    """A walk over the nodes of an exported program."""

    def __init__(self, program: Program, title: str, *, opaque: bool) -> None:
        self.program, self.title, self.opaque = program, title, opaque
        self.draft = Draft({**KINDS, OPAQUE: _Opaque()} if opaque else KINDS)
        self.values: dict[fx.Node, Any] = {}  # names, numbers, or lists of them
        self.named = Counter(_leaf(node) for node in program.graph.nodes if _is_named(node))

    def read(self) -> Graph:
        """The graph."""
        signature = self.program.signature
        tensors = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        inputs: list[str] = []
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in tensors:
                self.values[node] = self._stored(tensors[node.name])
            elif node.op == "placeholder" and node.name in signature.user_inputs:
                if isinstance(node.meta.get("val"), Tensor):
                    inputs.append(self._input(node))
            elif node.op == "call_function":
                self.values[node] = self._known_or_opaque(node) if self.opaque else self._call(node)
        outputs = self._outputs()
        return self.draft.finish(inputs, outputs)

    def _known_or_opaque(self, node: fx.Node) -> Any:
        try:
            return self._call(node)
        except Exception:  # whatever a reader meets in an operator, or PyTorch on what is stored
            names = [v for n in node.all_input_nodes for v in _flat(self.values.get(n))]
            inputs = [v for v in names if isinstance(v, str)]
            value = node.meta.get("val")
            results = [
                self._unknown(node, part, inputs) if isinstance(part, Tensor) else None
                for part in _flat(value)
            ]
            if isinstance(value, list | tuple):
                return results
            return results[0] if isinstance(value, Tensor) else UNKNOWN

    def _unknown(self, node: fx.Node, value: Tensor, inputs: list[str]) -> str:
        draft = self.draft
        draft.step = draft.result = draft.unique(self._name(node, _operator_name(node.target)))
        draft.origin = (_leaf(node),)
        return draft.add(OPAQUE, *inputs, shape=self._sizes(value.shape))

    def _stored(self, target: str) -> str:
        # A copy: what a graph has stays as it is when the network is trained.
        return self._constant(self.program.tensors[target].detach().cpu().clone(), target)

    def _constant(self, tensor: Tensor, name: str) -> str:
        array = tensor.detach().cpu().contiguous()
        if array.dtype in (torch.bfloat16, torch.float16, torch.float64):
            array = array.float()
        return self.draft.constant(array.numpy(), name)

    def _input(self, node: fx.Node) -> str:
        value = node.meta["val"]
        first, *rest = self._sizes(value.shape)
        self.draft.shapes[node.name] = (BatchSize(first), *rest)
        if value.dtype != torch.float32:
            self.draft.dtypes[node.name] = "int64"
        self.values[node] = node.name
        return node.name

    def _sizes(self, shape: Sequence[Any]) -> tuple[int, ...]:
        return tuple(self._size(n) for n in shape)

    def _size(self, size: Any) -> int:
        """A size for a batch of one; a `BatchSize` where the batch decides it."""
        if not isinstance(size, torch.SymInt):
            return int(size)
        expression = size.node.expr
        one = int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))
        return BatchSize(one)

    def _call(self, node: fx.Node) -> Any:
        value = node.meta.get("val")
        if isinstance(value, Symbolic) and not value.node.has_hint():  # no size, but a number
            if not self._is_stored(node):
                raise self._refuse(node, "computes a number from the input: keep it a tensor")
            return self._fold(node)
        if isinstance(value, torch.SymInt):
            return self._size(value)
        if isinstance(value, torch.SymFloat | torch.SymBool):
            expression = value.node.expr
            one = expression.subs(dict.fromkeys(expression.free_symbols, 1))
            return float(one) if isinstance(value, torch.SymFloat) else bool(one)
        if isinstance(value, int | float | bool):
            return value
        name = _operator_name(node.target)
        arguments = self._arguments(node)
        if name == "getitem":
            items, index = (self._resolve(item) for item in node.args)
            if isinstance(items, str | int):
                raise self._refuse(node, "is read as a list")
            if index >= len(items):
                return None  # an output that cannot be had; whoever reads it says so
            return items[index]
        if name in PASSED_OVER:
            return None
        if name in RANDOM:
            raise self._refuse(node, RANDOM[name])
        if name in SHAPED or self._is_stored(node):
            return self._fold(node)
        reader = ATEN.get(name)
        if reader is None:
            raise self._refuse(
                node,
                REFUSED.get(name)
                or "is an operator that cannot be converted: replace it where the network is "
                "defined by what docs/operators.md lists",
            )
        draft = self.draft
        draft.label = f"{self._title(node)} ({name})"
        draft.step = draft.result = draft.unique(self._name(node, name))
        draft.origin = (_leaf(node),)
        try:
            result = reader(draft, **arguments)
        except InputError:
            raise
        except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
            raise draft.refuse(f"has a form that cannot be converted ({error})") from error
        rank = value.ndim if isinstance(value, Tensor) else 0
        if rank and isinstance(result, str) and draft.rank(result) != rank:
            raise draft.refuse("drops the axis of the batch: leave that in")
        return result

    def _arguments(self, node: fx.Node) -> dict[str, Any]:
        """What the node is called with, by the names of the operator's schema."""
        if not isinstance(node.target, torch._ops.OpOverload):
            return {}
        given: dict[str, Any] = {}
        for i, argument in enumerate(node.target._schema.arguments):
            if i < len(node.args):
                value = self._resolve(node.args[i])
            elif argument.name in node.kwargs:
                value = self._resolve(node.kwargs[argument.name])
            else:
                continue
            if value is None and "Tensor" in str(argument.type):
                value = ""
            if argument.name in IGNORED:
                continue
            given[argument.name] = value
        return given

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return self.values[value]
        if isinstance(value, list | tuple):
            return [self._resolve(item) for item in value]
        if isinstance(value, torch.SymInt):
            return self._size(value)
        return value

    def _is_stored(self, node: fx.Node) -> bool:
        """Whether all that a node reads is stored, so that its result can be, too."""
        names = [v for n in node.all_input_nodes for v in _flat(self.values.get(n))]
        return all(not isinstance(v, str) or v in self.draft.constants for v in names)

    def _fold(self, node: fx.Node) -> Any:
        """Compute now what does not depend on the input, for a batch of one."""

        def value_of(item: Any) -> Any:
            if isinstance(item, fx.Node):
                return value_of(self.values[item])
            if isinstance(item, list | tuple):
                return [value_of(part) for part in item]
            if isinstance(item, str) and item in self.draft.constants:
                return torch.from_numpy(np.array(self.draft.constants[item].data))
            if isinstance(item, str) and item in self.draft.shapes:  # its shape alone is read
                dtype = getattr(torch, self.draft.dtype(item))
                return torch.zeros([int(n) for n in self.draft.shapes[item]], dtype=dtype)
            return int(item) if isinstance(item, BatchSize) else item

        args = [value_of(item) for item in node.args]
        kwargs = {key: value_of(item) for key, item in node.kwargs.items()}
        with torch.no_grad():
            result = node.target(*args, **kwargs)  # type: ignore[operator]
        place = self._name(node, _operator_name(node.target))
        if isinstance(result, Tensor):
            return self._constant(result, place)
        if isinstance(result, list | tuple):
            return [
                self._constant(part, place) if isinstance(part, Tensor) else part for part in result
            ]
        return result

    def _name(self, node: fx.Node, function: str) -> str:
        """``layer1.0`` + ``add`` -> ``layer1_0_add``; a layer of PyTorch's own has its path."""
        path, kind = _module_of(node)
        alone = kind.startswith("torch.nn.modules") and self.named[path] == 1 and path
        parts = [path] if alone else [path, function.strip("_")]
        name = re.sub(r"\W", "_", "_".join(part for part in parts if part))
        return f"_{name}" if name[:1].isdigit() else name

    def _title(self, node: fx.Node) -> str:
        return _module_of(node)[0] or str(node.name)

    def _refuse(self, node: fx.Node, reason: str) -> InputError:
        return InputError(f"{self._title(node)} ({_operator_name(node.target)}) {reason}")

    def _outputs(self) -> list[str]:
        (last,) = (node for node in self.program.graph.nodes if node.op == "output")
        names: list[str] = []
        draft = self.draft
        inputs = {str(v) for n, v in self.values.items() if n.op == "placeholder"}
        specs = self.program.signature.output_specs
        for item, spec in zip(last.args[0], specs, strict=True):
            if spec.kind is not OutputKind.USER_OUTPUT or item is None:
                continue
            value = self.values.get(item) if isinstance(item, fx.Node) else None
            if not isinstance(value, str):
                if self.opaque:
                    continue
                raise InputError(
                    f"{self.title} returns something that is no tensor: return tensors"
                )
            if draft.is_constant(value) or value in names or value in inputs:
                draft.label, draft.origin = f"{self.title} (its output)", ()
                draft.step = draft.result = draft.unique(
                    f"{re.sub(r'[^0-9a-zA-Z]', '_', value)}_output"
                )
                value = draft.add("Identity", value)
            names.append(value)
        return names


Symbolic = torch.SymInt | torch.SymFloat | torch.SymBool

# What says something about sizes, and computes nothing.
PASSED_OVER = frozenset(
    {"_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range_for_size"}
    | {"getitem", "sym_size", "sym_numel", "sym_constrain_range", "_assert_async"}
)
# What reads no more of a tensor than its shape and type.
SHAPED = frozenset(
    {"new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like"}
    | {"full_like", "empty_like", "new_empty_strided", "fill", "zero"}
)
IGNORED = frozenset({"memory_format", "pin_memory", "layout", "device", "non_blocking", "copy"})


def _module_of(node: fx.Node) -> tuple[str, str]:
    """Path and class of the module whose forward the node is in; the network itself is ""."""
    stack = node.meta.get("nn_module_stack") or {}
    found = ("", "")
    for path, kind in stack.values():
        if not str(path).startswith("_empty"):
            found = str(path).partition("@")[0], str(kind)
    return found


def _leaf(node: fx.Node) -> str:
    return _module_of(node)[0]


def _is_named(node: fx.Node) -> bool:
    """Whether it is an operator on tensors, and no size, part of a result or stored number."""
    return (
        node.op == "call_function"
        and _operator_name(node.target) != "getitem"
        and not isinstance(node.meta.get("val"), torch.SymInt)
        and any(isinstance(source.meta.get("val"), Tensor) for source in node.all_input_nodes)
    )


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [item for part in value for item in _flat(part)]
    return [value]
