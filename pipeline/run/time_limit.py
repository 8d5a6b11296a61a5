"""End work that may never end, in the thread that does it."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

POLL_S = 0.05


class OutOfTime(BaseException):
    """Raised in the work; no `except Exception` of a library holds it up."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the ``with`` block once it has computed for ``seconds``.

    Computing time of this thread counts, not time on the wall, so that a busy machine gives the
    same answer. It is looked at between two steps of Python: one long call into C ends first.
    """
    thread = threading.get_ident()
    clock = time.pthread_getcpuclockid(thread)
    end = time.clock_gettime(clock) + seconds
    lock, over = threading.Lock(), threading.Event()
    raised = False

    def watch() -> None:
        nonlocal raised
        while not over.wait(POLL_S):
            with lock:
                if not over.is_set() and time.clock_gettime(clock) >= end:
                    raised = True
                    _raise_in(thread, OutOfTime)
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    arrived = False
    try:
        yield
    except OutOfTime:
        arrived = True
        raise
    finally:
        with lock:
            over.set()
            if raised and not arrived:
                _raise_in(thread, None)  # it was under way when the work ended by itself
        watcher.join()


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )
