"""Both sides of the question with all that was found out about them, before any cause is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from edgeticket.pipeline.why.subject import Subject
from edgeticket.pipeline.why.trace import Match, Trace

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pair:
    """first: taken to be right; second: asked about.

    matches: values of both files; empty where one cannot be run here. second_trace: all values of
    the second. inputs: of the second file, real numbers with its axes; given: those that it gets
    when it prepares the samples itself, None where it says nothing of that. drawn: the samples are
    noise, and so say nothing of ranges. retrace: runs the second file on other inputs. layers: what
    the second file's values are called. dot_products: whether its machine adds products in 32 bits.
    """

    first: Subject
    second: Subject
    matches: Sequence[Match] = ()
    second_trace: Trace | None = None
    inputs: Sequence[Array] = ()
    given: Sequence[Array] | None = None
    drawn: bool = False
    retrace: Callable[[Sequence[Array]], Sequence[Match]] | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    dot_products: bool = True

    def layer(self, value: str) -> str:
        return self.layers.get(value, value)

    @property
    def channel_axis(self) -> int:
        """Where the first file has the channels of a map."""
        return 1 if self.first.file is not None and self.first.file.runtime == "ort" else -1
