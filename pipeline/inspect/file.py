"""What is in a model file, what it costs, what goes in and out, and what can become of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.convert.settle import QUANTISED
from edgeticket.pipeline.convert.targets import runtimes_by_suffix
from edgeticket.pipeline.external.file import DTYPES, MAKES, READS, onnx_scale
from edgeticket.pipeline.external.layers import Count, FileLayer, tell_count, total
from edgeticket.pipeline.external.onnx_cost import onnx_layers
from edgeticket.pipeline.external.tflite_cost import tflite_layers
from edgeticket.pipeline.formats.onnx_model import constants_of, parse_onnx, read_file, read_onnx
from edgeticket.pipeline.formats.tflite_model import (
    TYPES,
    kind_of,
    name_of,
    parse_tflite,
    shape_of,
)
from edgeticket.pipeline.inspect.network import Verdict, inspect_network
from edgeticket.pipeline.network.finished import read_finished
from edgeticket.pipeline.operators import ONNX


@dataclass(frozen=True)
class FilePort:
    """A graph input or output; sizes that the file leaves open are text."""

    direction: str
    name: str
    dtype: str
    shape: tuple[int | str, ...]
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class FileOperator:
    """A kind of operator: how often, and what the converter makes of it."""

    kind: str
    count: int
    told: str


@dataclass(frozen=True)
class FileInspection:
    """All there is to say of a file."""

    name: str
    size_bytes: int
    parameters: Count
    macs: Count
    ports: tuple[FilePort, ...]
    layers: tuple[FileLayer, ...]
    operators: tuple[FileOperator, ...]
    # By what it could become: the file in its own runtime, and every file that can be made of it.
    files: Mapping[str, Verdict]

    @property
    def usable(self) -> bool:
        """Whether int8 can be made of it, or nothing need be made of it."""
        return self.files["as it is"].possible if len(self.files) == 1 else self._becomes_int8()

    def _becomes_int8(self) -> bool:
        return self.files["tflite-int8"].possible

    def print(self, console: Console) -> None:
        """Tables on a terminal."""
        console.print(
            f"{plain(self.name)}: {self.size_bytes:,} bytes, "
            f"{_tell(self.parameters, 'parameters')}, {_tell(self.macs, 'multiply-accumulates')}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        table = _table("inputs and outputs", "", "name", "type", "shape", "scale", "zero point")
        for port in self.ports:
            shape = "x".join(map(str, port.shape))
            scale = "" if port.scale is None else f"{port.scale:g}"
            zero = "" if port.zero_point is None else str(port.zero_point)
            _add_row(table, port.direction, port.name, port.dtype, shape, scale, zero)
        console.print(table)
        table = _table(f"{len(self.layers)} layers", "layer", "", "parameters", "MACs")
        for layer in self.layers:
            _add_row(
                table, layer.name, layer.kind, tell_count(layer.parameters), tell_count(layer.macs)
            )
        console.print(table)
        table = _table("operators", "operator", "count", "")
        for operator in self.operators:
            _add_row(table, operator.kind, str(operator.count), operator.told)
        console.print(table)
        table = _table("files", "file", "", "")
        for kind, verdict in self.files.items():
            _add_row(table, kind, "yes" if verdict.possible else "no", verdict.told)
        console.print(table)


def inspect_file(file: Path) -> FileInspection:
    """Look into a .onnx or .tflite file and try what can be made of it.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    data = read_onnx(file) if file.suffix == ".onnx" else read_file(file)
    try:
        get_runtime(runtimes_by_suffix()[file.suffix]).load(data, threads=1, place=str(file))
        runs = Verdict(True, "its runtime loads it; `edgeticket bundle` makes a bundle of it")
    except InputError as error:
        runs = Verdict(False, str(error))
    look = _look_into_onnx if file.suffix == ".onnx" else _look_into_tflite
    ports, layers, operators, files = look(data, file)
    return FileInspection(
        file.name,
        len(data),
        total([layer.parameters for layer in layers]),
        total([layer.macs for layer in layers]),
        ports,
        layers,
        operators,
        {"as it is": runs, **files},
    )


Look = tuple[
    tuple[FilePort, ...], tuple[FileLayer, ...], tuple[FileOperator, ...], Mapping[str, Verdict]
]


def _look_into_onnx(data: bytes, file: Path) -> Look:
    model = parse_onnx(data, place=str(file))
    graph = model.graph
    constants = constants_of(graph)
    layers = onnx_layers(model)
    ports = []
    for value in (*graph.input, *graph.output):
        if value.name in constants:
            continue
        is_input = value in graph.input
        near = [n for n in graph.node if value.name in (n.input if is_input else n.output)]
        scale = onnx_scale(near[0] if near else None, READS if is_input else MAKES, constants)
        tensor = value.type.tensor_type
        ports.append(
            FilePort(
                "input" if is_input else "output",
                value.name,
                DTYPES.get(tensor.elem_type, f"ONNX's type {tensor.elem_type}"),
                tuple(_size(size) for size in tensor.shape.dim),
                *(scale or (None, None)),
            )
        )
    counted = Counter(node.op_type for node in graph.node).most_common()
    uses = tuple(FileOperator(kind, n, _told_of(kind)) for kind, n in counted)
    if any(node.op_type in QUANTISED for node in graph.node):
        return tuple(ports), layers, uses, {}
    try:
        files = inspect_network(read_finished(file)).files
    except InputError as error:
        files = {"tflite-int8": Verdict(False, str(error))}
    return tuple(ports), layers, uses, files


def _told_of(kind: str) -> str:
    if kind in QUANTISED:
        return "of a file that is quantised already"
    if kind in ONNX:
        return "converted for both runtimes"
    if kind in ("Constant", "Shape", "Erf", "Cast", "ConstantOfShape", "Range", "Mod", "Equal"):
        return "computed beforehand, or part of another operator, where it can be"
    return "not known to the converter"


def _look_into_tflite(data: bytes, file: Path) -> Look:
    model = parse_tflite(data, place=str(file))
    graph = model.subgraphs[0]
    ports = []
    for direction, indices in (("input", graph.inputs), ("output", graph.outputs)):
        for i in indices:
            tensor = graph.tensors[i]
            codes = tensor.quantization
            has_scale = codes is not None and codes.scale is not None and len(codes.scale) == 1
            has_zero = has_scale and codes.zeroPoint is not None and len(codes.zeroPoint) == 1
            ports.append(
                FilePort(
                    direction,
                    name_of(tensor),
                    TYPES[tensor.type],
                    _sizes(tensor),
                    float(codes.scale[0]) if has_scale else None,
                    (int(codes.zeroPoint[0]) if has_zero else 0) if has_scale else None,
                )
            )
    counted = Counter(kind_of(model, op) for op in graph.operators).most_common()
    uses = tuple(FileOperator(kind, n, "LiteRT's own") for kind, n in counted)
    return tuple(ports), tflite_layers(model), uses, {}


def _sizes(tensor: Any) -> tuple[int | str, ...]:
    """Of a `schema.TensorT`; what the file leaves open is shown as such."""
    shape, signature = shape_of(tensor), tensor.shapeSignature
    if signature is None or len(signature) != len(shape):
        return shape
    return tuple("?" if is_open < 0 else n for n, is_open in zip(shape, signature, strict=True))


def _size(size: onnx.TensorShapeProto.Dimension) -> int | str:
    return size.dim_value if size.dim_value > 0 else size.dim_param or "?"


def _tell(count: Count, noun: str) -> str:
    if isinstance(count, Unavailable):
        return f"{noun} not known ({count.reason})"
    return f"{count:,} {noun}"


def _add_row(table: Table, *cells: str) -> None:
    """Names are those of the file: text, never markup."""
    table.add_row(*(Text(plain(cell)) for cell in cells))


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, box=SIMPLE_HEAD, title=title, title_justify="left")
