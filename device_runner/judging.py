"""All samples of a bundle through one artifact: what its task asks, and how faithful it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.accuracy import (
    CheckSums,
    as_judged,
    judge,
    tell_scores,
    tell_unlabelled,
)
from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.bundle import Bundle, Targets
from edgeticket.device_runner.ctc import Decoder, find_separator
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.faithful import Faithful, reals_of
from edgeticket.device_runner.fidelity import Fidelity
from edgeticket.device_runner.manifest import Artifact, Manifest
from edgeticket.device_runner.npy import format_npy
from edgeticket.device_runner.npz import format_npz
from edgeticket.device_runner.outputs import CHUNK, Query, answers
from edgeticket.device_runner.report import Judged
from edgeticket.device_runner.task import Tally
from edgeticket.device_runner.task.kind import PIECE_BYTES
from edgeticket.device_runner.unavailable import Unavailable

Array = npt.NDArray[Any]
Row = tuple[Array, ...]


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
    packed: Path | None = None  # the same, one .npz an artifact
    not_finite: dict[str, str] = field(default_factory=dict)  # artifact -> the first such output
    _kept: dict[str, tuple[Artifact, list[Row]]] = field(default_factory=dict)

    def try_first(self, query: Query, entry: Artifact) -> None:
        """Judge the first sample, so that what does not fit is said before anything is timed.

        Raises:
            InputError: as `judge`.
        """
        if not isinstance(self.targets, Mapping) or self.bundle.task is None:
            return
        task, settings = self.bundle.task
        first = [stored[:1] for stored in self.inputs]
        tallied = _Tallied(task.make_tally(task.take_first(self.targets, 1), settings, 1), entry)
        described = self.bundle.manifest.inputs
        for row in answers(query, first, described=described, artifact=entry, only_finite=False):
            tallied.add(row)
        tallied.finish()

    def judge(self, query: Query, entry: Artifact) -> tuple[Judged, Fidelity | Unavailable]:
        """All samples through ``query``, which answers for ``entry``.

        Outputs that are not finite make the metrics of a task unavailable, and `not_finite` names
        the first.

        Raises:
            InputError: the samples do not fit, or an output of which classes or texts are read is
                not finite; others make metrics unavailable, and fidelity counts them.
        """
        manifest, targets = self.bundle.manifest, self.targets
        faithful, sums, rows = Faithful(self.bundle, entry), CheckSums(), []
        tallied = self._tallied(entry)
        is_stacked = targets is not None and tallied is None  # classes and transcripts
        ask = partial(
            answers,
            query,
            described=manifest.inputs,
            artifact=entry,
            only_finite=is_stacked,  # a highest class or a text of NaN would be made up
        )
        for i, row in enumerate(ask(self.inputs)):
            self._look_for_nonfinite(i, row, entry)
            if self.own:
                faithful.add(i, row)
            if not is_stacked:
                sums.add(row)
            if tallied is not None:
                tallied.add(row)
            if is_stacked or self.outputs is not None or self.packed is not None:
                rows.append(row)
        if not self.own:
            some = [stored[: faithful.count] for stored in self.bundle.inputs()]
            for i, row in enumerate(ask(some)):
                faithful.add(i, row)
        stacked = [np.stack(parts) for parts in zip(*rows)]
        if self.packed is not None:
            make_folder(self.packed)
            named = {f"output_{i}": output for i, output in enumerate(stacked)}
            write_atomic(self.packed / f"{entry.id}.npz", format_npz(named))
        if is_stacked:
            stacked = [as_judged(stacked[0], entry)]
        if self.outputs is not None:
            _keep(stacked, self.outputs, entry.id)
        fidelity = faithful.tell(self._kept)
        self._kept[entry.id] = entry, faithful.rows
        if tallied is not None and self.bundle.task is not None:
            task, _ = self.bundle.task
            return tell_scores(
                tallied.finish(), sums, self.inputs, task=task, settings=manifest.task.settings
            ), fidelity
        if targets is None or isinstance(targets, Mapping):
            return tell_unlabelled(sums, self.inputs, random=manifest.samples.random), fidelity
        decoder = _decoder(manifest, entry, self.beam)
        judged = judge(
            stacked[0], self.inputs[0], targets, symbols=manifest.labels, decoder=decoder
        )
        return judged, fidelity

    def _look_for_nonfinite(self, index: int, row: Row, entry: Artifact) -> None:
        if entry.id in self.not_finite:
            return
        for one, name in zip(row, self.bundle.manifest.outputs):
            if one.dtype.kind == "f" and not np.isfinite(one).all():
                self.not_finite[entry.id] = f"the output {name} is not finite for sample {index}"
                return

    def _tallied(self, entry: Artifact) -> _Tallied | None:
        if not isinstance(self.targets, Mapping) or self.bundle.task is None:
            return None
        task, settings = self.bundle.task
        return _Tallied(task.make_tally(self.targets, settings, len(self.inputs[0])), entry)


class _Tallied:
    """Gathers answers for a task, in batches of bounded size."""

    def __init__(self, tally: Tally, entry: Artifact) -> None:
        self.tally, self._entry = tally, entry
        self._rows: list[Row] = []
        self._bytes = 0

    def add(self, row: Row) -> None:
        """Add the outputs for the next sample."""
        self._rows.append(reals_of(row, self._entry))
        self._bytes += sum(one.nbytes for one in self._rows[-1])
        if self._bytes >= PIECE_BYTES or len(self._rows) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        outputs = [np.stack(parts) for parts in zip(*self._rows)]
        try:
            self.tally.add(outputs)
        except InputError as error:
            raise InputError(f"{self._entry.id}: {error}") from None
        self._rows, self._bytes = [], 0

    def finish(self) -> Tally:
        """The tally of all samples."""
        self._flush()
        return self.tally


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
