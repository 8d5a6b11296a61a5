"""The part of a measurement in which time counts: queries, energy, and the machine around them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Callable

from edgeticket.device_runner.cooldown import Cooldown, cool_down
from edgeticket.device_runner.energy import SECONDS as ENERGY_SECONDS
from edgeticket.device_runner.energy import Energy, add_meter, measure_energy
from edgeticket.device_runner.energy.meter import read_meter
from edgeticket.device_runner.latency import Latency, measure, percentile
from edgeticket.device_runner.manifest import InputSpec, TensorSpec
from edgeticket.device_runner.plan import Plan
from edgeticket.device_runner.preprocess import prepare
from edgeticket.device_runner.readings import Command, Readings, take_readings
from edgeticket.device_runner.report import PreprocessingTime
from edgeticket.device_runner.scenarios import measure_paced
from edgeticket.device_runner.subjects import Subject, Tensors
from edgeticket.device_runner.sustained import NOT_ASKED, Sustained, measure_sustained
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.watch import During, Watch

PREPARATIONS = 128  # timed ones; p50 and p90 need 64

Progress = Callable[[str, float], None]
"""``progress(what, share)``: what is being done and how much of it, 0..1; never while timing."""


@dataclass(frozen=True)
class Timed:
    """``latencies``, ``energies`` and ``sustained`` are those of the subjects, in their order."""

    cooldown: Cooldown | Unavailable
    before: Readings
    during: During
    after: Readings
    latencies: Sequence[Latency]
    energies: Sequence[Energy | Unavailable]
    sustained: Sequence[Sustained | Unavailable]


def time_subjects(
    subjects: Sequence[Subject],
    plan: Plan,
    *,
    cpus: Collection[int],
    progress: Progress,
    root: Path,
    command: Command,
) -> Timed:
    """Cool down, time all subjects interleaved, and weigh each by itself.

    ``cpus``: those that the measurement is kept on; the others as for `bench`.
    """
    cooldown: Cooldown | Unavailable = Unavailable("it was not asked for")
    if plan.cooldown_c is not None:
        cooldown = cool_down(
            root, below_c=plan.cooldown_c, tell=lambda sentence: progress(sentence, 0.0)
        )
    before = take_readings(root, command=command)
    watch = Watch(root, command=command, cpus=cpus)
    latencies, sustained = _query(subjects, plan, watch, progress)
    during = watch.finish()
    after = take_readings(root, command=command)
    energies = _weigh(subjects, plan, progress, root=root, command=command)
    return Timed(cooldown, before, during, after, latencies, energies, sustained)


def time_preparation(
    inputs: Tensors, described: Sequence[InputSpec], specs: Sequence[TensorSpec]
) -> PreprocessingTime:
    """How long one sample takes to become what the model reads."""
    times = []
    for i in range(PREPARATIONS):
        at = i % len(inputs[0])
        before = perf_counter_ns()
        prepare([stored[at : at + 1] for stored in inputs], described, specs, place="input")
        times.append(perf_counter_ns() - before)
    times.sort()
    return PreprocessingTime(
        count=len(times), p50=percentile(times, 0.5), p90=percentile(times, 0.9)
    )


def _query(
    subjects: Sequence[Subject], plan: Plan, watch: Watch, progress: Progress
) -> tuple[list[Latency], Sequence[Sustained | Unavailable]]:
    """The timed queries of the plan's scenario."""
    artifacts = [(subject.run, subject.queries) for subject in subjects]
    if plan.sustain_minutes is not None:
        return measure_sustained(
            artifacts,
            minutes=plan.sustain_minutes,
            warmup_seconds=plan.warmup_seconds,
            watch=watch,
            progress=lambda share: progress("sustained load", share),
        )
    not_asked = [NOT_ASKED] * len(artifacts)
    asked: dict[str, Any] = {
        "min_seconds": plan.min_seconds,
        "min_queries": plan.min_queries,
        "warmup_seconds": plan.warmup_seconds,
        "progress": lambda share: progress("timing queries", share),
        "watch": watch,
    }
    if plan.rate_hz is not None:
        return measure_paced(artifacts, rate_hz=plan.rate_hz, **asked), not_asked
    return measure(artifacts, scenario=plan.scenario, **asked), not_asked


def _weigh(
    subjects: Sequence[Subject], plan: Plan, progress: Progress, *, root: Path, command: Command
) -> list[Energy | Unavailable]:
    """Energy per inference, by sensors and by the plan's meter."""
    seconds = plan.energy_seconds
    if plan.meter is not None and seconds is None:
        seconds = ENERGY_SECONDS
    singles = [(subject.session.query, subject.singles) for subject in subjects]
    energies = measure_energy(
        singles,
        seconds=seconds,
        root=root,
        command=command,
        progress=lambda share: progress("measuring energy", share),
    )
    if plan.meter is None:
        return energies
    log = read_meter(plan.meter, offset_s=plan.meter_offset_s)
    return [e if isinstance(e, Unavailable) else add_meter(e, log) for e in energies]
