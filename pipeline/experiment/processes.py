"""The same work for many items, each in a process of its own.

A process that is killed, for memory or by hand, takes no other along, and what one item leaves
behind in memory does not reach the next.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import TypeVar

from edgeticket.device_runner.errors import InputError

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Failed:
    """Why there is no result."""

    reason: str


def outcomes(
    work: Callable[[Item], Made], items: Sequence[Item], *, jobs: int, preload: str
) -> Generator[tuple[Item, Made | Failed], None, None]:
    """``work`` on each of ``items``, ``jobs`` at a time; what ends first comes first.

    Args:
        work: can be pickled, like what it takes and returns. What it raises becomes `Failed`.
        items: what to work on.
        jobs: how many processes at a time.
        preload: the module that ``work`` needs. A server imports it once and forks each process,
            so starting one takes milliseconds.

    Closing the generator ends the processes that still run, and so does the death of this one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    _start_server()
    waiting = list(items)
    running: dict[Connection, tuple[Item, ForkServerProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                item = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=_work_and_send, args=(work, item, theirs), daemon=True
                )
                process.start()
                theirs.close()
                running[ours] = item, process
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                item, process = running.pop(connection)
                with connection:
                    try:
                        outcome: Made | Failed = connection.recv()
                        process.join()
                    except EOFError:
                        process.join()
                        outcome = Failed(
                            f"its process ended with exit code {process.exitcode} (out of memory?)"
                        )
                yield item, outcome
    finally:
        for _, process in running.values():
            process.terminate()


def _start_server() -> None:
    """Start the fork server where it finds modules as this process does.

    It is `python -c`, which would look for them in the current folder first.
    """
    safe = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        forkserver.ensure_running()
    finally:
        if safe is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = safe


def _work_and_send(work: Callable[[Item], Made], item: Item, results: Connection) -> None:
    """The whole life of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    outcome: Made | Failed
    try:
        outcome = work(item)
    except InputError as error:
        outcome = Failed(str(error))
    except Exception as error:
        traceback.print_exc()
        outcome = Failed(f"{type(error).__name__}: {error}")
    results.send(outcome)


def _die_with_parent() -> None:
    """A parent that was killed cannot end its children."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
