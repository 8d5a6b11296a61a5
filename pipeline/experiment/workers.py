"""Points on Dask's workers: threads of this process, or machines that a scheduler knows.

There is one way for both. Who calls owns all state: it gives points out, and keeps what comes back.
A worker only works. A point is named by a digest of all that decides it, so it does not matter how
often, or where, it is begun.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import queue
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from edgeticket.pipeline.experiment.child import ChildDiedError, Failed, in_child
from edgeticket.pipeline.experiment.cluster import Workers, connected
from edgeticket.pipeline.experiment.crew import LostError, Watch
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.store import canonical_json
from edgeticket.pipeline.store.code import code_digest

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Failed", "Workers", "map_points"]

Point = TypeVar("Point")
Made = TypeVar("Made")

TRIES = 3  # of a point whose process is killed; as many as Dask gives to one that kills its worker


def map_points(
    work: Callable[[Point], Made],
    points: Sequence[Point],
    *,
    on: Workers,
    title: str,
    digest: Callable[[Point], str],
    preload: str,
    progress: Progress = QUIET,
) -> Generator[tuple[Point, Made | Failed], None, None]:
    """``work`` on each of ``points``, wherever there are workers; what ends first comes first.

    Each point has a process of its own. One that is killed, or whose worker is, is begun again
    elsewhere; a scheduler that ends is waited for, and what had not come back by then is given out
    again. Closing the generator ends everything that runs, on other machines, too; so does the
    death of this process.

    Args:
        work: a function of a module, perhaps with arguments bound (`functools.partial`), which can
            be pickled, like what it takes and returns. What it raises becomes `Failed`.
        points: what to work on.
        on: where.
        title: what Dask's dashboards call the points.
        digest: of a point, all that decides its result beside ``work``. Two of one digest, also of
            two callers who share a scheduler, are worked on once.
        preload: the module that ``work`` needs, imported once on each worker.
        progress: is told of workers that come and go.

    Raises:
        InputError: no scheduler answers, or a worker has other versions than this machine.
    """
    code = code_digest(work)
    waiting: dict[str, list[Point]] = {}
    for point in points:
        decides = hashlib.sha256(canonical_json([digest(point), code])).hexdigest()[:32]
        waiting.setdefault(f"{title}-{decides}", []).append(point)
    lost = False
    while waiting:
        with connected(on, progress=progress, patient=lost) as client:
            try:
                first = {key: same[0] for key, same in waiting.items()}
                watch = Watch(client, on, progress)
                for key, outcome in _ended(client, work, first, watch=watch, preload=preload):
                    for point in waiting.pop(key):
                        yield point, outcome
            except LostError:
                lost = True
                progress.say(
                    f"the scheduler at {on.scheduler} is gone, {len(waiting)} points are not back; "
                    "they are given out again when it is there (Ctrl-C stops)"
                )


def _ended(
    client: Client,
    work: Callable[[Point], Made],
    points: Mapping[str, Point],
    *,
    watch: Watch,
    preload: str,
) -> Iterator[tuple[str, Made | Failed]]:
    """(key, outcome) of each point, as they end.

    Raises:
        LostError: the scheduler is gone.
    """
    ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
    futures = {}
    try:
        watch.look()
        for key, point in points.items():
            futures[key] = client.submit(
                _carry_out,
                # Neither the scheduler nor a worker needs to know what work is.
                pickle.dumps((work, point)),
                preload=preload,
                key=key,
                retries=TRIES - 1,
                resources=dict(watch.on.needs) or None,
            )
            futures[key].add_done_callback(ended.put)
        while futures:
            watch.look()
            with contextlib.suppress(queue.Empty):
                future = ended.get(timeout=1)
                watch.look()  # who worked on it may have come only now
                outcome = _outcome(future)
                futures.pop(future.key).release()
                yield future.key, outcome
    finally:
        with contextlib.suppress(Exception):  # nobody is there who could be asked
            client.cancel(list(futures.values()), asynchronous=False)


def _outcome(future: Future) -> Any:
    """What a point came to.

    Raises:
        LostError: nobody knows, as the scheduler is gone.
    """
    from distributed import KilledWorker

    if future.status not in ("finished", "error"):
        raise LostError
    try:
        outcome, host = future.result()
    except (OSError, TimeoutError) as error:  # a CommClosedError is one
        raise LostError from error
    except KilledWorker as error:
        return Failed(f"{TRIES} workers ended while they worked on it, lastly {error.last_worker}")
    except ChildDiedError as error:
        return Failed(f"{error}, {TRIES} times")
    except Exception as error:
        return Failed(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
    made = pickle.loads(outcome)
    if isinstance(made, Failed) and host != socket.gethostname():
        return Failed(f"{made.reason} (on {host})")
    return made


def _carry_out(parcel: bytes, *, preload: str) -> tuple[bytes, str]:
    """A point, as a worker does it: (pickle of its outcome, name of the machine).

    Raises:
        ChildDiedError, UnwantedError: the scheduler gives it out again, if it is still wanted.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        return (
            worker.status.name in ("running", "paused", "closing_gracefully")
            and task is not None
            and task.state in ("executing", "long-running")
        )

    return in_child(parcel, preload=preload, is_wanted=is_wanted), socket.gethostname()
