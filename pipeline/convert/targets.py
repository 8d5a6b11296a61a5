"""The files that are made of a network, one line each: for which runtime, and by what.

A new runtime is a module in `device_runner.runtimes`, a writer, and a line here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.instructions import DOT_PRODUCTS
from edgeticket.device_runner.manifest import Artifact
from edgeticket.pipeline.convert import (
    Converted,
    Source,
    onnx_fp32,
    onnx_int8_s8,
    onnx_int8_trt,
    onnx_int8_u8,
    tflite_fp32,
    tflite_int8,
)

EVERYWHERE = ("x86_64", "aarch64", "armv7l")
# Distributions on which the bytes of a file depend.
EXPORT_TOOLS = ("torch", "numpy", "onnx", "onnxscript", "onnxruntime", "ai-edge-litert")


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    convert: Callable[[Source], Converted]  # of a float32 or a rounded graph, see `precision`
    runtime: str  # a key of device_runner.runtimes.RUNTIMES
    precision: Literal["fp32", "int8"]
    suffix: str
    architectures: tuple[str, ...] = EVERYWHERE  # for which it is the right file
    exact_with: tuple[str, ...] = ()  # see `device_runner.instructions`
    optional: bool = False  # made only where it is asked for

    @property
    def role(self) -> Literal["baseline", "deploy"]:
        """Float32 files are there to show what int8 gains."""
        return "deploy" if self.precision == "int8" else "baseline"

    def artifact(self, converted: Converted, *, id: str, network: str) -> Artifact:
        """The entry of a manifest for a file of this kind."""
        return Artifact(
            id=id,
            file=f"artifacts/{id}.{self.suffix}",
            network=network,
            role=self.role,
            runtime=self.runtime,
            precision=self.precision,
            architectures=self.architectures,
            exact_with=self.exact_with,
            inputs=converted.inputs,
            outputs=converted.outputs,
        )


def targets_of(
    precision: Literal["fp32", "int8"], *, also: Collection[str] = ()
) -> dict[str, Target]:
    """The kinds of files of one precision; of optional ones those named in ``also``."""
    return {
        kind: target
        for kind, target in TARGETS.items()
        if target.precision == precision and (not target.optional or kind in also)
    }


def is_optional(artifact: Artifact) -> bool:
    """Whether a bundle's file is of a kind that is made only where it is asked for."""
    kinds = (kind for kind, target in TARGETS.items() if target.optional)
    return artifact.id in {f"{artifact.network}-{kind}" for kind in kinds}


def int8_target_here(runtime: str) -> Target:
    """The int8 file for a runtime on this machine.

    Raises:
        InputError: there is none.
    """
    machine = platform.machine()
    for target in targets_of("int8").values():
        if target.runtime == runtime and machine in target.architectures:
            return target
    raise InputError(f"there is no int8 file for {runtime} on {machine}")


def runtimes_by_suffix() -> dict[str, str]:
    """The ending of a file's name -> the runtime that loads it."""
    return {f".{target.suffix}": target.runtime for target in TARGETS.values()}


# ONNX Runtime has its fast kernels for uint8 activations on x86 and for int8 ones on ARM, so
# one network gives two files; the scales are the same, the zero points 128 apart. Without
# dot-product instructions its kernels for uint8 activations saturate on x86. TensorRT takes
# symmetric codes alone, which are coarser, so its file is another network (`convert.tensorrt`).
TARGETS: dict[str, Target] = {
    "onnx-fp32": Target(onnx_fp32, "ort", "fp32", "onnx"),
    "tflite-fp32": Target(tflite_fp32, "tflite", "fp32", "tflite"),
    "onnx-int8-s8": Target(onnx_int8_s8, "ort", "int8", "onnx", ("aarch64", "armv7l")),
    "onnx-int8-u8": Target(onnx_int8_u8, "ort", "int8", "onnx", ("x86_64",), DOT_PRODUCTS),
    "onnx-int8-trt": Target(
        onnx_int8_trt, "ort", "int8", "onnx", ("aarch64", "x86_64"), optional=True
    ),
    "tflite-int8": Target(tflite_int8, "tflite", "int8", "tflite"),
}
