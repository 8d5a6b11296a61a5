"""Reports against reports: one pair with everything that differs, or many as a gate."""

from __future__ import annotations

from edgeticket.pipeline.compare.bootstrap import Interval
from edgeticket.pipeline.compare.gate import Case, Gate, run_gate
from edgeticket.pipeline.compare.limits import Limits
from edgeticket.pipeline.compare.pair import compare
from edgeticket.pipeline.compare.result import ChangedSample, Comparison, tell_times

__all__ = [
    "Case",
    "ChangedSample",
    "Comparison",
    "Gate",
    "Interval",
    "Limits",
    "compare",
    "run_gate",
    "tell_times",
]
