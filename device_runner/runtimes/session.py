"""What every runtime gives: a loaded model that answers queries."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import TensorSpec
from edgeticket.device_runner.unavailable import Unavailable

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Port:
    """A graph input or output as the model file itself has it."""

    shape: tuple[int | str | None, ...]  # text or None: a dimension that the file leaves open
    dtype: str
    scale: float | None = None  # None too where the file format knows no scales (ONNX)
    zero_point: int | None = None


@dataclass(frozen=True)
class Session:
    """A loaded model.

    ``run`` answers one query: it copies a C-contiguous array of the input's shape and dtype into
    memory of the runtime, infers, and returns a copy of the output. The array that it returned
    stays as it is when the next query runs. This is the same for every runtime, so that their
    latencies compare.
    """

    package: str
    version: str | Unavailable
    delegates: tuple[str, ...] | Unavailable  # that the runtime was given, most wanted first
    input: Port
    output: Port
    run: Callable[[Array], Array]


@dataclass(frozen=True)
class TappedSession:
    """A loaded model that answers with the output of every layer.

    ``run`` gives an array of its own for each of ``values``.
    """

    package: str
    version: str | Unavailable
    delegates: tuple[str, ...] | Unavailable
    input: Port
    output: str  # the name of the network's own output
    values: Mapping[str, Port]  # in order of execution, but the network's output is the first
    run: Callable[[Array], dict[str, Array]]


def installed_version(package: str) -> str | Unavailable:
    """Version of an installed distribution package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return Unavailable(f"no package metadata for {package}")


def check_port(port: Port, spec: TensorSpec, *, place: str) -> None:
    """Hold the loaded model against the manifest.

    Raises:
        InputError: another shape, dtype or quantisation than the manifest promised. A batch that
            the file leaves open may be any.
    """
    shape = port.shape
    if shape and not isinstance(shape[0], int):  # an open batch: the runner asks for one
        shape = (1, *shape[1:])
    if shape != spec.shape or port.dtype != spec.dtype:
        raise InputError(
            f"{place} is {port.dtype} {list(port.shape)} in the model file, "
            f"but {spec.dtype} {list(spec.shape)} in the manifest: make the bundle again"
        )
    if port.scale is None or spec.scale is None:
        return
    # The file holds the scale in float32; the manifest's decimal text may carry more digits.
    if abs(port.scale - spec.scale) > 1e-6 * spec.scale or port.zero_point != spec.zero_point:
        raise InputError(
            f"{place} has scale {port.scale} and zero point {port.zero_point} in the model file, "
            f"but {spec.scale} and {spec.zero_point} in the manifest: make the bundle again"
        )
