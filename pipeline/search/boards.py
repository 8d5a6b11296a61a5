"""The targets of a search, and what steps and whole structures take on each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.errors import ConversionError, DeviceError
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.search.candidates import Candidates, Precision, carried_over
from edgeticket.pipeline.search.deadline import Deadline
from edgeticket.pipeline.search.predict import Files
from edgeticket.pipeline.search.prices import PriceList, Prices
from edgeticket.pipeline.search.probes import ProbeFile, probe_file
from edgeticket.pipeline.search.probing import Asked, Times, time_files
from edgeticket.pipeline.search.structure import Structure


@dataclass(frozen=True)
class Whole:
    """A structure as a whole on one target: nanoseconds of a query, by sum and by measurement."""

    runtime: str
    predicted_ns: float
    measured_ns: float
    size_bytes: int


@dataclass(frozen=True)
class Proposal:
    """A structure that is worth training.

    slot: which budget of time it was chosen for.
    opinion: by which losses; see `importance`.
    wholes: by target's label, with the fastest runtime of each.
    """

    structure: Structure
    precision: Precision
    slot: int
    opinion: str
    wholes: Mapping[str, Whole] = field(default_factory=dict)

    @property
    def time_ns(self) -> float:
        """On the slowest target."""
        return max(whole.measured_ns for whole in self.wholes.values())

    @property
    def size_bytes(self) -> int:
        """Of the largest file."""
        return max(whole.size_bytes for whole in self.wholes.values())


@dataclass
class Target:
    """One device and what it is known to take."""

    device: Device
    times: Times
    prices: list[Prices]
    residuals: list[tuple[float, float]] = field(default_factory=list)  # predicted, its factor

    def factor(self, predicted_ns: float) -> float:
        """How much longer than the sum a network of about that time was measured to take."""
        if not self.residuals:
            return 1.0
        points = sorted(self.residuals)
        return float(np.interp(predicted_ns, [p for p, _ in points], [f for _, f in points]))


@dataclass
class Boards:
    """All targets that still count.

    left_out: target -> why it counts no more.
    """

    targets: list[Target]
    left_out: dict[str, str]
    candidates: Candidates
    asked: Asked
    runtimes: Sequence[str]
    deadline: Deadline
    progress: Progress

    @contextmanager
    def leaving_out(self, device: Device) -> Iterator[None]:
        """What fails within costs the search that target alone."""
        try:
            yield
        except DeviceError as error:
            reason = str(error).removeprefix(f"{device.target}: ")
            self.left_out[device.target] = reason
            self.targets = [one for one in self.targets if one.device.target != device.target]
            self.progress.say(f"{device.target} is left out: {reason}")

    def check_any(self) -> None:
        """Stop where nothing can be measured.

        Raises:
            DeviceError: all targets are left out.
        """
        if not self.targets:
            reasons = "; ".join(f"{target}: {why}" for target, why in self.left_out.items())
            raise DeviceError(f"no target can be measured: {reasons}")

    def probe(self, device: Device, lists: Sequence[PriceList]) -> Target:
        """Time the steps of all lists on a device.

        Raises:
            DeviceError: it measures nothing that can be believed.
            OutOfTimeError: the time is over.
        """
        files = Files([one.case for one in lists])
        times = self._time(device, files, f"probes on {device.label}")
        prices, reasons = [], []
        for one in lists:
            try:
                prices.append(one.prices(files, times))
            except InputError as error:  # one runtime is enough
                reasons.append(str(error))
        if not prices:
            raise DeviceError(f"{device.target}: {'; '.join(reasons)}")
        return Target(device, times, prices)

    def measured(self, proposals: Sequence[Proposal]) -> list[Proposal]:
        """The same, with what each takes as a whole on every target that is left.

        Raises:
            DeviceError: no target is left.
            OutOfTimeError: the time is over.
        """
        if not proposals:
            return []
        graphs = self._graphs(proposals)
        wholes: list[dict[str, Whole]] = [{} for _ in proposals]
        for target in list(self.targets):
            with self.leaving_out(target.device):
                files = Wholes(graphs)
                title = f"{len(proposals)} whole networks on {target.device.label}"
                times = self._time(target.device, files, title)
                doubts = {**times.doubts, **target.times.doubts}
                target.times = replace(target.times, doubts=doubts)
                for number, one in enumerate(proposals):
                    known = _wholes(target, one, number, files, times)
                    if known:
                        fastest = min(known, key=lambda whole: whole.measured_ns)
                        wholes[number][target.device.label] = fastest
                        off = fastest.measured_ns / fastest.predicted_ns
                        target.residuals.append((fastest.predicted_ns, off))
        self.check_any()
        labels = {target.device.label for target in self.targets}
        return [
            replace(one, wholes=whole)
            for one, whole in zip(proposals, wholes, strict=True)
            if labels <= whole.keys()
        ]

    def _graphs(self, proposals: Sequence[Proposal]) -> dict[tuple[int, str], Graph]:
        candidates = self.candidates
        without: dict[frozenset[str], Candidates] = {}
        graphs: dict[tuple[int, str], Graph] = {}
        for number, one in enumerate(proposals):
            structure = one.structure
            if structure.bypass not in without:
                without[structure.bypass] = candidates.without(structure.bypass)
            left = without[structure.bypass]
            keep = carried_over(structure, candidates, left) if structure.bypass else structure
            for runtime in self.runtimes:
                graphs[number, runtime] = left.graph(one.precision, keep)
        return graphs

    def _time(self, device: Device, files: Files | Wholes, title: str) -> Times:
        with self.progress.task(title, 1) as advance:
            shown = 0.0

            def show(done: int, total: int) -> None:
                nonlocal shown
                share = done / total if total else 1.0
                advance(share - shown, f"{done} of {total} files")
                shown = share
                if done < total:
                    self.deadline.check(f"{title} were timed: {done} of {total} files")

            self.deadline.check(f"{title} were begun")
            return time_files(
                device, files.plan, self.asked, runtimes=self.runtimes,
                tell=lambda line: advance(0, line), advance=show,
            )  # fmt: skip


class Wholes:
    """Files of whole structures: a key for each of them, runtime and precision."""

    def __init__(self, graphs: Mapping[tuple[int, str], Graph]) -> None:
        self._graphs = graphs  # by number of the proposal, and runtime
        self.files: dict[tuple[int, str], ProbeFile] = {}

    def plan(self, architecture: str) -> list[ProbeFile]:
        """Make them; where a runtime has no file of a network, the others have."""
        for (number, runtime), graph in self._graphs.items():
            with suppress(ConversionError):
                self.files[number, runtime] = probe_file(graph, runtime, architecture=architecture)
        return list(self.files.values())


def _wholes(target: Target, one: Proposal, number: int, files: Wholes, times: Times) -> list[Whole]:
    """By runtime, where it was measured."""
    known = []
    for prices in target.prices:
        file = files.files.get((number, prices.runtime))
        if file is None or prices.precision != one.precision:
            continue
        if (ns := times.ns(file)) is not None:
            predicted = prices.ns(one.structure)
            known.append(Whole(prices.runtime, predicted, float(ns), len(file.data)))
    return known
