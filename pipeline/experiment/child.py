"""One piece of work in a process of its own, which can be ended at any time.

Dask lends threads, and a thread cannot be ended. A process can: when the result is no longer
wanted, when whoever started it is killed, or by the kernel, for memory; and what one point leaves
behind in memory does not reach the next.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait

from edgeticket.device_runner.errors import InputError

WORKERS = "edgeticket.pipeline.experiment.workers"
COMMANDS = "edgeticket.pipeline.cli"
LOOK_EVERY_S = 0.2  # whether the result is still wanted
_STARTING = threading.Lock()


@dataclass(frozen=True)
class Failed:
    """Why there is no result."""

    reason: str


class ChildDiedError(Exception):
    """The process ended before it had a result; another try may fare better."""


class UnwantedError(Exception):
    """Nobody waits for the result any more."""


def in_child(parcel: bytes, *, preload: str, is_wanted: Callable[[], bool]) -> bytes:
    """Work in a process of its own, which alone knows what the work is.

    Args:
        parcel: pickle of (work, point).
        preload: the module that ``work`` needs. A server imports it once and forks each process,
            so starting one takes milliseconds.
        is_wanted: asked now and then; when it says no, the process is killed.

    Returns:
        Pickle of ``work(point)``, or of `Failed` for what it raised.

    Raises:
        ChildDiedError: the process was killed, for memory or by hand.
        UnwantedError: ``is_wanted`` said no.
    """
    with _STARTING:
        # A nanny's worker is daemonic, which forbids children lest they outlive it; ours see to
        # that themselves.
        multiprocessing.current_process().daemon = False
        context = multiprocessing.get_context("forkserver")
        # A child imports the program anew that its parent is, so the server has that, too.
        commands = [COMMANDS] if COMMANDS in sys.modules else []
        context.set_forkserver_preload([WORKERS, *commands, preload])
        _start_server()
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work_and_send, args=(parcel, theirs), daemon=True)
        process.start()
        theirs.close()
    try:
        with ours:
            while not wait([ours], timeout=LOOK_EVERY_S):
                if not is_wanted():
                    raise UnwantedError
            try:
                return ours.recv_bytes()
            except EOFError:
                process.join()
                raise ChildDiedError(
                    f"its process ended with exit code {process.exitcode} (out of memory?)"
                ) from None
    finally:
        process.kill()  # what has sent its result has nothing left to do
        process.join()
        process.close()


def _start_server() -> None:
    """Start the fork server where it finds modules as this process does.

    It is `python -c`, which would look for them in the current folder first. OpenMP reads its
    policy when torch is loaded: threads that spin slow each other down.
    """
    wanted = {"PYTHONSAFEPATH": "1", "OMP_WAIT_POLICY": "passive"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ["PYTHONSAFEPATH"] = wanted["PYTHONSAFEPATH"]
    os.environ.setdefault("OMP_WAIT_POLICY", wanted["OMP_WAIT_POLICY"])
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work_and_send(parcel: bytes, results: Connection) -> None:
    """The whole life of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        work, point = pickle.loads(parcel)
        outcome = pickle.dumps(work(point))
    except InputError as error:
        outcome = pickle.dumps(Failed(str(error)))
    except Exception as error:
        traceback.print_exc()
        outcome = pickle.dumps(Failed(f"{type(error).__name__}: {error}"))
    results.send_bytes(outcome)


def _die_with_parent() -> None:
    """A parent that was killed cannot end its children."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
