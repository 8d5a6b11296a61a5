"""The first answers of an artifact, held against the network's own and those of other artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import Between, Fidelity, FidelityTally, tallies, to_reals
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.outputs import CHUNK
from edgeticket.device_runner.task import Settings, Task
from edgeticket.device_runner.unavailable import Unavailable

Array = npt.NDArray[Any]
Row = tuple[Array, ...]

NO_REFERENCES = Unavailable(
    "the bundle carries no reference outputs: make it again with this version"
)


class Faithful:
    """Gathers the rows of one artifact, as many as there are references."""

    def __init__(self, bundle: Bundle, entry: Artifact) -> None:
        self._bundle, self._entry, self._names = bundle, entry, bundle.manifest.outputs
        stored = bundle.manifest.references
        self._references = bundle.references(entry.network)
        self._made_by = ""
        self.count = 0
        if stored is not None and self._references is not None:
            self.count, self._made_by = stored.count, stored.networks[entry.network].made_by
        self._gathered = tallies(self._names, entry.outputs)
        self.rows: list[Row] = []

    def add(self, index: int, row: Row) -> None:
        """Add the outputs for sample ``index``, as `device_runner.outputs` gives them.

        Raises:
            InputError: another shape than that of the references.
        """
        if self._references is None or index >= self.count:
            return
        self.rows.append(row)
        self._add(self._gathered, row, [stored[index] for stored in self._references])

    def tell(self, earlier: Mapping[str, tuple[Artifact, list[Row]]]) -> Fidelity | Unavailable:
        """What was gathered; ``earlier`` are the rows of artifacts that came before."""
        if self._references is None or not self.rows:
            return NO_REFERENCES
        entry = self._entry
        between = [
            self._against(other, rows)
            for other, rows in earlier.values()
            if (other.network, other.precision) == (entry.network, entry.precision)
            and len(rows) == len(self.rows)
            and other.id != entry.id
        ]
        outputs = tuple(one.result() for one in self._gathered)
        return Fidelity(self._made_by, len(self.rows), outputs, self._differing(), tuple(between))

    def _against(self, other: Artifact, rows: Sequence[Row]) -> Between:
        gathered = tallies(self._names, self._entry.outputs, other.outputs)
        for row, theirs in zip(self.rows, rows):
            reals = [to_reals(one, spec) for one, spec in zip(theirs, other.outputs)]
            self._add(gathered, row, reals)
        return Between(other.id, tuple(one.result() for one in gathered))

    def _differing(self) -> dict[str, tuple[int, ...] | Unavailable]:
        """By network, the samples whose answer is another than that of its references."""
        stored = self._bundle.manifest.references
        if self._bundle.task is None or stored is None:
            return {}
        task, settings = self._bundle.task
        rows = [reals_of(row, self._entry) for row in self.rows]
        differing: dict[str, tuple[int, ...] | Unavailable] = {}
        for network in stored.networks:
            wanted = self._bundle.references(network)
            assert wanted is not None
            try:
                differing[network] = _unlike(task, settings, wanted, rows)
            except InputError as error:  # another network's outputs may be of another shape
                differing[network] = Unavailable(str(error))
        return differing

    def _add(self, gathered: Sequence[FidelityTally], row: Row, expected: Sequence[Array]) -> None:
        for one, spec, output, wanted in zip(gathered, self._entry.outputs, row, expected):
            if output.shape != wanted.shape:
                raise InputError(
                    f"{self._entry.id}: the output {one.name} has shape {list(output.shape)}, its "
                    f"reference {list(wanted.shape)}: make the bundle again"
                )
            one.add(wanted[np.newaxis], to_reals(output, spec)[np.newaxis])


def _unlike(
    task: Task, settings: Settings, wanted: Sequence[Array], rows: Sequence[Row]
) -> tuple[int, ...]:
    """Samples whose answer is another one, by the task."""
    unlike: list[int] = []
    for start in range(0, len(rows), CHUNK):
        stop = min(start + CHUNK, len(rows))
        same = task.agree([one[start:stop] for one in wanted], _stacked(rows[start:stop]), settings)
        unlike += (start + np.flatnonzero(~same)).tolist()
    return tuple(unlike)


def reals_of(row: Row, entry: Artifact) -> Row:
    """Outputs for a sample as tasks take them: codes as float32, as DequantizeLinear has it.

    Others stay as they are.
    """
    return tuple(
        one if spec.scale is None else to_reals(one, spec).astype(np.float32)
        for one, spec in zip(row, entry.outputs)
    )


def _stacked(rows: Sequence[Sequence[Array]]) -> list[Array]:
    return [np.stack(parts) for parts in zip(*rows)]
