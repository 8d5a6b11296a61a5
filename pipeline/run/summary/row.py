"""One artifact in the table at the end of a run, and how each of its figures is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeticket.device_runner.fidelity import EQUAL
from edgeticket.device_runner.unavailable import Unavailable


@dataclass(frozen=True)
class Row:
    """One artifact. The last five compare it with a dense fp32 artifact."""

    artifact: str
    runtime: str
    precision: str
    size_bytes: int
    zipped_bytes: int  # by zlib at its best
    parameters: int | Unavailable
    macs: int | Unavailable
    p50_ms: float | Unavailable
    p90_ms: float | Unavailable
    score: float | Unavailable  # by the summary's measure; SQNR in dB
    measure: str
    told_score: str  # with its unit; "" where nothing is asked
    further: Mapping[str, str]  # other metrics of its task, likewise
    worst_output: str | None  # where there are several outputs: the one with the lowest SQNR
    sqnr_db: float | Unavailable  # lowest of all outputs, against the network in float32
    equal_codes: float | None  # share, with the int8 file of the other runtime; None: the first
    top5: float | None  # where there are so many classes that it tells something
    cer: float | None  # character error rate, where texts are heard
    real_time: float | Unavailable  # time for speech per time of speech
    # Against dense fp32 on the same runtime:
    agreement: float | Unavailable
    drop_points: float | Unavailable
    times_smaller: float | Unavailable
    times_faster: float | Unavailable  # by p50
    # Against dense fp32 on whichever runtime runs that fastest:
    times_faster_than_best: float | Unavailable
    validity: str  # VALID, INVALID


def _format(value: float | Unavailable, pattern: str, *, scale: float = 1) -> str:
    return "–" if isinstance(value, Unavailable) else pattern.format(value * scale)


def _decibels(sqnr_db: float | Unavailable) -> str:
    if isinstance(sqnr_db, Unavailable):
        return "exact" if sqnr_db == EQUAL else "–"
    return f"{sqnr_db:.1f}"


def _equal(share: float | None) -> str:
    """Rounded down, so that only what is exactly all reads 100."""
    if share is None:
        return ""
    return "100%" if share == 1 else f"{int(share * 10_000) / 100:.2f}%"


SCORE = "score"
ZIPPED = "kB zipped"  # told where zeros make a difference
LINES: dict[str, Callable[[Row], str]] = {
    "kB": lambda row: f"{row.size_bytes / 1000:,.0f}",
    ZIPPED: lambda row: f"{row.zipped_bytes / 1000:,.0f}",
    "parameters": lambda row: _format(row.parameters, "{:,}"),
    "MACs": lambda row: _format(row.macs, "{:,.1f} M", scale=1e-6),
    "p50 ms": lambda row: _format(row.p50_ms, "{:.3f}"),
    "p90 ms": lambda row: _format(row.p90_ms, "{:.3f}"),
    SCORE: lambda row: row.told_score,
    "SQNR dB": lambda row: _decibels(row.sqnr_db),
    "worst output": lambda row: row.worst_output or "",
    "top-5": lambda row: "" if row.top5 is None else f"{row.top5:.2%}",
    "CER": lambda row: "" if row.cer is None else f"{row.cer:.2%}",
    "real time": lambda row: "" if row.cer is None else _format(row.real_time, "{:.4f}"),
    "equal codes": lambda row: _equal(row.equal_codes),
    "agree": lambda row: "" if row.measure == "SQNR" else _format(row.agreement, "{:.2%}"),
    "smaller": lambda row: _format(row.times_smaller, "{:.1f}x"),
    "faster": lambda row: _format(row.times_faster, "{:.2f}x"),
    "vs best fp32": lambda row: _format(row.times_faster_than_best, "{:.2f}x"),
    "validity": lambda row: row.validity,
}
