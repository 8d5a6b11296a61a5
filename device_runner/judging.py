"""All samples of a bundle through one artifact: what its task asks, and how faithful it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.accuracy import Unjudged, as_judged, judge
from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.bundle import Bundle, Targets
from edgeticket.device_runner.ctc import Decoder, find_separator
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import (
    Between,
    Difference,
    Fidelity,
    differences,
    to_reals,
)
from edgeticket.device_runner.manifest import Artifact, Manifest
from edgeticket.device_runner.npy import format_npy
from edgeticket.device_runner.outputs import Query, answers
from edgeticket.device_runner.report import Accuracy, Transcription, Unlabelled
from edgeticket.device_runner.unavailable import Unavailable

Array = npt.NDArray[Any]
Row = tuple[Array, ...]

NO_REFERENCES = Unavailable(
    "the bundle carries no reference outputs: make it again with this version"
)


@dataclass
class Judging:
    """What the artifacts of a session are judged by; they are judged one after another.

    ``own``: ``inputs`` are the bundle's own, from the first.
    """

    bundle: Bundle
    inputs: Sequence[Array]
    targets: Targets
    own: bool = True
    beam: int | None = None  # beginnings that a decoder of transcripts keeps; None: greedily
    outputs: Path | None = None  # folder where all outputs are kept; None: nowhere
    _kept: dict[str, tuple[Artifact, list[Row]]] = field(default_factory=dict)

    def judge(
        self, query: Query, entry: Artifact
    ) -> tuple[Accuracy | Transcription | Unlabelled, Fidelity | Unavailable]:
        """All samples through ``query``, which answers for ``entry``.

        Raises:
            InputError: the samples do not fit, or an output is not finite.
        """
        manifest = self.bundle.manifest
        faithful = _Faithful(self.bundle, entry)
        is_asked = self.targets is not None
        unjudged, rows = Unjudged(), []
        described = manifest.inputs
        found = answers(query, self.inputs, described=described, artifact=entry)
        for i, row in enumerate(found):
            if self.own:
                faithful.add(i, row)
            if not is_asked:
                unjudged.add(row)
            if is_asked or self.outputs is not None:
                rows.append(row)
        if not self.own:
            some = [stored[: faithful.count] for stored in self.bundle.inputs()]
            for i, row in enumerate(answers(query, some, described=described, artifact=entry)):
                faithful.add(i, row)
        stacked = [np.stack(parts) for parts in zip(*rows)]
        if is_asked:
            stacked = [as_judged(stacked[0], entry)]
        if self.outputs is not None:
            _keep(stacked, self.outputs, entry.id)
        fidelity = faithful.tell(self._kept)
        self._kept[entry.id] = entry, faithful.rows
        if self.targets is None:
            return unjudged.tell(self.inputs, random=manifest.samples.random), fidelity
        decoder = _decoder(manifest, entry, self.beam)
        return (
            judge(
                stacked[0], self.inputs[0], self.targets, symbols=manifest.labels, decoder=decoder
            ),
            fidelity,
        )


class _Faithful:
    """The first rows of an artifact, against the references and against those of others."""

    def __init__(self, bundle: Bundle, entry: Artifact) -> None:
        self._entry, self._names = entry, bundle.manifest.outputs
        stored = bundle.manifest.references
        self._references = bundle.references(entry.network)
        self._made_by = ""
        self.count = 0
        if stored is not None and self._references is not None:
            self.count, self._made_by = stored.count, stored.networks[entry.network].made_by
        self._gathered = differences(self._names, entry.outputs)
        self.rows: list[Row] = []

    def add(self, index: int, row: Row) -> None:
        if self._references is None or index >= self.count:
            return
        self.rows.append(row)
        _add(self._gathered, self._entry, row, [stored[index] for stored in self._references])

    def tell(self, earlier: Mapping[str, tuple[Artifact, list[Row]]]) -> Fidelity | Unavailable:
        if self._references is None or not self.rows:
            return NO_REFERENCES
        entry = self._entry
        between = [
            Between(other.id, self._against(other, rows))
            for other, rows in earlier.values()
            if (other.network, other.precision) == (entry.network, entry.precision)
            and len(rows) == len(self.rows)
            and other.id != entry.id
        ]
        outputs = tuple(one.tell() for one in self._gathered)
        return Fidelity(self._made_by, len(self.rows), outputs, tuple(between))

    def _against(self, other: Artifact, rows: Sequence[Row]) -> Any:
        gathered = differences(self._names, self._entry.outputs, other.outputs)
        for row, theirs in zip(self.rows, rows):
            reals = [to_reals(one, spec) for one, spec in zip(theirs, other.outputs)]
            _add(gathered, self._entry, row, reals)
        return tuple(one.tell() for one in gathered)


def _add(
    gathered: Sequence[Difference], entry: Artifact, row: Row, expected: Sequence[Array]
) -> None:
    for one, spec, found, wanted in zip(gathered, entry.outputs, row, expected):
        if found.shape != wanted.shape:
            raise InputError(
                f"{entry.id}: the output {one.name} has shape {list(found.shape)}, its reference "
                f"{list(wanted.shape)}: make the bundle again"
            )
        one.add(wanted, to_reals(found, spec))


def _decoder(manifest: Manifest, entry: Artifact, beam: int | None) -> Decoder:
    return Decoder(
        beam,
        entry.output.scale,
        separator=find_separator(manifest.labels),
        separator_bias=manifest.separator_bias,
    )


def _keep(outputs: Sequence[Array], folder: Path, artifact: str) -> None:
    """One file for each output; those of an artifact with several are in a folder of its own."""
    several = len(outputs) > 1
    make_folder(folder / artifact if several else folder)
    for i, output in enumerate(outputs):
        file = folder / artifact / f"{i}.npy" if several else folder / f"{artifact}.npy"
        write_atomic(file, format_npy(output))
