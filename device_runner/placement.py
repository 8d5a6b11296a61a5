"""Where the operators of a model file run, as a report tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NAMES = {"TensorrtExecutionProvider": "TensorRT"}
ENDING = "ExecutionProvider"

ASSIGNED = "operators of the file, as the runtime assigned them"
RAN = "kernels that ran in one query; all that TensorRT takes together is one"
ALONE = "operators of the file; there is no other provider"


@dataclass(frozen=True)
class Placement:
    """operators: by provider that was asked for, the most wanted first; 0 where it got none."""

    operators: Mapping[str, int]
    counted: str  # what was counted, and how
    words: str  # "TensorRT 0 of 31, CPU 31 of 31"


def placement_of(counts: Mapping[str, int], *, asked: Sequence[str], counted: str) -> Placement:
    """Put numbers of operators by provider, as ONNX Runtime names those, in order and in words.

    Args:
        asked: every provider that a session was given; one without operators counts 0.
        counted: `ASSIGNED`, `RAN` or `ALONE`.
    """
    everything = {**dict.fromkeys(asked, 0), **counts}
    operators = {_name(provider): count for provider, count in everything.items()}
    return Placement(operators, counted, in_words(operators))


def in_words(operators: Mapping[str, int]) -> str:
    """As in "TensorRT 0 of 31, CPU 31 of 31"."""
    total = sum(operators.values())
    return ", ".join(f"{name} {count} of {total}" for name, count in operators.items())


def _name(provider: str) -> str:
    if provider in NAMES:
        return NAMES[provider]
    return provider[: -len(ENDING)] if provider.endswith(ENDING) else provider
