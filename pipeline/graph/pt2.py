"""A program of a .pt2 file -> the one graph, as `capture` reads the program of a module.

Its nodes call operators of ATen that are known here, and arithmetic on sizes; names, settings and
types are looked at before anything is made of them, and shapes come from running the operators
on tensors without numbers.
"""

from __future__ import annotations

import keyword
import math
import operator
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._export.verifier import load_verifier
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram, default_decompositions
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils import _pytree as pytree

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.capture import PASSED_OVER, SHAPED, graph_of_program
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.graph.program import operator_name, quiet
from edgeticket.pipeline.graph.pt2_file import AGAIN, TYPES, Archive, read_archive
from edgeticket.pipeline.graph.whole import RECURRENT
from edgeticket.pipeline.operators import ATEN, RANDOM, REFUSED

MOST_NODES = 100_000
MOST_NUMBERS = 2**24  # of an input
EXAMPLES = 89  # like no other size: what is equal by chance would be taken for the same
# On sizes; of ATen, those that make constants.
ARITHMETIC: dict[str, Any] = {
    f"_operator.{name}": getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow")
} | {"math.floor": math.floor, "math.ceil": math.ceil, "math.trunc": math.trunc}
SIZES: dict[str, Any] = {
    "sym_size": lambda tensor, axis: tensor.shape[axis],
    "sym_numel": lambda tensor: tensor.numel(),
}
MAKING = frozenset(
    {"arange", "empty", "eye", "full", "linspace", "ones", "scalar_tensor", "zeros", "_to_copy"}
)
OPERATOR = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)", re.ASCII)


def read_program(data: bytes, *, place: str) -> tuple[Graph, frozenset[str]]:
    """The bytes of a .pt2 file -> its graph, and which of its constants may be trained.

    Nothing in the file is run or unpickled.

    Raises:
        InputError: it is damaged, holds more than operators of ATen, or what cannot be converted.
    """
    archive = read_archive(data, place=place)
    try:
        program, trained = _Program(archive, place).build()
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{place} is damaged ({error!r:.200}): {AGAIN}") from None
    try:
        return graph_of_program(program, "the network"), trained
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


class _Program:
    """A walk over the nodes in a file."""

    def __init__(self, archive: Archive, place: str) -> None:
        self.archive, self.place = archive, place
        module = archive.program["graph_module"]
        self.graph, self.signature = module["graph"], module["signature"]
        self.made = fx.Graph()
        self.nodes: dict[str, fx.Node] = {}
        self.fake = FakeTensorMode(shape_env=ShapeEnv())
        self.known = {
            *(ATEN.keys() | PASSED_OVER | SHAPED | REFUSED.keys() | RANDOM.keys() | MAKING),
            *(operator_name(target) for target in default_decompositions()),
        }

    def build(self) -> tuple[ExportedProgram, frozenset[str]]:
        if len(self.graph["nodes"]) > MOST_NODES:
            raise InputError(f"{self.place} has more than {MOST_NODES:,} nodes")
        inputs, trained = self._inputs()
        with quiet(), torch.no_grad(), enable_python_dispatcher():
            for entry in self.graph["nodes"]:
                self._node(entry)
        outputs = self._outputs()
        count = sum(spec.kind is InputKind.USER_INPUT for spec in inputs)
        results = [s.arg.name for s in outputs if s.kind is OutputKind.USER_OUTPUT]
        taken = pytree.tree_flatten(((0,) * count, {}))[1]
        given = pytree.tree_flatten((0,) * len(results))[1]
        call = ModuleCallSignature([], [], taken, given)
        tensors: dict[str, Tensor] = {
            name: nn.Parameter(tensor) if name in trained else tensor
            for name, tensor in self.archive.tensors.items()
        }
        targets = {spec.target for spec in inputs if spec.kind is not InputKind.CONSTANT_TENSOR}
        program = ExportedProgram(
            nn.Module(),
            self.made,
            ExportGraphSignature(inputs, outputs),
            {name: tensor for name, tensor in tensors.items() if name in targets},
            {},
            [ModuleCallEntry("", call)],
            constants={name: tensor for name, tensor in tensors.items() if name not in targets},
            verifiers=[load_verifier("TRAINING")],  # which lets operators change values in place
        )
        return program, trained

    def _inputs(self) -> tuple[list[InputSpec], frozenset[str]]:
        specs: list[InputSpec] = []
        trained: set[str] = set()
        names = [entry["as_tensor"]["name"] for entry in self.graph["inputs"]]
        for name, spec in zip(names, self.signature["input_specs"], strict=True):
            (kind, fields), *more = spec.items()
            if more or kind not in ("parameter", "buffer", "tensor_constant", "user_input"):
                raise InputError(f"{self.place} takes a {reprlib.repr(kind)}: {AGAIN}")
            node = self._new(name, self.made.placeholder, _identifier(name))
            argument = TensorArgument(name=node.name)
            if kind == "user_input":
                node.meta["val"] = self._example(name)
                specs.append(InputSpec(InputKind.USER_INPUT, argument, None))
                continue
            target = fields[
                {"parameter": "parameter_name", "buffer": "buffer_name"}.get(
                    kind, "tensor_constant_name"
                )
            ]
            tensor = self.archive.tensors[target]
            node.meta["val"] = self.fake.from_tensor(tensor, static_shapes=True)
            if kind == "parameter":
                trained.add(target)
            specs.append(
                InputSpec(
                    InputKind[{"tensor_constant": "CONSTANT_TENSOR"}.get(kind, kind.upper())],
                    argument,
                    target,
                    persistent=True if kind == "buffer" else None,
                )
            )
        return specs, frozenset(trained)

    def _example(self, name: str) -> Any:
        """An input without numbers; its batch is open where it was exported so."""
        meta = self.graph["tensor_values"][name]
        dtype = TYPES[meta["dtype"]]
        if dtype not in (torch.float32, torch.int64):
            raise InputError(f"{self.place}: its input is {dtype}: export it in float32")
        sizes = [size.get("as_int") for size in meta["sizes"]]
        is_open = bool(sizes) and sizes[0] is None
        for i, size in enumerate(sizes):
            if i and size is None:
                raise InputError(
                    f"{self.place}: its input {name} leaves size {i} open: export it with that "
                    "size fixed; only the batch may be open"
                )
            if i and (type(size) is not int or not 0 < size < 2**24):
                raise InputError(f"{self.place}: its input {name} has no size {size}: {AGAIN}")
        if math.prod(sizes[1:]) > MOST_NUMBERS:
            raise InputError(f"{self.place}: its input {name} has {sizes}, which no device holds")
        if not sizes or (not is_open and sizes[0] != 1):
            raise InputError(
                f"{self.place}: its input takes {sizes[:1]} examples at a time: export it with a "
                "batch of 1, or an open one (dynamic_shapes=({0: Dim.DYNAMIC},))"
            )
        example = torch.empty([EXAMPLES if is_open else 1, *sizes[1:]], dtype=dtype)
        first = DimDynamic.DYNAMIC if is_open else DimDynamic.STATIC
        how: Any = StatelessSymbolicContext(
            dynamic_sizes=[first, *[DimDynamic.STATIC] * (len(sizes) - 1)]
        )
        return self.fake.from_tensor(example, symbolic_context=how)

    def _node(self, entry: Mapping[str, Any]) -> None:
        target = self._target(entry["target"])
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        is_operator = isinstance(target, torch._ops.OpOverload)
        names = {a.name for a in target._schema.arguments} if is_operator else set()
        for given in entry["inputs"]:
            value = self._value(given["arg"])
            if given.get("kind") == 2 or kwargs:
                if given["name"] not in names:
                    raise InputError(
                        f"{self.place}: {target} has no setting {reprlib.repr(given['name'])}"
                    )
                kwargs[given["name"]] = value
            else:
                args.append(value)
        outputs = entry["outputs"]
        several = len(outputs) > 1 or (outputs and "as_tensors" in outputs[0])
        ((_, first),) = outputs[0].items() if outputs else [("", {})]
        name = "" if several or not outputs else first.get("name", first.get("as_name"))
        node = self._new(
            name, self.made.call_function, target, tuple(args), kwargs, name=_identifier(name)
        )
        node.meta["nn_module_stack"] = _stack(entry.get("metadata", {}))
        with self.fake:
            # Sizes by way of the operator would be those of the examples.
            run = SIZES.get(operator_name(target), target) if is_operator else target
            node.meta["val"] = run(*_real(args), **_real(kwargs))
        if several:
            parts = [o["as_tensor"]["name"] if "as_tensor" in o else None for o in outputs]
            if outputs and "as_tensors" in outputs[0]:
                parts = [part["name"] for part in outputs[0]["as_tensors"]]
            for i, part in enumerate(parts):
                if part is None or i >= len(node.meta["val"]):
                    continue
                item = self._new(
                    part, self.made.call_function, operator.getitem, (node, i),
                    name=_identifier(part),
                )  # fmt: skip
                item.meta |= {"val": node.meta["val"][i]}
                item.meta["nn_module_stack"] = node.meta["nn_module_stack"]

    def _target(self, name: Any) -> Any:
        if name in ARITHMETIC:
            return ARITHMETIC[name]
        match = OPERATOR.fullmatch(name) if isinstance(name, str) else None
        if match is None or match[1].rstrip("_") not in {n.rstrip("_") for n in self.known}:
            raise InputError(
                f"{self.place} calls {reprlib.repr(name)}, which is no operator that a file may "
                "call: replace it where the network is defined, or give the network as PyTorch "
                "code (model: {import: ...})"
            )
        if match[1] in RECURRENT and match[2] == "input":
            return getattr(torch.ops.edgeticket, match[1]).default  # whole, not step by step
        packet = getattr(torch.ops.aten, match[1])
        if match[2] not in packet.overloads():
            raise InputError(f"{self.place}: there is no {match[0]} in PyTorch {torch.__version__}")
        return getattr(packet, match[2])

    def _value(self, argument: Mapping[str, Any]) -> Any:
        ((kind, value),) = argument.items()
        read = {
            "as_none": lambda _: None,
            "as_tensor": lambda v: self.nodes[v["name"]],
            "as_tensors": lambda v: [self.nodes[part["name"]] for part in v],
            "as_optional_tensors": lambda v: [self._value(part) for part in v],
            "as_optional_tensor": self._value,
            "as_int": _plain(int),
            "as_ints": _many(int),
            "as_float": _plain(float),
            "as_floats": _many(float),
            "as_bool": _plain(bool),
            "as_bools": _many(bool),
            "as_string": _word,
            "as_sym_int": self._symbol,
            "as_sym_ints": lambda v: [self._symbol(part) for part in v],
            "as_sym_bool": self._symbol,
            "as_sym_float": self._symbol,
            "as_scalar_type": lambda v: TYPES[v],
            "as_memory_format": lambda v: torch.contiguous_format,
            "as_layout": lambda v: torch.strided,
            "as_device": lambda v: torch.device("cpu"),
        }.get(kind)
        if read is None:
            raise InputError(
                f"{self.place} hands a {reprlib.repr(kind)} to an operator: export the network "
                "without parts of its own, such as torch.no_grad() or torch.cond in its forward"
            )
        return read(value)

    def _symbol(self, value: Mapping[str, Any]) -> Any:
        ((kind, inner),) = value.items()
        if kind == "as_name":
            return self.nodes[inner]
        return _plain({"as_int": int, "as_float": float, "as_bool": bool}[kind])(inner)

    def _new(self, key: str | None, make: Any, /, *args: Any, **kwargs: Any) -> fx.Node:
        node: fx.Node = make(*args, **kwargs)
        if key:
            if key in self.nodes:
                raise InputError(f"{self.place} makes {reprlib.repr(key)} twice: {AGAIN}")
            self.nodes[key] = node
        return node

    def _outputs(self) -> list[OutputSpec]:
        specs: list[OutputSpec] = []
        results: list[Any] = []
        given = zip(self.graph["outputs"], self.signature["output_specs"], strict=True)
        for output, spec in given:
            (kind,) = spec
            if kind != "user_output":
                continue  # counters and statistics of training
            if "as_tensor" not in output:
                raise InputError(
                    f"{self.place} returns something that is no tensor: return tensors"
                )
            node = self.nodes[output["as_tensor"]["name"]]
            results.append(node)
            specs.append(OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(name=node.name), None))
        self.made.output(tuple(results))
        return specs


def _identifier(name: Any) -> str | None:
    """PyTorch writes names of nodes as Python: only such as are names there."""
    if not name:
        return None
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name, flags=re.ASCII):
        raise InputError(f"a .pt2 file has the name {reprlib.repr(name)}, which is none: {AGAIN}")
    return f"{name}_" if keyword.iskeyword(name) else name


def _plain(kind: type) -> Any:
    def read(value: Any) -> Any:
        if type(value) is not kind and not (kind is float and type(value) in (int, str)):
            raise TypeError(f"{reprlib.repr(value)} is no {kind.__name__}")
        return float(value) if kind is float else value  # infinity is a text in JSON

    return read


def _many(kind: type) -> Any:
    read = _plain(kind)
    return lambda values: [read(value) for value in values]


def _word(value: Any) -> str:
    """Modes and equations; none of the operators that are known opens a file."""
    if not isinstance(value, str) or len(value) > 64 or not value.isprintable():
        raise TypeError(f"{reprlib.repr(value)} is no word")
    return value


def _real(values: Any) -> Any:
    """Nodes -> what they give, without numbers."""
    if isinstance(values, fx.Node):
        return values.meta["val"]
    if isinstance(values, Sequence) and not isinstance(values, str):
        return [_real(value) for value in values]
    if isinstance(values, Mapping):
        return {key: _real(value) for key, value in values.items()}
    return values


def _stack(metadata: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """``KEY,PATH,CLASS;...`` -> the modules that a node is in, outermost first."""
    stack: dict[str, tuple[str, str]] = {}
    for entry in str(metadata.get("nn_module_stack", "")).split(";"):
        parts = entry.split(",")
        if len(parts) == 3:
            stack[parts[0]] = (parts[1], parts[2])
    return stack
