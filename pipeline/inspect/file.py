"""What is in a model file, what it costs, what goes in and out, and what can become of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from ai_edge_litert import schema_py_generated as schema
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.pipeline.external.cost import (
    MAKES,
    READS,
    FileLayer,
    onnx_layers,
    tflite_kind,
    tflite_layers,
)
from edgeticket.pipeline.external.file import DTYPES, onnx_scale
from edgeticket.pipeline.inspect.network import Verdict, inspect_network
from edgeticket.pipeline.onnx_import import read_onnx_network
from edgeticket.pipeline.onnx_import.operators import OPERATORS
from edgeticket.pipeline.onnx_import.source import QUANTISED

RUNTIMES = {".onnx": "ort", ".tflite": "tflite"}


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
    parameters: int
    macs: int
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
            f"{self.name}: {self.size_bytes:,} bytes, {self.parameters:,} parameters, "
            f"{self.macs:,} multiply-accumulates",
            highlight=False,
            soft_wrap=True,
        )
        table = _table("inputs and outputs", "", "name", "type", "shape", "scale", "zero point")
        for port in self.ports:
            shape = "x".join(map(str, port.shape))
            scale = "" if port.scale is None else f"{port.scale:g}"
            zero = "" if port.zero_point is None else str(port.zero_point)
            table.add_row(port.direction, port.name, port.dtype, shape, scale, zero)
        console.print(table)
        table = _table(f"{len(self.layers)} layers", "layer", "", "parameters", "MACs")
        for layer in self.layers:
            table.add_row(layer.name, layer.kind, f"{layer.parameters:,}", f"{layer.macs:,}")
        console.print(table)
        table = _table("operators", "operator", "count", "")
        for operator in self.operators:
            table.add_row(operator.kind, str(operator.count), operator.told)
        console.print(table)
        table = _table("files", "file", "", "")
        for kind, verdict in self.files.items():
            table.add_row(kind, "yes" if verdict.possible else "no", verdict.told)
        console.print(table)


def inspect_file(file: Path) -> FileInspection:
    """Look into a .onnx or .tflite file and try what can be made of it.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    data = read_regular(file)
    try:
        get_runtime(RUNTIMES[file.suffix]).load(data, threads=1, place=str(file))
        runs = Verdict(True, "its runtime loads it; `edgeticket bundle` makes a bundle of it")
    except InputError as error:
        runs = Verdict(False, str(error))
    look = _look_into_onnx if file.suffix == ".onnx" else _look_into_tflite
    ports, layers, operators, files = look(data, file)
    return FileInspection(
        file.name,
        len(data),
        sum(layer.parameters for layer in layers),
        sum(layer.macs for layer in layers),
        ports,
        layers,
        operators,
        {"as it is": runs, **files},
    )


Look = tuple[
    tuple[FilePort, ...], tuple[FileLayer, ...], tuple[FileOperator, ...], Mapping[str, Verdict]
]


def _look_into_onnx(data: bytes, file: Path) -> Look:
    try:
        model = onnx.load_model_from_string(data)
        graph = model.graph
        constants = {t.name: t for t in graph.initializer}
        layers = onnx_layers(model, constants)
    except (DecodeError, ValueError, IndexError, onnx.shape_inference.InferenceError) as error:
        told = " ".join(str(error).split())
        raise InputError(f"{file} is no whole ONNX file ({told}): export it again") from None
    if not graph.node:
        raise InputError(f"{file} is no whole ONNX file, or has no operators: export it again")
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
                tuple(d.dim_value or d.dim_param or "?" for d in tensor.shape.dim),
                *(scale or (None, None)),
            )
        )
    counted = Counter(node.op_type for node in graph.node).most_common()
    uses = tuple(FileOperator(kind, n, _told_of(kind)) for kind, n in counted)
    if any(node.op_type in QUANTISED for node in graph.node):
        return tuple(ports), layers, uses, {}
    try:
        files = inspect_network(read_onnx_network(file)).files
    except InputError as error:
        files = {"tflite-int8": Verdict(False, str(error))}
    return tuple(ports), layers, uses, files


def _told_of(kind: str) -> str:
    if kind in OPERATORS:
        return "converted for both runtimes"
    if kind in QUANTISED:
        return "of a file that is quantised already"
    if kind in ("Constant", "Shape", "Erf", "Cast", "ConstantOfShape", "Range", "Mod", "Equal"):
        return "computed beforehand, or part of another operator, where it can be"
    return "not known to the converter"


def _look_into_tflite(data: bytes, file: Path) -> Look:
    try:
        if data[4:8] != b"TFL3":
            raise ValueError("it does not say TFL3")
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        graph = model.subgraphs[0]
        layers = tflite_layers(model)
        kinds = {code: name for name, code in vars(schema.TensorType).items() if name[0] != "_"}
        ports = []
        for direction, indices in (("input", graph.inputs), ("output", graph.outputs)):
            for i in indices:
                tensor = graph.tensors[i]
                codes = tensor.quantization
                has_scale = codes is not None and codes.scale is not None and len(codes.scale) == 1
                ports.append(
                    FilePort(
                        direction,
                        tensor.name.decode(),
                        kinds[tensor.type].lower(),
                        tuple(int(size) for size in tensor.shape),
                        float(codes.scale[0]) if has_scale else None,
                        int(codes.zeroPoint[0]) if has_scale else None,
                    )
                )
        counted = Counter(tflite_kind(model, op) for op in graph.operators).most_common()
    except Exception as error:  # flatbuffers checks nothing
        raise InputError(f"{file} is no whole TFLite file ({error!r}): convert it again") from None
    uses = tuple(FileOperator(kind, n, "LiteRT's own") for kind, n in counted)
    return tuple(ports), layers, uses, {}


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, box=SIMPLE_HEAD, title=title, title_justify="left")
