"""ONNX bytes -> files for the runtimes, as bytes. No torch on this side of the border.

One set of scales serves every int8 file: the numbers in them are literally the same.
`pipeline.convert.targets` has the table of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import TensorSpec
from edgeticket.pipeline.convert.graph import Graph
from edgeticket.pipeline.convert.onnx_file import write_onnx
from edgeticket.pipeline.convert.read import read_graph
from edgeticket.pipeline.convert.tflite_draft import end_order
from edgeticket.pipeline.convert.tflite_file import write_tflite
from edgeticket.pipeline.errors import ConversionError, raised_as

__all__ = [
    "Converted",
    "onnx_fp32",
    "onnx_int8_s8",
    "onnx_int8_u8",
    "tflite_fp32",
    "tflite_int8",
]


@dataclass(frozen=True)
class Converted:
    """A file for a runtime, and what its input and output tensors are."""

    data: bytes
    input: TensorSpec
    output: TensorSpec


@raised_as(ConversionError)
def onnx_fp32(onnx: bytes) -> Converted:
    """For ONNX Runtime, float32, channels first: cleaned."""
    graph = _read(onnx, quantized=False)
    return _converted(graph, write_onnx(graph))


@raised_as(ConversionError)
def onnx_int8_s8(onnx: bytes) -> Converted:
    """For ONNX Runtime on ARM: int8 codes in and out, channels first."""
    graph = _read(onnx, quantized=True)
    return _converted(graph, write_onnx(graph))


@raised_as(ConversionError)
def onnx_int8_u8(onnx: bytes) -> Converted:
    """For ONNX Runtime on x86: uint8 codes in and out (int8 code + 128), channels first."""
    graph = _read(onnx, quantized=True)
    return _converted(graph, write_onnx(graph, unsigned=True), unsigned=True)


@raised_as(ConversionError)
def tflite_fp32(onnx: bytes) -> Converted:
    """For TFLite runtimes, float32, channels last."""
    graph = _read(onnx, quantized=False)
    return _converted(graph, write_tflite(graph), channels_last=True)


@raised_as(ConversionError)
def tflite_int8(onnx: bytes) -> Converted:
    """For TFLite runtimes: int8 codes in and out, channels last."""
    graph = _read(onnx, quantized=True)
    return _converted(graph, write_tflite(graph), channels_last=True)


def _read(onnx: bytes, *, quantized: bool) -> Graph:
    graph = read_graph(onnx)
    if graph.is_quantized() != quantized:
        is_so, wanted = ("quantised", "float32") if graph.is_quantized() else ("float32", "int8")
        raise InputError(f"a {is_so} network cannot become an {wanted} file; export the other one")
    return graph


def _converted(
    graph: Graph, data: bytes, *, unsigned: bool = False, channels_last: bool = False
) -> Converted:
    def spec(name: str) -> TensorSpec:
        value = graph.values[name]
        rank, q = len(value.shape), value.quantization
        if rank not in LAYOUTS:
            raise InputError(
                f"{name} has shape {list(value.shape)}; networks take and give "
                "[1, C, H, W], [1, C, W] or [1, C]"
            )
        return TensorSpec(
            name=name,
            shape=tuple(value.shape[a] for a in end_order(rank)) if channels_last else value.shape,
            dtype="float32" if q is None else "uint8" if unsigned else "int8",
            layout=LAYOUTS[rank][channels_last],
            scale=None if q is None else float(q.scale),
            zero_point=None if q is None else q.zero_point + 128 * unsigned,
        )

    return Converted(data, spec(graph.input), spec(graph.output))


# By rank: channels first, channels last. One spatial axis is a width, as in 2-D with height 1.
LAYOUTS = {2: ("NC", "NC"), 3: ("NCW", "NWC"), 4: ("NCHW", "NHWC")}
