"""Parts of the instrument that get a process of their own: they may crash, print or hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

# Not `python -m`: that would look for modules in the current folder first.
_START = (
    "import os, sys; sys.path[:] = sys.argv.pop(1).split(os.pathsep); "
    "import importlib; importlib.import_module(sys.argv.pop(1)).main(sys.argv[1:])"
)


def run_child(
    module: str, arguments: Sequence[str], *, timeout_s: float
) -> subprocess.CompletedProcess[bytes]:
    """Run ``main(arguments)`` of a module in a fresh process, with the same packages as here.

    Raises:
        OSError, subprocess.TimeoutExpired: no process, or no end of it.
    """
    here = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    return subprocess.run(
        [sys.executable, "-c", _START, here, module, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )


def take_output() -> IO[str]:
    """Standard output for the answer alone; whatever a runtime prints there is an error's."""
    sys.stdout.flush()
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answer


def tell_signal(number: int) -> str:
    """What ended a process, in words."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    hint = " (illegal instruction: it was built for another CPU)"
    return name + (hint if number == signal.SIGILL else "")
