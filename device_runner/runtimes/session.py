"""What every runtime gives: a loaded model that answers queries."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Artifact, TensorSpec
from edgeticket.device_runner.manifest.fields import only
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

    ``query`` answers one query: it copies C-contiguous arrays, one for each of ``inputs`` and in
    their order, into memory of the runtime, infers, and returns copies of the outputs in the order
    of ``outputs``. Arrays that it returned stay as they are when the next query runs. This is the
    same for every runtime, so that their latencies compare.
    """

    package: str
    version: str | Unavailable
    delegates: tuple[str, ...] | Unavailable  # that the runtime was given, most wanted first
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    query: Callable[[Sequence[Array]], tuple[Array, ...]]

    @property
    def input(self) -> Port:
        """The only input."""
        return only(tuple(self.inputs.values()), "the model's inputs")

    @property
    def output(self) -> Port:
        """The only output."""
        return only(tuple(self.outputs.values()), "the model's outputs")

    def run(self, x: Array) -> Array:
        """A query of a model with one input and one output."""
        only(tuple(self.inputs), "the model's inputs")
        return only(self.query((x,)), "the model's outputs")


@dataclass(frozen=True)
class TappedSession:
    """A loaded model that answers with the output of every layer.

    ``query`` gives an array of its own for each of ``values``.
    """

    package: str
    version: str | Unavailable
    delegates: tuple[str, ...] | Unavailable
    inputs: Mapping[str, Port]
    outputs: tuple[str, ...]  # the names of the network's own
    values: Mapping[str, Port]  # in order of execution, but the network's outputs come first
    query: Callable[[Sequence[Array]], dict[str, Array]]

    @property
    def input(self) -> Port:
        """The only input."""
        return only(tuple(self.inputs.values()), "the model's inputs")

    @property
    def output(self) -> str:
        """The first output."""
        return self.outputs[0]

    def run(self, x: Array) -> dict[str, Array]:
        """A query of a model with one input."""
        return self.query((x,))


def installed_version(package: str) -> str | Unavailable:
    """Version of an installed distribution package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return Unavailable(f"no package metadata for {package}")


def port_names(names: Sequence[str]) -> tuple[str, ...]:
    """What manifests call inputs or outputs: as the file does; where it calls several alike, or
    nothing, with their place behind it."""
    alike = Counter(names)
    return tuple(
        name if name and alike[name] == 1 else f"{name or 'tensor'}#{i}"
        for i, name in enumerate(names)
    )


def order_of(
    names: Sequence[str], wanted: Sequence[str] | None, *, what: str, place: str
) -> list[int]:
    """Where in a file's ``names`` each of the ``wanted`` stands; None wants all as they are.

    Raises:
        InputError: the two are not the same names.
    """
    if wanted is None:
        return list(range(len(names)))
    if sorted(names) != sorted(wanted):
        raise InputError(
            f"{place} has the {what}s {', '.join(names)}, but {', '.join(wanted)} in the manifest: "
            "make the bundle again"
        )
    return [names.index(name) for name in wanted]


def check_ports(session: Session, entry: Artifact) -> None:
    """Hold the inputs and outputs of a loaded model against the manifest's entry for it.

    Raises:
        InputError: as `check_port`, by name where there are several.
    """
    ends = (("input", session.inputs, entry.inputs), ("output", session.outputs, entry.outputs))
    for what, ports, specs in ends:
        for port, spec in zip(ports.values(), specs):
            title = f"the {what}" if len(specs) == 1 else f"the {what} {spec.name}"
            check_port(port, spec, place=f"{entry.id}: {title}", is_output=what == "output")


def check_port(port: Port, spec: TensorSpec, *, place: str, is_output: bool = False) -> None:
    """Hold the loaded model against the manifest.

    Raises:
        InputError: another shape, dtype or quantisation than the manifest promised. An open batch
            is 1, for the runner asks for one; another open size of an output may be any, for it
            follows from the inputs.
    """
    shape = port.shape
    if shape and not isinstance(shape[0], int):
        shape = (1, *shape[1:])
    if is_output and len(shape) == len(spec.shape):
        sizes = zip(shape, spec.shape)
        shape = tuple(n if isinstance(n, int) else wanted for n, wanted in sizes)
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
