"""Taps of runtimes against references, sample by sample in lockstep."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Manifest
from edgeticket.device_runner.preprocess import preprocess
from edgeticket.device_runner.taps.file import Taps
from edgeticket.pipeline.diff.layout import channels_first
from edgeticket.pipeline.diff.measures import Tally
from edgeticket.pipeline.diff.reference import Reference
from edgeticket.pipeline.diff.result import Bounds, Diff, Pair
from edgeticket.pipeline.diff.subject import Row, Subject
from edgeticket.pipeline.progress import Progress

Array = npt.NDArray[Any]


def compare_taps(
    path: Path,
    taps: Sequence[Taps],
    references: Mapping[str, Reference],
    *,
    hosts: Mapping[str, Taps],
    bounds: Bounds,
    progress: Progress,
) -> Diff:
    """Compare.

    Args:
        path: the bundle that the taps are of.
        taps: what is judged.
        references: artifact id -> what it is judged by.
        hosts: artifact id -> taps of this machine, for running differences of a device against
            the host; artifacts without are compared with the reference.
        bounds: what a layer's own difference must keep to.
        progress: shows how far it is.

    Raises:
        InputError: taps that are not of this bundle, or damaged.
    """
    with open_bundle(path) as bundle:
        inputs = bundle.inputs()
        described, name = bundle.manifest.inputs, bundle.manifest.name
        stay = _as_stored(bundle.manifest, taps[0].facts.artifact.id)
        subjects = [Subject(bundle, t, references[t.facts.artifact.id]) for t in taps]
        locals_ = {key: Subject(bundle, t, references[key]) for key, t in hosts.items()}
    samples = min(subject.facts.samples for subject in (*subjects, *locals_.values()))
    if samples > len(inputs[0]):
        raise InputError(f"the taps are of {samples} samples, but {path} has {len(inputs[0])}")
    pairs = [_Couple(a, b) for a, b in itertools.combinations(subjects, 2) if _alike(a, b)]
    judges = {id(subject.reference): subject.reference for subject in subjects}
    with progress.task("comparing layers", samples) as advance:
        for i in range(samples):
            reals = [
                _prepared(stored[i : i + 1], one.preprocessing)
                for stored, one in zip(inputs, described, strict=True)
            ]
            images = [
                np.ascontiguousarray(real if stays else channels_first(real))
                for real, stays in zip(reals, stay, strict=True)
            ]
            computed = {key: judge.run(images, {}) for key, judge in judges.items()}
            rows: dict[Subject, Row] = {}
            for subject in subjects:
                expected = computed[id(subject.reference)]
                rows[subject] = subject.next_row(reals, expected)
                local = locals_.get(subject.artifact.id)
                host = local.next_row(reals, expected) if local else {}
                subject.gather(rows[subject], expected, images, host)
            for pair in pairs:
                pair.add(rows)
            advance(1, "")
    return Diff(
        bundle=name,
        samples=samples,
        bounds=bounds,
        artifacts=tuple(
            subject.conclude(
                bounds,
                running_against="this machine"
                if subject.artifact.id in locals_
                else subject.reference.title,
            )
            for subject in subjects
        ),
        pairs=tuple(pair.conclude() for pair in pairs),
    )


class _Couple:
    """The codes of two artifacts against each other."""

    def __init__(self, one: Subject, other: Subject) -> None:
        self._one, self._other = one, other
        self._tallies: dict[str, Tally] = {}

    def add(self, rows: Mapping[Subject, Row]) -> None:
        one, other = rows[self._one], rows[self._other]
        for name in one:
            if name in other and one[name].dtype == other[name].dtype:
                self._tallies.setdefault(name, Tally()).add(one[name], other[name], None)

    def conclude(self) -> Pair:
        found = {name: tally.difference() for name, tally in self._tallies.items()}
        layers = self._one.reference.layers
        differing = [layers.get(name, name) for name, d in found.items() if d.equal < 1]
        return Pair(
            one=self._one.artifact.id,
            other=self._other.artifact.id,
            values=len(found),
            first=differing[0] if differing else None,
            output=found[_output(self._one.facts.output, list(found))],
        )


def _prepared(stored: Array, steps: Sequence[Mapping[str, Any]]) -> Array:
    """Real numbers, channels last; whole ones of an input that takes those as they are."""
    if not steps and (stored.dtype == np.float32 or stored.dtype.kind in "ib"):
        return stored
    return preprocess(stored, steps)


def _as_stored(manifest: Manifest, artifact: str) -> list[bool]:
    """For each input whether references take its samples with the axes that are stored.

    They have the axes of the network's ONNX files: our own are channels first, those made
    elsewhere may be anything.
    """
    networks = {entry.id: entry.network for entry in manifest.artifacts}
    alike = [a for a in manifest.artifacts if a.network == networks.get(artifact)]
    files = [a for a in alike if a.runtime == "ort"]
    if not files:
        return [False] * len(manifest.inputs)
    return [spec.layout in ("plain", "NHWC", "NWC", "NDHWC") for spec in files[0].inputs]


def _output(name: str, tapped: Sequence[str]) -> str:
    """The output of a file among the values that both have; where it moves axes last, the value
    before that."""
    before = name.partition(".")[0]
    return next(each for each in (name, before, tapped[-1]) if each in tapped)


def _alike(a: Subject, b: Subject) -> bool:
    # Files with scales of their own have references of their own.
    same_network = a.artifact.network == b.artifact.network and a.reference is b.reference
    return same_network and a.artifact.precision == b.artifact.precision == "int8"
