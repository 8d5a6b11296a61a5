"""How far the outputs of an artifact are from others, output by output, without labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgeticket.device_runner.fidelity.codes import code_of, tallies, to_reals
from edgeticket.device_runner.fidelity.tally import EQUAL, SILENT, FidelityTally, OutputFidelity
from edgeticket.device_runner.unavailable import Unavailable

__all__ = [
    "EQUAL",
    "SILENT",
    "Between",
    "Fidelity",
    "FidelityTally",
    "OutputFidelity",
    "code_of",
    "sqnr_of",
    "tallies",
    "tell_sqnr",
    "to_reals",
]

NOBODY_LOOKED = Unavailable("answers were not held against those of the network in float32")


@dataclass(frozen=True)
class Between:
    """The outputs against those of another artifact of the same network and precision."""

    artifact: str
    outputs: tuple[OutputFidelity, ...]


@dataclass(frozen=True)
class Fidelity:
    """How well an artifact gives what the network itself gives.

    ``against`` says what computed the reference outputs; ``between`` has the artifacts of the same
    session that were measured before this one. ``differing`` are the samples whose answer is
    another than the reference's, by what the task calls the same answer (docs/tasks.md): by the
    name of the network whose references they are, its own and others of the bundle. Empty: nobody
    looked.
    """

    against: str
    samples: int  # queries that were compared, from the first
    outputs: tuple[OutputFidelity, ...]
    differing: Mapping[str, tuple[int, ...] | Unavailable]
    between: tuple[Between, ...]

    @property
    def worst(self) -> OutputFidelity:
        """The output with the lowest ratio of signal to noise; one without noise comes last."""
        return min(self.outputs, key=lambda output: sqnr_of(output))

    def agreement(self, network: str) -> float | Unavailable:
        """The share of samples with the answer that the references of ``network`` give."""
        differing = self.differing.get(network, NOBODY_LOOKED)
        if isinstance(differing, Unavailable):
            return differing
        return 1.0 - len(differing) / self.samples


def sqnr_of(output: OutputFidelity) -> float:
    """Its ratio in dB as a number to compare by: infinite where there is no difference."""
    if isinstance(output.sqnr_db, Unavailable):
        return math.inf if output.largest_error == 0 else -math.inf
    return output.sqnr_db


def tell_sqnr(fidelity: Fidelity | Unavailable) -> str:
    """The lowest ratio of all outputs in a cell of a table."""
    if isinstance(fidelity, Unavailable):
        return "-"
    lowest = sqnr_of(fidelity.worst)
    if math.isinf(lowest):
        return "exact" if lowest > 0 else "none"
    return f"{lowest:.1f} dB"
