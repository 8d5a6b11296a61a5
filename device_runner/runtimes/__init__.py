"""The runtimes that can execute an artifact. A new one is a module like these and a line below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from device_runner.errors import InputError
from device_runner.runtimes import ort, tflite
from device_runner.runtimes.session import Session


@dataclass(frozen=True)
class Runtime:
    """``find()`` imports the runtime's package; ``load(model, threads=, place=)`` uses it."""

    find: Callable[[], tuple[str, Any]]
    load: Callable[..., Session]


def get_runtime(name: str) -> Runtime:
    """Name -> runtime.

    Raises:
        InputError: unknown name; the known ones are listed.
    """
    if name not in RUNTIMES:
        raise InputError(f"unknown runtime {name!r} (known: {', '.join(RUNTIMES)})")
    return RUNTIMES[name]


RUNTIMES: Mapping[str, Runtime] = {
    "ort": Runtime(find=ort.find, load=ort.load),
    "tflite": Runtime(find=tflite.find, load=tflite.load),
}
