"""The causes, one function each: (`Pair`) → findings. None of them knows of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgeticket.pipeline.why.causes.arithmetic import find_float32, find_saturating
from edgeticket.pipeline.why.causes.inputs import find_input_mismatch
from edgeticket.pipeline.why.causes.machines import find_fallback, find_version
from edgeticket.pipeline.why.causes.ranges import find_clipped, find_outliers
from edgeticket.pipeline.why.causes.shapes import find_copies, find_quantum
from edgeticket.pipeline.why.finding import Cause, Finding
from edgeticket.pipeline.why.pair import Pair

CAUSES: Mapping[Cause, Callable[[Pair], Sequence[Finding]]] = {
    # In the order in which they are told: what is wrong before anything is computed comes first.
    Cause.INPUT: find_input_mismatch,
    Cause.CLIPPED: find_clipped,
    Cause.OUTLIER: find_outliers,
    Cause.SATURATING: find_saturating,
    Cause.FLOAT32: find_float32,
    Cause.QUANTUM: find_quantum,
    Cause.COPIES: find_copies,
    Cause.FELL_BACK: find_fallback,
    Cause.VERSION: find_version,
}
