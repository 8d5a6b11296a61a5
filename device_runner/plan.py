"""How to measure: everything that `bench` can be asked for, with what it takes unless asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.latency import MIN_QUERIES, MIN_SECONDS, SINGLE_STREAM, WARMUP_SECONDS
from edgeticket.device_runner.scenarios import OFFLINE, PACED
from edgeticket.device_runner.sustained import SUSTAINED
from edgeticket.device_runner.windows import WINDOWS


@dataclass(frozen=True)
class Plan:
    """Times in seconds, per artifact."""

    threads: tuple[int, ...] = (1,)  # within one inference; several: each artifact with each
    min_seconds: float = MIN_SECONDS  # both must be reached...
    min_queries: int = MIN_QUERIES  # ...and p99 needs 662
    warmup_seconds: float = WARMUP_SECONDS
    windows: int = WINDOWS  # whose spread and drift are told
    rate_hz: float | None = None  # frames per second: the Paced scenario
    sustain_minutes: int | None = None  # so long without a pause: the Sustained scenario
    batch: int | None = None  # samples in a query, where the file takes them: Offline
    cores: tuple[int, ...] | None = None  # CPU cores to keep to; None: all that are allowed
    cooldown_c: float | None = None  # wait until it is cooler; None: do not wait
    energy_seconds: float | None = None  # None: two if there is a sensor; 0: not
    meter: Path | None = None  # CSV log of a power meter that runs meanwhile
    meter_offset_s: float = 0.0  # added to the meter's times
    amx: bool = True  # False withholds it while this process lives; see `device_runner.amx`
    cpu_only: bool = False  # leave GPU providers aside
    beam: int | None = None  # beginnings that a decoder of transcripts keeps; None: greedily

    @property
    def scenario(self) -> str:
        """Name of the scenario that follows from the above."""
        if self.rate_hz is not None:
            return PACED
        if self.sustain_minutes is not None:
            return SUSTAINED
        return SINGLE_STREAM if self.batch is None else OFFLINE
