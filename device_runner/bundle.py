"""Reads a bundle, a folder or a .zip of its contents, as input that nobody vouches for.

Reading never writes, never executes, and never follows a link. Bytes leave this module only after
their size and SHA-256 agreed with the manifest. A file that the manifest does not list is never
opened; in a zip its name must be harmless all the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.chunks import Chunks
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import (
    CLASSES,
    DTYPES,
    TRANSCRIPTS,
    Manifest,
    read_manifest,
)
from edgeticket.device_runner.manifest.fields import only
from edgeticket.device_runner.npy import parse_npy
from edgeticket.device_runner.npz import parse_npz
from edgeticket.device_runner.recordings import Transcripts, parse_recordings, to_queries
from edgeticket.device_runner.regular import is_regular
from edgeticket.device_runner.signing import (
    SIGNATURE,
    SIGNATURE_LIMIT_BYTES,
    SignatureError,
    verify_signature,
)
from edgeticket.device_runner.stores import MANIFEST, ZIP_ERRORS, FolderStore, Store, ZipStore
from edgeticket.device_runner.task import Settings, Task, read_settings
from edgeticket.device_runner.unavailable import Unavailable

__all__ = ["MANIFEST", "Bundle", "Targets", "open_bundle"]

MANIFEST_LIMIT_BYTES = 8 * 2**20
FILE_LIMIT_BYTES = 2 * 2**30  # a file is held in memory

Array = npt.NDArray[Any]
Targets = Union[npt.NDArray[np.int64], Transcripts, Mapping[str, Array], None]
"""The class of each sample; what was said in the recordings that queries were cut from; the arrays
of another task; or none."""


class Bundle:
    """An open bundle. Every read is checked against the manifest."""

    def __init__(self, store: Store, *, place: str) -> None:
        data = store.read(MANIFEST, limit=MANIFEST_LIMIT_BYTES)
        if len(data) > MANIFEST_LIMIT_BYTES:
            raise InputError(f"{place}: {MANIFEST} is larger than {MANIFEST_LIMIT_BYTES} bytes")
        self.manifest: Manifest = read_manifest(data, place=f"{place}: {MANIFEST}")
        self.manifest_bytes: bytes = data
        self.digest: str = hashlib.sha256(data).hexdigest()
        self._store = store
        self._place = place
        self._entries = {entry.path: entry for entry in self.manifest.files}

    @property
    def task(self) -> tuple[Task, Settings] | None:
        """What is asked of the outputs, with its settings; None: transcripts, which have no such
        rules."""
        task = self.manifest.task
        if task.name == TRANSCRIPTS:
            return None
        return read_settings(task.name, task.settings, place=f"{self._place}: {MANIFEST}: task")

    def verify_signature(self, keys: Sequence[tuple[str, bytes]]) -> str:
        """Ask that one of ``keys`` signed the manifest -> the fingerprint of that key.

        Raises:
            SignatureError: unsigned, or as `signing.verify_signature`.
        """
        try:
            signature = self._store.read(SIGNATURE, limit=SIGNATURE_LIMIT_BYTES)
        except InputError as error:
            raise SignatureError(
                f"{self._place} is not signed, and has to be: `edgeticket sign` does it ({error})"
            ) from None
        return verify_signature(signature, self.manifest_bytes, keys, place=self._place)

    def read(self, path: str) -> bytes:
        """A listed file, whole.

        Raises:
            InputError: not listed, missing, or other bytes than the manifest was made for.
        """
        if path not in self._entries:
            raise InputError(f"{self._place}: {path!r} is not listed in {MANIFEST}")
        entry = self._entries[path]
        if entry.size_bytes > FILE_LIMIT_BYTES:
            raise InputError(
                f"{self._place}: {path} has {entry.size_bytes} bytes, "
                f"more than the limit of {FILE_LIMIT_BYTES}"
            )
        data = self._store.read(path, limit=entry.size_bytes)
        if len(data) != entry.size_bytes:
            found = "more" if len(data) > entry.size_bytes else f"only {len(data)}"
            raise InputError(
                f"{self._place}: {path} should have {entry.size_bytes} bytes and has {found}: "
                "copy the bundle again"
            )
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise InputError(
                f"{self._place}: {path} is not the file that {MANIFEST} describes "
                "(SHA-256 differs): copy the bundle again"
            )
        return data

    def samples(self, count: int | None = None) -> tuple[Array, Targets]:
        """`examples` of a bundle whose networks have one input."""
        inputs, targets = self.examples(count)
        return only(inputs, f"{self._place}: inputs"), targets

    def examples(self, count: int | None = None) -> tuple[tuple[Array, ...], Targets]:
        """Inputs as `device_runner.preprocess` takes them, one array for each input, and what is
        right; read-only. Of recordings the queries that they are cut into, and what was said.

        Args:
            count: only the first so many; None: all.

        Raises:
            InputError: as `read`; no .npy of a dtype and rank that there may be; counts that
                disagree; a label without a name.
        """
        samples, chunks = self.manifest.samples, self.manifest.chunks
        if count is not None and count > samples.count:
            raise InputError(f"{count} samples were asked for, the bundle has {samples.count}")
        if chunks is not None:
            queries, said = self._recordings(chunks, count)
            return (queries,), said
        stored = tuple(map(self._input, range(len(self.manifest.inputs))))
        labels = self._labels() if self.manifest.task.name == CLASSES else None
        lengths = [len(one) for one in stored] + ([] if labels is None else [len(labels)])
        if set(lengths) != {samples.count}:
            told = (
                f"{lengths[0]} inputs" if len(stored) == 1 else f"{lengths[: len(stored)]} inputs"
            )
            also = "" if labels is None else f" and {len(labels)} labels"
            raise InputError(
                f"{self._place}: {MANIFEST} counts {samples.count} samples, but there are "
                f"{told}{also}"
            )
        targets = self._targets(count) if labels is None else labels[:count]
        return tuple(one[:count] for one in stored), targets

    def inputs(self, count: int | None = None) -> tuple[Array, ...]:
        """Those of `examples`."""
        return self.examples(count)[0]

    def references(self, network: str) -> tuple[Array, ...] | None:
        """The reference outputs of a network, [count, ...] each, or None if there are none.

        Raises:
            InputError: as `read`; no .npy, or another number of samples.
        """
        stored = self.manifest.references
        if stored is None or network not in stored.networks:
            return None
        files = stored.networks[network].files
        return self._outputs(files, stored.count, what="references")

    def golden(self, artifact: str) -> tuple[Array, ...]:
        """What an artifact has to answer to the first queries, [queries, ...] for each output.

        Raises:
            InputError: as `references`; nothing is promised of it.
        """
        proof = self.manifest.proof
        promised = None if proof is None else proof.artifacts.get(artifact)
        if proof is None or promised is None or isinstance(promised, Unavailable):
            raise InputError(f"{self._place}: {MANIFEST} promises no answers of {artifact}")
        return self._outputs(promised.files, proof.queries, what="answers")

    def _outputs(self, files: Sequence[str], count: int, *, what: str) -> tuple[Array, ...]:
        arrays = []
        for path in files:
            place = self._in(path)
            array = parse_npy(self.read(path), dtypes=DTYPES, ranks=range(1, 9), place=place)
            if len(array) != count:
                raise InputError(f"{place} has {len(array)} {what}, {MANIFEST} counts {count}")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InputError(f"{place} has {what} that are not finite")
            arrays.append(array)
        return tuple(arrays)

    def _input(self, number: int) -> Array:
        path = self.manifest.inputs[number].samples
        ranks = {2, 3, 4} | {
            1 + len(artifact.inputs[number].sample_shape) for artifact in self.manifest.artifacts
        }
        place = self._in(path)
        inputs = parse_npy(self.read(path), dtypes=DTYPES, ranks=sorted(ranks), place=place)
        if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
            raise InputError(f"{place} has samples that are not finite")
        return inputs

    def _targets(self, count: int | None) -> Mapping[str, Array] | None:
        """Those of a task that is neither classes nor transcripts, for the first samples."""
        path, every, asked = self.manifest.samples.targets, self.manifest.samples.count, self.task
        if path is None or asked is None:
            return None
        place = self._in(path)
        arrays = parse_npz(self.read(path), place=place)
        task, settings = asked
        try:
            task.check(arrays, settings, every)
            if count is None or count == every:
                return arrays
            first = task.take_first(arrays, count)
            task.check(first, settings, count)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        return first

    def _labels(self) -> npt.NDArray[np.int64]:
        path = self.manifest.samples.targets
        assert path is not None  # classes have them, see `check_task`
        labels = parse_npy(self.read(path), dtypes=["int64"], ranks=[1], place=self._in(path))
        low, high, classes = int(labels.min()), int(labels.max()), len(self.manifest.labels)
        if low < 0 or high >= classes:
            raise InputError(
                f"{self._in(path)} has labels from {low} to {high}, "
                f"but {MANIFEST} names {classes} classes"
            )
        return labels

    def _recordings(
        self, chunks: Chunks, count: int | None
    ) -> tuple[npt.NDArray[np.int16], Transcripts]:
        samples, waveforms = self.manifest.samples, self.manifest.input.samples
        assert samples.targets is not None  # transcripts have them, see `check_manifest`
        flat, lengths, texts = parse_recordings(
            self.read(waveforms),
            self.read(samples.targets),
            places=(self._in(waveforms), self._in(samples.targets)),
        )
        if len(lengths) != samples.count:
            raise InputError(
                f"{self._place}: {MANIFEST} counts {samples.count} samples, but there are "
                f"{len(lengths)} recordings"
            )
        return to_queries(flat[: sum(lengths[:count])], lengths[:count], texts[:count], chunks)

    def _in(self, path: str) -> str:
        return f"{self._place}: {path}"


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a bundle for reading; the manifest is checked at once, every other file when read.

    Raises:
        InputError: neither a folder nor a zip, or anything in it that is not as it should be.
    """
    if os.path.isdir(path):  # unlike Path.is_dir, quiet about a path that cannot be looked at
        yield Bundle(FolderStore(path), place=str(path))
        return
    if os.path.lexists(path) and not is_regular(path):
        raise InputError(f"{path} is no bundle: give a bundle folder or its .zip")
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
        except FileNotFoundError:
            raise InputError(f"{path} does not exist: give a bundle folder or its .zip") from None
        except ZIP_ERRORS as error:
            raise InputError(f"{path} is no bundle folder and no usable zip: {error}") from None
        yield Bundle(ZipStore(archive, place=str(path)), place=str(path))
