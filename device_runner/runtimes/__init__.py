"""The runtimes that can execute an artifact. A new one is a module like these and a line below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.placement import Placement
from edgeticket.device_runner.runtimes import ort, tflite
from edgeticket.device_runner.runtimes.session import Session, TappedSession
from edgeticket.device_runner.taps.onnx_bytes import check_onnx
from edgeticket.device_runner.taps.tflite_bytes import check_tflite


@dataclass(frozen=True)
class Runtime:
    """``find()`` imports the runtime's package; ``load(model, threads=, place=)`` uses it, and
    ``check(model, place=)`` without it refuses a file that leads to others.

    ``choose()`` tries, in a process of its own, which of its packages works: its name, or an
    `InputError` with the reason and the cure. It comes before ``find()`` where a broken one must
    cost nothing but itself.
    ``load`` also takes ``batch=`` samples at once, and ``cpu_only=``. ``load_tapped(model,
    threads=, place=)`` gives every layer's output. ``count_kernels(model, tapped=, place=)`` tells
    what an optimiser makes of it, ``find_placement(model, threads=, place=, cpu_only=)`` where its
    operators run, both where the runtime tells.
    """

    choose: Callable[[], str]
    find: Callable[[], tuple[str, Any]]
    check: Callable[..., None]
    load: Callable[..., Session]
    load_tapped: Callable[..., TappedSession]
    count_kernels: Callable[..., Mapping[str, int]] | None
    find_placement: Callable[..., Placement] | None


def get_runtime(name: str) -> Runtime:
    """Name -> runtime.

    Raises:
        InputError: unknown name; the known ones are listed.
    """
    if name not in RUNTIMES:
        raise InputError(f"unknown runtime {name!r} (known: {', '.join(RUNTIMES)})")
    return RUNTIMES[name]


def why_unusable(name: str) -> str | None:
    """Why a runtime does not work here, in a sentence with the cure; None: it does."""
    try:
        get_runtime(name).choose()
    except InputError as error:
        return str(error)
    return None


RUNTIMES: Mapping[str, Runtime] = {
    "ort": Runtime(
        ort.choose,
        ort.find,
        check_onnx,
        ort.load,
        ort.load_tapped,
        ort.count_kernels,
        ort.find_placement,
    ),
    "tflite": Runtime(
        tflite.choose, tflite.find, check_tflite, tflite.load, tflite.load_tapped, None, None
    ),
}
