"""Which structures are worth training: chosen by the table, measured whole, chosen anew.

No network is trained here. Each budget of time is a slot; within it opinions on what channels are
worth, and budgets of bytes, disagree, so a slot has several structures. What a whole network takes
is measured on every target; how far the sum was off corrects the budgets of the next round.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.errors import DeviceError
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.search.candidates import Candidates, Precision, carried_over
from edgeticket.pipeline.search.choice import Losses, choose
from edgeticket.pipeline.search.predict import Files
from edgeticket.pipeline.search.prices import PriceList, Prices, levels_of
from edgeticket.pipeline.search.probes import ProbeFile, probe_file
from edgeticket.pipeline.search.probing import Asked, Times, time_files
from edgeticket.pipeline.search.structure import Structure

SLOTS = 6  # budgets of time
FASTEST = 0.15  # of the whole network's time, the smallest budget unless nothing is so fast
SMALLER = 0.7  # of a structure's bytes: a second choice within the same time
ROUNDS = 2


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


@dataclass(frozen=True)
class Proposals:
    """All of a search, and what they were measured with.

    left_out: target -> why it counts no more.
    """

    proposals: tuple[Proposal, ...]
    dense_ns: float
    doubts: tuple[str, ...]
    left_out: Mapping[str, str]


def propose(
    candidates: Candidates,
    opinions: Mapping[str, Losses],
    devices: Sequence[Device],
    asked: Asked,
    *,
    runtimes: Sequence[str],
    precisions: Sequence[Precision],
    quantum: int,
    most_ns: float | None,
    most_bytes: float | None,
    progress: Progress,
) -> Proposals:
    """Probe all targets, choose structures, measure them whole, and choose once more.

    Raises:
        DeviceError: no target can be measured.
        InputError: the network loses no channels, or no structure is within the bounds.
    """
    levels = levels_of(candidates.widths, quantum=quantum)
    if not levels:
        raise InputError(f"{candidates.network.arch} has no channels that can be removed")
    lists = [
        PriceList(candidates, runtime, precision, levels)
        for precision in precisions
        for runtime in runtimes
    ]
    targets, left_out = [], {}
    for device in devices:
        try:
            targets.append(_probe(device, lists, asked, runtimes, progress))
        except DeviceError as error:
            left_out[device.target] = str(error)
            progress.say(f"{device.target} is left out: {error}")
    if not targets:
        raise DeviceError("no target can be measured: " + "; ".join(left_out.values()))
    known: dict[tuple[object, ...], Proposal] = {}
    dense = _measured(
        [Proposal(Structure(), precision, -1, "") for precision in precisions],
        candidates, targets, asked, runtimes, progress,
    )  # fmt: skip
    dense_ns = min(one.time_ns for one in dense)
    budgets = _budgets(targets, dense_ns, most_ns)
    for _ in range(ROUNDS):
        chosen = [
            one
            for one in _choose(targets, opinions, precisions, budgets, most_bytes, progress)
            if _key(one) not in known
        ]
        for one in _measured(chosen, candidates, targets, asked, runtimes, progress):
            known[_key(one)] = one
    fits = [
        one
        for one in known.values()
        if (most_ns is None or one.time_ns <= most_ns)
        and (most_bytes is None or one.size_bytes <= most_bytes)
    ]
    doubts = dict.fromkeys(doubt for target in targets for doubt in target.times.doubts)
    # Where nothing is within the bounds, the nearest is still worth knowing.
    nearest = sorted(known.values(), key=lambda one: one.time_ns)[:1]
    return Proposals(tuple(fits or nearest), dense_ns, tuple(doubts), left_out)


def _key(one: Proposal) -> tuple[object, ...]:
    structure = one.structure
    return tuple(sorted(structure.keep.items())), structure.bypass, one.precision


def _probe(
    device: Device,
    lists: Sequence[PriceList],
    asked: Asked,
    runtimes: Sequence[str],
    progress: Progress,
) -> Target:
    files = Files([one.case for one in lists])
    times = _time(device, files, asked, runtimes, progress, f"probes on {device.label}")
    prices, reasons = [], []
    for one in lists:
        try:
            prices.append(one.prices(files, times))
        except InputError as error:  # one runtime is enough
            reasons.append(str(error))
    if not prices:
        raise DeviceError(f"{device.target}: {'; '.join(reasons)}")
    return Target(device, times, prices)


def _time(
    device: Device,
    files: Files | _Wholes,
    asked: Asked,
    runtimes: Sequence[str],
    progress: Progress,
    title: str,
) -> Times:
    with progress.task(title, 1) as advance:
        shown = 0.0

        def show(done: int, total: int) -> None:
            nonlocal shown
            share = done / total if total else 1.0
            advance(share - shown, f"{done} of {total} files")
            shown = share

        return time_files(
            device, files.plan, asked, runtimes=runtimes,
            tell=lambda line: advance(0, line), advance=show,
        )  # fmt: skip


def _budgets(targets: Sequence[Target], dense_ns: float, most_ns: float | None) -> list[float]:
    """Times of the slots, the largest first, on the slowest target."""
    slowest = max(
        min(
            prices.ns(Structure({name: widths[0] for name, widths in prices.levels.items()}))
            for prices in target.prices
        )
        for target in targets
    )
    high = min(dense_ns, most_ns or dense_ns)
    low = min(high, max(1.05 * slowest, FASTEST * dense_ns))
    return [float(ns) for ns in np.geomspace(high, low, SLOTS)]


def _choose(
    targets: Sequence[Target],
    opinions: Mapping[str, Losses],
    precisions: Sequence[Precision],
    budgets: Sequence[float],
    most_bytes: float | None,
    progress: Progress,
) -> list[Proposal]:
    proposals: dict[tuple[object, ...], Proposal] = {}
    tasks = list(itertools.product(precisions, opinions.items(), enumerate(budgets)))
    with progress.task("choosing structures", len(tasks)) as advance:
        for precision, (opinion, losses), (slot, budget) in tasks:
            kinds = [[p for p in t.prices if p.precision == precision] for t in targets]
            for prices in itertools.product(*kinds):  # a runtime for each target
                most = [budget / t.factor(budget) for t in targets]
                for structure in _two(prices, losses, most, most_bytes):
                    one = Proposal(structure, precision, slot, opinion)
                    proposals.setdefault(_key(one), one)
            advance(1, f"{budget / 1e6:.3f} ms, {opinion}")
    return list(proposals.values())


def _two(
    prices: Sequence[Prices], losses: Losses, time_ns: Sequence[float], most_bytes: float | None
) -> list[Structure]:
    """The best within a time, and the best of these that is much smaller."""
    first = choose(prices, losses, time_ns=time_ns, size_bytes=most_bytes)
    if first is None:
        return []
    size = SMALLER * max(one.size_bytes(first) for one in prices)
    second = choose(prices, losses, time_ns=time_ns, size_bytes=size)
    return [first] if second is None else [first, second]


class _Wholes:
    """Files of whole structures: a key for each of them, runtime and precision."""

    def __init__(self, graphs: Mapping[tuple[int, str], Graph]) -> None:
        self._graphs = graphs  # by number of the proposal, and runtime
        self.files: dict[tuple[int, str], ProbeFile] = {}

    def plan(self, architecture: str) -> list[ProbeFile]:
        """Make them."""
        for (number, runtime), graph in self._graphs.items():
            self.files[number, runtime] = probe_file(graph, runtime, architecture=architecture)
        return list(self.files.values())


def _measured(
    proposals: Sequence[Proposal],
    candidates: Candidates,
    targets: Sequence[Target],
    asked: Asked,
    runtimes: Sequence[str],
    progress: Progress,
) -> list[Proposal]:
    """The same, with what each takes as a whole on every target."""
    if not proposals:
        return []
    without: dict[frozenset[str], Candidates] = {}
    graphs: dict[tuple[int, str], Graph] = {}
    for number, one in enumerate(proposals):
        structure = one.structure
        if structure.bypass not in without:
            without[structure.bypass] = candidates.without(structure.bypass)
        left = without[structure.bypass]
        keep = carried_over(structure, candidates, left) if structure.bypass else structure
        for runtime in runtimes:
            graphs[number, runtime] = left.graph(one.precision, keep)
    wholes: list[dict[str, Whole]] = [{} for _ in proposals]
    for target in targets:
        files = _Wholes(graphs)
        title = f"{len(proposals)} whole networks on {target.device.label}"
        times = _time(target.device, files, asked, runtimes, progress, title)
        target.times = replace(times, doubts=(*target.times.doubts, *times.doubts))
        for number, one in enumerate(proposals):
            known = []
            for prices in target.prices:
                file = files.files[number, prices.runtime]
                if prices.precision == one.precision and (ns := times.ns(file)) is not None:
                    predicted = prices.ns(one.structure)
                    known.append(Whole(prices.runtime, predicted, float(ns), len(file.data)))
            if known:
                fastest = min(known, key=lambda whole: whole.measured_ns)
                wholes[number][target.device.label] = fastest
                off = fastest.measured_ns / fastest.predicted_ns
                target.residuals.append((fastest.predicted_ns, off))
    return [
        replace(one, wholes=measured)
        for one, measured in zip(proposals, wholes, strict=True)
        if len(measured) == len(targets)
    ]
