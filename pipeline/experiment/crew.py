"""Who works for a scheduler, and whether they are as this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.experiment.cluster import LOOK_EVERY_S, Workers
from edgeticket.pipeline.progress import Progress

if TYPE_CHECKING:
    from distributed import Client

# What must be the same here and on a worker; of it the first four on a scheduler, too, which
# looks into what it gives out. Others decide results as well, and are in their keys.
SAME = ("python", "edgeticket", "distributed", "cloudpickle", "torch", "numpy")


class LostError(Exception):
    """The scheduler does not answer any more."""


class Watch:
    """Looks now and then who works, and whether they are as this machine."""

    def __init__(self, client: Client, on: Workers, progress: Progress) -> None:
        self.on = on
        self._client = client
        self._progress = progress
        self._checked: frozenset[str] = frozenset()
        self._said = ""
        self._next = 0.0

    def look(self) -> None:
        """
        Raises:
            InputError: a worker has other versions than this machine.
            LostError: the scheduler is gone.
        """
        if self.on.scheduler is None or (self._checked and time.monotonic() < self._next):
            return
        self._next = time.monotonic() + LOOK_EVERY_S
        try:
            if self._client.status != "running":
                raise LostError
            workers = self._client.scheduler_info()["workers"]
            if not self._checked >= workers.keys():
                check_versions(self._client.get_versions(packages=SAME[1:]), workers)
                self._checked = frozenset(workers)
        except (OSError, TimeoutError) as error:
            raise LostError from error
        said = self._crew(workers)
        if said != self._said:
            self._progress.say(said)
            self._said = said

    def _crew(self, workers: Mapping[str, Any]) -> str:
        """Who works, in a line."""
        fit = [
            worker
            for worker in workers.values()
            if all(worker["resources"].get(name, 0) >= much for name, much in self.on.needs.items())
        ]
        hosts = len({worker["host"] for worker in fit})
        if fit:
            slots = sum(worker["nthreads"] for worker in fit)
            return f"{_count(len(fit), 'worker')} on {_count(hosts, 'machine')}, {slots} at a time"
        if workers:
            needs = " ".join(f"{name}={much:g}" for name, much in self.on.needs.items())
            return (
                f"none of {_count(len(workers), 'worker')} has {needs}: waiting for one that was "
                f"started with `--resources {needs}`"
            )
        return f"no worker is at {self.on.scheduler}: waiting for `dask worker {self.on.scheduler}`"


def check_versions(versions: Mapping[str, Any], workers: Mapping[str, Any]) -> None:
    """Refuse workers, or a scheduler, that are not as this machine.

    Args:
        versions: as `distributed.Client.get_versions` says them.
        workers: as `distributed.Client.scheduler_info` says them; for the names of machines.

    Raises:
        InputError: machine, package and both versions are named.
    """
    here = versions["client"]["packages"]
    others: dict[str, tuple[Any, tuple[str, ...]]] = {
        "the scheduler": (versions["scheduler"], SAME[:4])
    }
    for address, of_worker in versions["workers"].items():
        host = workers.get(address, {}).get("host", "")
        others[f"the worker {address}" + f" on {host}" * (host not in address)] = of_worker, SAME
    for who, (said, packages) in others.items():
        if not isinstance(said, Mapping):  # it went away meanwhile
            continue
        for package in packages:
            there = said["packages"].get(package)
            if _shown(package, there) != _shown(package, here[package]):
                raise InputError(
                    f"{who} has {package} {_shown(package, there)}, this machine has "
                    f"{_shown(package, here[package])}: install the same there and start it again"
                )


def _shown(package: str, version: str | None) -> str:
    if version is None:
        return "not installed"
    # Bytecode travels, and is that of a minor version.
    return ".".join(version.split(".")[:2]) if package == "python" else version


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
