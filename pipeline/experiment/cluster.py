"""A scheduler to give points to: one inside this process, or one at an address."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.progress import Progress

if TYPE_CHECKING:
    from distributed import Client, Security

LOOPBACK = "127.0.0.1"
ANSWER_WITHIN_S = 10.0
LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Tls:
    """Files (PEM) by which this machine and the scheduler know each other."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True)
class Workers:
    """Where points are worked on."""

    jobs: int = 1  # at a time on this machine, without a scheduler
    scheduler: str | None = None  # tcp://HOST:PORT, tls://HOST:PORT
    tls: Tls | None = None  # None: as Dask's configuration says
    # Of Dask's resources, what one point holds while it runs, such as {"gpu": 1} or {"pi5": 1}.
    needs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scheduler is None:
            if self.tls is not None:
                raise InputError("--tls-ca, --tls-cert and --tls-key belong to --scheduler")
            return
        if not re.fullmatch(r"(tcp|tls)://[^\s/@]+:\d{1,5}", self.scheduler):
            raise InputError(
                f"--scheduler {self.scheduler}: tcp://HOST:PORT or tls://HOST:PORT is wanted, as "
                "`dask scheduler` prints it"
            )
        if self.tls is not None and not self.scheduler.startswith("tls://"):
            raise InputError(f"--scheduler {self.scheduler}: with --tls-ca it begins with tls://")


def read_workers(
    *,
    jobs: int | None,
    scheduler: str | None,
    tls: tuple[Path | None, Path | None, Path | None],
    needs: Sequence[str],
) -> Workers:
    """What flags say -> where to work.

    Args:
        jobs, scheduler: as of `Workers`; None: not given.
        tls: files of CA, certificate and key; all or none.
        needs: ``NAME`` or ``NAME=AMOUNT``.

    Raises:
        InputError: they do not fit together, or a value is wrong.
    """
    if jobs is not None and scheduler is not None:
        raise InputError(
            "--jobs is for this machine; with --scheduler, workers say how many they take at a "
            "time (`dask worker --nworkers 4 --nthreads 1`)"
        )
    files = [file for file in tls if file is not None]
    if len(files) not in (0, 3):
        raise InputError(
            "--tls-ca, --tls-cert and --tls-key go together, or all three are left out"
        )
    held = {}
    for need in needs:
        name, _, amount = need.partition("=")
        try:
            held[name] = float(amount or 1)
        except ValueError:
            held[name] = 0.0
        if not name or not 0 < held[name] < math.inf:
            raise InputError(f"--needs {need}: NAME or NAME=AMOUNT is wanted, such as gpu or gpu=1")
    return Workers(
        jobs=jobs or 1, scheduler=scheduler, tls=Tls(*files) if files else None, needs=held
    )


@contextlib.contextmanager
def connected(on: Workers, *, progress: Progress, patient: bool) -> Iterator[Client]:
    """A client of the workers, as long as the block lasts; then nothing of it is left.

    Args:
        on: which workers.
        progress: is told what may surprise.
        patient: the scheduler was there; wait until it is again.

    Raises:
        InputError: no scheduler answers, or it does not know us.
    """
    from distributed import Client

    with _quiet(), contextlib.ExitStack() as stack:
        if on.scheduler is None:
            address: Any = stack.enter_context(_inside(on))
            client = Client(address, set_as_default=False)
        else:
            security = _security(on)
            if not patient and security is None and _is_open(on.scheduler):
                progress.say(
                    f"{on.scheduler} is neither encrypted nor closed to strangers: whoever reaches "
                    "it can run programs as you on every worker (docs/many-machines.md, TLS)"
                )
            client = _client(on.scheduler, security, patient=patient)
        try:
            yield client
        finally:
            with contextlib.suppress(OSError, TimeoutError):
                client.close()


def _inside(on: Workers) -> Any:
    """A scheduler and a worker that are threads of this process, and reached from nowhere else.

    Their pages for browsers cannot be turned off, so they get a port of the loopback device.
    """
    from distributed import Scheduler, SpecCluster, Worker

    pages = {"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"}
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": {"protocol": "inproc", **pages}},
        workers={
            0: {
                "cls": Worker,
                # Points have processes of their own, whose memory is not the worker's.
                "options": {
                    "protocol": "inproc",
                    "nthreads": on.jobs,
                    "memory_limit": 0,
                    "resources": dict(on.needs),
                    **pages,
                },
            }
        },
        silence_logs=logging.CRITICAL,
    )


def _client(address: str, security: Security | None, *, patient: bool) -> Client:
    """
    Raises:
        InputError: nobody answers there, or who answers does not know us.
    """
    from distributed import Client

    while True:
        try:
            return Client(address, security=security, timeout=ANSWER_WITHIN_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError, RuntimeError, TypeError) as error:
            if not patient:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise InputError(
                    f"--scheduler {address}: no scheduler answers ({reason}); is `dask scheduler` "
                    "running there, can this machine reach the port, and does it have the same CA?"
                ) from error
            time.sleep(LOOK_EVERY_S)


def _security(on: Workers) -> Security | None:
    """None: nothing is encrypted."""
    from distributed import Security

    assert on.scheduler is not None
    if not on.scheduler.startswith("tls://"):
        return None
    if on.tls is None:
        return Security(require_encryption=True)  # files from Dask's configuration
    for file in (on.tls.ca, on.tls.cert, on.tls.key):
        if not file.is_file():
            raise InputError(f"{file}: there is no such file of TLS")
    return Security(
        require_encryption=True,
        tls_ca_file=str(on.tls.ca),
        tls_client_cert=str(on.tls.cert),
        tls_client_key=str(on.tls.key),
    )


def _is_open(address: str) -> bool:
    host = address.partition("://")[2].rpartition(":")[0]
    return not (host in ("localhost", "[::1]") or host.startswith("127."))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What Dask logs of connections that end is told by us."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
