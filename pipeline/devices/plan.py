"""What to install on a device, decided from what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgeticket.device_runner.errors import InputError

OLDEST = (3, 9)


@dataclass(frozen=True)
class Facts:
    """What `look` sees on a device."""

    executable: str  # of the Python to build on
    version: tuple[int, int, int]
    bits: int  # of that Python: a 64-bit kernel may carry a 32-bit system
    machine: str
    libc: tuple[str, str]
    venv: bool
    pip: str | None  # a wheel of pip that lies there
    gpu: str | None  # version of an installed ONNX Runtime with CUDA or TensorRT
    free_bytes: int
    environment: Mapping[str, Any] | None
    noexec: str | None = None  # the folder that lies on a file system without programs

    @property
    def architecture(self) -> str:
        """As wheels call it."""
        if self.bits == 32 and self.machine in ("aarch64", "armv8l", "armv7l"):
            return "armv7l"
        return "i686" if self.bits == 32 and self.machine == "x86_64" else self.machine

    def __str__(self) -> str:
        libc = " ".join(self.libc) if self.libc[0] else "a C library other than glibc"
        return f"{self.architecture}, Python {'.'.join(map(str, self.version))}, {libc}"


@dataclass(frozen=True)
class Step:
    """Something to install: the first alternative, a list of requirements, that exists."""

    name: str
    needed: bool  # the others are runtimes, of which one will do
    alternatives: tuple[tuple[str, ...], ...]


def plan(facts: Facts, runner: str, *, place: str) -> tuple[Step, ...]:
    """What to install there, ``runner`` being the path of the runner's wheel.

    The runtimes of this machine come first, in the same version: then a comparison of the two
    machines changes the machine alone.

    Raises:
        InputError: the device's Python is too old, or cannot make environments.
    """
    if facts.noexec is not None:
        raise InputError(
            f"{place}: {facts.noexec} is mounted noexec, so that no library is loaded from an "
            "environment there: name a folder elsewhere, as in ssh://user@host/var/tmp/edgeticket"
        )
    if facts.version < OLDEST:
        raise InputError(
            f"{place}: the newest Python there is {'.'.join(map(str, facts.version))}, and the "
            "runner needs 3.9: install a newer one beside it (Raspberry Pi OS 11 and Ubuntu 22.04 "
            "have one; on JetPack 5 `sudo apt install python3.9 python3.9-venv`)"
        )
    if not facts.venv:
        raise InputError(
            f"{place}: {facts.executable} has no venv module: `sudo apt install python3-venv`"
        )
    tflite = (*_here("ai-edge-litert"), ("ai-edge-litert>=2.1",))
    steps = [
        Step("runner", True, ((runner,),)),
        # tflite-runtime was built for numpy 1 and does not say so.
        Step("tflite", False, (*tflite, ("tflite-runtime==2.14.0", "numpy<2"))),
    ]
    if facts.gpu is None:  # an installed GPU build is seen through system site packages
        steps.append(Step("ort", False, (*_here("onnxruntime"), ("onnxruntime>=1.18",))))
    return tuple(steps)


def _here(package: str) -> tuple[tuple[str, ...], ...]:
    try:
        return ((f"{package}=={version(package)}",),)
    except PackageNotFoundError:
        return ()
