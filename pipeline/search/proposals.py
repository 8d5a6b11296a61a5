"""Which structures are worth training: chosen by the table, measured whole, chosen anew.

No network is trained here. Each budget of time is a slot; within it opinions on what channels are
worth, and budgets of bytes, disagree, so a slot has several structures. What a whole network takes
is measured on every target; how far the sum was off corrects the budgets of the next round.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.errors import DeviceError
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.search.boards import Boards, Proposal, Target
from edgeticket.pipeline.search.candidates import Candidates, Precision
from edgeticket.pipeline.search.choice import Losses, choose
from edgeticket.pipeline.search.deadline import Deadline, OutOfTimeError
from edgeticket.pipeline.search.prices import PriceList, Prices, levels_of
from edgeticket.pipeline.search.probing import Asked
from edgeticket.pipeline.search.structure import Structure

SLOTS = 6  # budgets of time
FASTEST = 0.15  # of the whole network's time, the smallest budget unless nothing is so fast
SMALLER = 0.7  # of a structure's bytes: a second choice within the same time
ROUNDS = 2
NEAR = 0.05  # of time and bytes: a measurement of another day differs by as much


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
    deadline: Deadline,
    progress: Progress,
) -> Proposals:
    """Probe all targets, choose structures, measure them whole, and choose once more.

    A target that fails is left out, however far it came. Once the time is over no other round is
    begun.

    Raises:
        DeviceError: no target can be measured.
        InputError: the network loses no channels, or no structure is within the bounds.
        OutOfTimeError: the time is over before a structure was measured.
    """
    levels = levels_of(candidates.widths, quantum=quantum)
    if not levels:
        raise InputError(f"{candidates.network.arch} has no channels that can be removed")
    lists = [
        PriceList(candidates, runtime, precision, levels)
        for precision in precisions
        for runtime in runtimes
    ]
    boards = Boards([], {}, candidates, asked, runtimes, deadline, progress)
    for device in devices:
        with boards.leaving_out(device):
            boards.targets.append(boards.probe(device, lists))
    boards.check_any()
    known: dict[tuple[object, ...], Proposal] = {}
    dense = boards.measured([Proposal(Structure(), precision, -1, "") for precision in precisions])
    if not dense:
        raise DeviceError(f"no target runs {candidates.network.arch} as a whole")
    dense_ns = min(one.time_ns for one in dense)
    budgets = _budgets(boards.targets, dense_ns, most_ns)
    for _ in range(ROUNDS):
        try:
            chosen = [
                one
                for one in _choose(
                    boards.targets, opinions, precisions, budgets, most_bytes, deadline, progress
                )
                if _key(one) not in known
            ]
            for one in boards.measured(chosen):
                known[_key(one)] = one
        except OutOfTimeError:
            if not known:
                raise
            progress.say("the time is over: structures of the first choice alone are trained")
            break
    if not known:
        raise InputError(_beyond_reach(boards, opinions, precisions, most_ns, most_bytes))
    # A target may have failed since a structure was measured on it.
    labels = {target.device.label for target in boards.targets}
    measured = [
        replace(one, wholes={label: one.wholes[label] for label in one.wholes if label in labels})
        for one in known.values()
    ]
    fits = [
        one
        for one in unbeaten(measured, opinions)
        if (most_ns is None or one.time_ns <= most_ns)
        and (most_bytes is None or one.size_bytes <= most_bytes)
    ]
    doubts = dict.fromkeys(d for t in boards.targets for d in t.times.doubts.values())
    # Where nothing is within the bounds, the nearest is still worth knowing.
    nearest = sorted(measured, key=lambda one: one.time_ns)[:1]
    return Proposals(tuple(fits or nearest), dense_ns, tuple(doubts), boards.left_out)


def _beyond_reach(
    boards: Boards,
    opinions: Mapping[str, Losses],
    precisions: Sequence[Precision],
    most_ns: float | None,
    most_bytes: float | None,
) -> str:
    """Say that no structure is within the bounds, and what the narrowest of all takes."""
    levels = boards.targets[0].prices[0].levels
    narrow = {name: widths[0] for name, widths in levels.items()}
    blocks = frozenset(next(iter(opinions.values())).blocks)
    several = boards.measured(
        [Proposal(Structure(narrow, blocks), precision, -1, "") for precision in precisions]
    )
    asked = [f"{most_ns / 1e6:g} ms"] if most_ns is not None else []
    asked += [f"{most_bytes / 1e3:g} kB"] if most_bytes is not None else []
    sentence = f"no structure of {boards.candidates.network.arch} is within {' and '.join(asked)}"
    reached = [
        f"{one.time_ns / 1e6:.3g} ms and {one.size_bytes / 1e3:.3g} kB in {one.precision}"
        for one in several
    ]
    if reached:
        sentence += f": the narrowest takes {', '.join(reached)}"
    return f"{sentence}; allow more, or let channels come in smaller steps (--quantum)"


def unbeaten(proposals: Sequence[Proposal], opinions: Mapping[str, Losses]) -> list[Proposal]:
    """Without those that another beats, or nearly, by its own opinion, in loss, time, and bytes.

    What loses more and is faster or smaller by less than `NEAR` is not worth a training (an
    ε-Pareto set; Laumanns et al., doi.org/10.1162/106365602760234108).
    """

    def values(one: Proposal) -> tuple[float, float, int]:
        return opinions[one.opinion].of(one.structure), one.time_ns, one.size_bytes

    def is_near(kept: Proposal, one: Proposal) -> bool:
        if (kept.opinion, kept.precision) != (one.opinion, one.precision):
            return False
        most = 1 + NEAR
        return kept.time_ns <= most * one.time_ns and kept.size_bytes <= most * one.size_bytes

    stay: list[Proposal] = []
    for one in sorted(proposals, key=values):  # none that comes later loses less
        if not any(is_near(kept, one) for kept in stay):
            stay.append(one)
    return [one for one in proposals if one in stay]


def _key(one: Proposal) -> tuple[object, ...]:
    structure = one.structure
    return tuple(sorted(structure.keep.items())), structure.bypass, one.precision


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
    deadline: Deadline,
    progress: Progress,
) -> list[Proposal]:
    """One for each budget and opinion, and a smaller one; fewer once the time is over.

    Raises:
        OutOfTimeError: before the first.
    """
    proposals: dict[tuple[object, ...], Proposal] = {}
    tasks = list(itertools.product(precisions, opinions.items(), enumerate(budgets)))
    with progress.task("choosing structures", len(tasks)) as advance:
        for precision, (opinion, losses), (slot, budget) in tasks:
            if proposals and deadline.is_over:
                break
            deadline.check("structures were chosen")
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
