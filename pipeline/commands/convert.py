"""The command `edgeticket convert`: an ONNX file of anyone's for another runtime."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import edgeticket
from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.errors import InputError

if TYPE_CHECKING:
    from edgeticket.pipeline.convert import Converted
    from edgeticket.pipeline.graph.graph import Graph


class Target(Enum):
    """What a file is written for, as `--to` names it."""

    TFLITE = "tflite"
    ONNX_U8 = "onnx-u8"
    ONNX_S8 = "onnx-s8"
    ONNX_TRT = "onnx-trt"


SUFFIXES = {Target.TFLITE: ".tflite", Target.ONNX_U8: ".onnx", Target.ONNX_S8: ".onnx"}
SUFFIXES |= {Target.ONNX_TRT: ".onnx"}


def convert(
    model: Annotated[
        Path, typer.Argument(metavar="FILE.onnx", help="A quantised or float32 ONNX file.")
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="FILE", help="The file to write: .tflite or .onnx."),
    ],
    to: Annotated[
        Target,
        typer.Option(
            metavar="KIND",
            help="tflite; onnx-u8: uint8 codes, fast on x86; onnx-s8: int8 codes, fast on ARM; "
            "onnx-trt: symmetric codes, for TensorRT.",
        ),
    ] = Target.TFLITE,
    force: Annotated[bool, typer.Option("--force", help="Replace an older file.")] = False,
) -> None:
    """Convert a quantised ONNX file to TFLite with the scales that it has.

    For networks that others quantised: onnxruntime's `quantize_static` (QDQ or QOperator format,
    int8 or uint8, per tensor or per channel), NNCF, or by hand. Nothing is calibrated anew: codes
    stay what they are. What has no integer kernel that answers alike is computed in float32
    between codes; the command says what that is. A float32 file becomes a float32 file.

        edgeticket convert model_int8.onnx -o model_int8.tflite

    To compare the two on your pictures: `edgeticket bundle model_int8.onnx model_int8.tflite
    --samples pictures.npy`.
    """
    from edgeticket.pipeline.convert.foreign import domains

    if out.suffix != SUFFIXES[to]:
        raise InputError(
            f"-o {out}: --to {to.value} writes a {SUFFIXES[to]} file; name it so, or give "
            f"another --to ({', '.join(target.value for target in Target)})"
        )
    if out.exists() and not force:
        raise InputError(f"{out} is there already: give another -o, or --force to replace it")
    graph = edgeticket.read_graph(model)
    if to is not Target.TFLITE and not graph.is_quantized():
        raise InputError(
            f"{model} is float32, and --to {to.value} writes codes; quantise it first, or give "
            "--to tflite for a float32 file"
        )
    kind = _kind(graph, to)
    converted = edgeticket.convert(graph, kinds=[kind])[kind]
    write_atomic(out, converted.data)
    where = "Q/DQ where TensorRT fuses them" if to is Target.ONNX_TRT else str(domains(graph))
    print(f"{out}: {where}; takes {_ends(converted)}")


def _kind(graph: Graph, to: Target) -> str:
    if to is Target.TFLITE:
        return "tflite-int8" if graph.is_quantized() else "tflite-fp32"
    return f"onnx-int8-{to.value.rpartition('-')[2]}"


def _ends(converted: Converted) -> str:
    """What goes in and comes out, in words."""

    def words(dtype: str, layout: str, scale: float | None, zero_point: int | None) -> str:
        codes = "" if scale is None else f" (scale {scale:g}, zero point {zero_point})"
        return f"{dtype} {layout}{codes}"

    given, made = (
        ", ".join(words(t.dtype, t.layout, t.scale, t.zero_point) for t in tensors)
        for tensors in (converted.inputs, converted.outputs)
    )
    return f"{given}, gives {made}"
