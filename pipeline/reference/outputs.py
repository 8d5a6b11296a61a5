"""The outputs of networks in float32 that a bundle carries, so that fidelity needs no labels.

How many: as many of the first queries as fit `LIMIT_BYTES` for each network, at most `MOST` and at
least one. Sixteen megabytes are all of CIFAR-10's test set for ten classes, 40 maps of
[19, 72, 72], and no burden for a board; beyond some hundred samples figures hardly change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import NetworkReferences, References

LIMIT_BYTES = 16 * 2**20
MOST = 256


@dataclass(frozen=True, eq=False)
class Reference:
    """Outputs of one network, [K, ...] each, with the axes that it has itself, and who computed
    them."""

    made_by: str
    outputs: tuple[NDArray[Any], ...]


def fitting_count(available: int, bytes_per_sample: int) -> int:
    """How many samples of ``available`` are kept."""
    return max(1, min(available, MOST, LIMIT_BYTES // max(bytes_per_sample, 1)))


def bytes_of(outputs: Sequence[NDArray[Any]]) -> int:
    """What the outputs for one sample, [1, ...] or without a batch, take as they are kept."""
    return sum(4 * output.size if output.dtype.kind == "f" else output.nbytes for output in outputs)


def refuse_nonfinite(references: Mapping[str, Reference], names: Sequence[str]) -> None:
    """Refuse references that nothing can be held against.

    Args:
        references: by network.
        names: of the outputs.

    Raises:
        InputError: an output that is not finite: names it, how many samples, and the first.
    """
    for network, one in references.items():
        for name, output in zip(names, one.outputs, strict=True):
            finite = np.isfinite(output).reshape(len(output), -1).all(axis=1)
            if not finite.all():
                first = int(np.flatnonzero(~finite)[0])
                raise InputError(
                    f"network {network}: the output {name} in float32 is not finite for "
                    f"{int((~finite).sum())} of {len(finite)} samples, the first is sample "
                    f"{first}, counted from 0: leave these samples out, or mend the network (a "
                    "division by 0, a logarithm or a root of what is below 0)"
                )


def describe_references(references: Mapping[str, Reference]) -> References | None:
    """What a manifest says of them; None where there are none."""
    if not references:
        return None
    (count,) = {len(output) for one in references.values() for output in one.outputs}
    described = {
        name: NetworkReferences(one.made_by, tuple(_paths(i, one)))
        for i, (name, one) in enumerate(references.items())
    }
    return References(count, LIMIT_BYTES, described)


def reference_files(
    references: Mapping[str, Reference], to_npy: Callable[[NDArray[Any]], bytes]
) -> dict[str, bytes]:
    """Path in the bundle -> bytes; real numbers as float32."""
    files: dict[str, bytes] = {}
    for i, one in enumerate(references.values()):
        for path, output in zip(_paths(i, one), one.outputs, strict=True):
            kept = output.astype(np.float32) if output.dtype.kind == "f" else output
            files[path] = to_npy(np.ascontiguousarray(kept))
    return files


def _paths(number: int, reference: Reference) -> list[str]:
    """Names of networks and outputs are anything, so that files have numbers."""
    return [f"references/{number}-{i}.npy" for i in range(len(reference.outputs))]
