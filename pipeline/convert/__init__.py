"""The graph -> files for the runtimes, as bytes. No torch on this side of the border.

One set of scales serves every int8 file: the numbers in them are literally the same.
`pipeline.convert.targets` has the table of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import TensorSpec
from edgeticket.pipeline.convert.onnx_file import write_onnx
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.convert.read import read_graph
from edgeticket.pipeline.convert.tensorrt import place_explicitly
from edgeticket.pipeline.convert.tflite_file import write_tflite
from edgeticket.pipeline.errors import ConversionError, raised_as
from edgeticket.pipeline.formats.tflite_draft import end_names, end_order
from edgeticket.pipeline.graph.graph import Graph, Value

__all__ = [
    "Converted",
    "Source",
    "onnx_fp32",
    "onnx_int8_s8",
    "onnx_int8_trt",
    "onnx_int8_u8",
    "tflite_fp32",
    "tflite_int8",
    "write_ready",
]

Source = Graph | bytes
"""A graph, or an ONNX file of one."""


@dataclass(frozen=True)
class Converted:
    """A file for a runtime, and what its input and output tensors are.

    ``integer``: every value between inputs and outputs, they included, is codes, so that both
    runtimes give the same ones on any machine.
    """

    data: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    integer: bool = False

    @property
    def input(self) -> TensorSpec:
        """The only input."""
        (only,) = self.inputs
        return only

    @property
    def output(self) -> TensorSpec:
        """The only output."""
        (only,) = self.outputs
        return only


@raised_as(ConversionError)
def onnx_fp32(source: Source) -> Converted:
    """For ONNX Runtime, float32, channels first: cleaned."""
    graph = _read(source, quantized=False)
    return _converted(graph, write_onnx(graph))


@raised_as(ConversionError)
def onnx_int8_s8(source: Source) -> Converted:
    """For ONNX Runtime on ARM: int8 codes in and out, channels first."""
    graph = _read(source, quantized=True)
    return _converted(graph, write_onnx(graph))


@raised_as(ConversionError)
def onnx_int8_u8(source: Source) -> Converted:
    """For ONNX Runtime on x86: uint8 codes in and out (int8 code + 128), channels first."""
    graph = _read(source, quantized=True)
    return _converted(graph, write_onnx(graph, unsigned=True), unsigned=True)


@raised_as(ConversionError)
def onnx_int8_trt(source: Source) -> Converted:
    """For TensorRT: float32 in and out, channels first, Q/DQ with zero points of 0 where it fuses.

    Its scales are those of the other files, made symmetric; see `tensorrt`.
    """
    graph = source if isinstance(source, Graph) else read_graph(source)
    _check_precision(graph, quantized=True)
    placed = place_explicitly(graph)
    return _converted(placed, write_onnx(placed, explicit=True))


@raised_as(ConversionError)
def tflite_fp32(source: Source) -> Converted:
    """For TFLite runtimes, float32, channels last."""
    graph = _read(source, quantized=False)
    return _converted(graph, write_tflite(graph), channels_last=True)


@raised_as(ConversionError)
def tflite_int8(source: Source) -> Converted:
    """For TFLite runtimes: int8 codes in and out, channels last."""
    graph = _read(source, quantized=True)
    return _converted(graph, write_tflite(graph), channels_last=True)


@raised_as(ConversionError)
def write_ready(graph: Graph, runtime: str, *, unsigned: bool = False) -> Converted:
    """A file for a runtime of a graph that is ready to be written, or of a part of one.

    Args:
        graph: as `prepare.prepare` leaves it.
        runtime: a key of `device_runner.runtimes.RUNTIMES`.
        unsigned: uint8 codes, in ONNX files.
    """
    if runtime == "tflite":
        return _converted(graph, write_tflite(graph), channels_last=True)
    rounded = unsigned and graph.is_quantized()
    return _converted(graph, write_onnx(graph, unsigned=rounded), unsigned=rounded)


def _read(source: Source, *, quantized: bool) -> Graph:
    graph = prepare(source if isinstance(source, Graph) else read_graph(source))
    _check_precision(graph, quantized=quantized)
    return graph


def _check_precision(graph: Graph, *, quantized: bool) -> None:
    if graph.is_quantized() != quantized:
        is_so, wanted = ("quantised", "float32") if graph.is_quantized() else ("float32", "int8")
        raise InputError(f"a {is_so} network cannot become an {wanted} file; export the other one")


def _converted(
    graph: Graph, data: bytes, *, unsigned: bool = False, channels_last: bool = False
) -> Converted:
    def spec(name: str, title: str) -> TensorSpec:
        value = graph.values[name]
        rank, q = len(value.shape), value.quantization
        if rank not in LAYOUTS:
            raise InputError(
                f"{name} has shape {list(value.shape)}; networks take and give [1], [1, C], "
                "[1, C, W], [1, C, H, W] or [1, C, D, H, W]"
            )
        return TensorSpec(
            name=title,
            shape=tuple(value.shape[a] for a in end_order(rank)) if channels_last else value.shape,
            dtype=_dtype(value, unsigned=unsigned, tflite=channels_last),
            layout=LAYOUTS[rank][channels_last],
            scale=None if q is None else float(q.scale),
            zero_point=None if q is None else q.zero_point + 128 * unsigned,
        )

    # What a file calls an end whose axes it moves is its own affair.
    titles = end_names(data) if channels_last else (graph.inputs, graph.outputs)
    inputs, outputs = (
        tuple(map(spec, names, told))
        for names, told in zip((graph.inputs, graph.outputs), titles, strict=True)
    )
    integer = all(
        graph.values[name].quantization is not None
        for name in (*graph.inputs, *(op.output for op in graph.operators))
    )
    return Converted(data, inputs, outputs, integer=integer)


def _dtype(value: Value, *, unsigned: bool, tflite: bool) -> str:
    if value.quantization is not None:
        return "uint8" if unsigned else "int8"
    return "int32" if tflite and value.dtype == "int64" else value.dtype


# By rank: channels first, channels last. One spatial axis is a width, as in 2-D with height 1.
LAYOUTS = {
    1: ("plain", "plain"),
    2: ("NC", "NC"),
    3: ("NCW", "NWC"),
    4: ("NCHW", "NHWC"),
    5: ("NCDHW", "NDHWC"),
}
