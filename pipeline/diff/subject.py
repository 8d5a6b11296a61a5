"""One runtime's taps, brought into the reference's order and gathered against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import InputSpec, TensorSpec
from edgeticket.device_runner.preprocess import prepare
from edgeticket.device_runner.taps.file import Kernels, TapFacts, Taps
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.diff.answers import Answers
from edgeticket.pipeline.diff.layout import Order, find_order
from edgeticket.pipeline.diff.measures import Saturation, Tally
from edgeticket.pipeline.diff.reference import Reference
from edgeticket.pipeline.diff.result import ArtifactDiff, Bounds, Layer
from edgeticket.pipeline.diff.saturation import (
    Product,
    can_saturate,
    read_products,
    saturated_share,
)
from edgeticket.pipeline.diff.values import read_quantizations, signed, to_codes, to_reals
from edgeticket.pipeline.graph.graph import Quantization

Array = npt.NDArray[Any]
Row = Mapping[str, Array]
"""Value -> codes −128..127 in int32, or float32, in the reference's order, for one sample."""

SATURATION_SAMPLES = 4  # a second each for a small network
SAME_SCALE = 1e-6  # files hold scales as float32, some readers as its decimal text


@dataclass
class _Gathered:
    own: Tally = field(default_factory=Tally)
    running: Tally = field(default_factory=Tally)
    saturation: Saturation = field(default_factory=Saturation)


class Subject:
    """A taps file that is judged."""

    def __init__(self, bundle: Bundle, taps: Taps, reference: Reference) -> None:
        """Match the file with the bundle.

        Raises:
            InputError: it was made from another bundle.
        """
        self.facts, self.reference = taps.facts, reference
        known = {artifact.id: artifact for artifact in bundle.manifest.artifacts}
        if self.facts.bundle.digest != bundle.digest or self.facts.artifact.id not in known:
            raise InputError(
                f"{taps.place} was made from another bundle ({self.facts.bundle.name}, artifact "
                f"{self.facts.artifact.id}); tap this one"
            )
        self.artifact = known[self.facts.artifact.id]
        self._rows = taps.rows()
        self._quantizations = _quantizations(bundle, self.artifact.file, self.facts)
        for spec in self.artifact.inputs:
            self._quantizations |= _of_input(spec)
        self._orders: dict[str, Order | None] = {}
        self._gathered: dict[str, _Gathered] = {}
        self._answers = Answers(bundle, self.artifact.outputs)
        self._products: list[Product] = []
        if self.artifact.exact_with and self.facts.runtime.name == "ort":
            data = bundle.read(self.artifact.file)
            self._products = read_products(data, title=self.artifact.id)
        self._saturated: dict[str, list[float]] = {}

    def next_row(self, reals: Sequence[Array], expected: Mapping[str, Array]) -> Row:
        """The next sample's values.

        Args:
            reals: the sample, preprocessed, one array for each input, channels last.
            expected: what the reference computes for it, real numbers.
        """
        specs = self.artifact.inputs
        plain = [InputSpec(spec.name, "") for spec in specs]
        taken = prepare(reals, plain, specs, place=self.artifact.id)
        stored = {s.name: x for s, x in zip(specs, taken, strict=True)} | next(self._rows)
        maps = [array.shape for array in expected.values() if array.ndim > 2]
        row = {}
        for name in expected:
            if name not in stored:
                continue
            codes = signed(stored[name])
            if name not in self._orders:
                as_real = self._to_real(name, codes)
                self._orders[name] = find_order(as_real, expected[name], maps=maps)
            order = self._orders[name]
            if order is not None:
                row[name] = order(codes)
        return row

    def gather(
        self, row: Row, expected: Mapping[str, Array], images: Sequence[Array], host: Row
    ) -> None:
        """Add one sample.

        Args:
            row: what the runtime had.
            expected: what the reference computes.
            images: the sample as the reference takes it, channels first, for each input.
            host: what this machine's runtime had, to take running differences against; or empty.
        """
        given = {name: self._to_real(name, array) for name, array in row.items()}
        own = self.reference.run(images, given)
        for product in self._products:
            shares = self._saturated.setdefault(product.name, [])
            if product.source in row and len(shares) < SATURATION_SAMPLES:
                codes = (row[product.source] + 128).astype(np.uint8)
                shares.append(saturated_share(product, codes))
        for name, array in row.items():
            kept = self._gathered.setdefault(name, _Gathered())
            quantization = self._common(name)
            if self._quantizations.get(name) is not None:
                kept.saturation.add(array, self._quantizations[name])
            if quantization is None:
                kept.own.add(own[name], given[name], None)
            else:
                kept.own.add(to_codes(own[name], quantization), array, quantization)
            if name in host:
                kept.running.add(host[name], array, self._quantizations.get(name))
            elif quantization is None:
                kept.running.add(expected[name], given[name], None)
            else:
                kept.running.add(to_codes(expected[name], quantization), array, quantization)

        self._answers.add(given, expected, self._rounded)

    def conclude(self, bounds: Bounds, *, running_against: str) -> ArtifactDiff:
        """What all samples together say."""
        facts = self.facts
        wanted = self.reference.quantizations if self.artifact.precision == "int8" else ()
        machine, version = facts.machine, facts.runtime.version
        names = (machine.board, machine.cpu, machine.architecture)
        return ArtifactDiff(
            artifact=self.artifact.id,
            runtime=facts.runtime.package + (f" {version}" if isinstance(version, str) else ""),
            machine=next(name for name in names if isinstance(name, str)),
            reference=self.reference.title,
            running_against=running_against,
            task=self._answers.task,
            differing=self._answers.differing(),
            layers=tuple(self._layer(n, g, bounds) for n, g in self._gathered.items()),
            only_here=tuple(v.name for v in facts.values if v.name not in self._gathered),
            only_there=tuple(name for name in wanted if name not in self._gathered),
            changed_samples=facts.samples - facts.same_outputs,
            output_difference=facts.output_difference,
            changed_kernels=_changed(facts.kernels),
            saturating={name: sum(s) / len(s) for name, s in self._saturated.items() if any(s)},
            may_saturate=tuple(p.name for p in self._products if can_saturate(p)),
        )

    def _layer(self, name: str, gathered: _Gathered, bounds: Bounds) -> Layer:
        own, codes = gathered.own.difference(), self._common(name) is not None
        file, reference = self._quantizations.get(name), self.reference.quantizations.get(name)
        scales = None
        if file and reference and abs(file.scale / reference.scale - 1) > SAME_SCALE:
            scales = float(reference.scale), float(file.scale)
        return Layer(
            name=self.reference.layers.get(name, name),
            value=name,
            codes=codes,
            own=own,
            running=gathered.running.difference(),
            clipped=gathered.saturation.share() if file else None,
            scales=scales,
            over=bounds.broken_by(own, codes=codes),
        )

    def _common(self, name: str) -> Quantization | None:
        """The reference's quantization where both sides hold codes: they are compared as such."""
        both = name in self._quantizations
        return self.reference.quantizations.get(name) if both else None

    def _rounded(self, name: str, reals: Array) -> Array:
        """What the reference's codes for ``reals`` are worth; in float32 files themselves."""
        quantization = self._common(name)
        return (
            reals if quantization is None else to_reals(to_codes(reals, quantization), quantization)
        )

    def _to_real(self, name: str, array: Array) -> Array:
        quantization = self._quantizations.get(name)
        return array if quantization is None else to_reals(array, quantization)


def _quantizations(bundle: Bundle, file: str, facts: TapFacts) -> dict[str, Quantization]:
    """How the file rounds its values: as the runtime told, else as the ONNX file says."""
    if facts.runtime.name == "ort":
        return read_quantizations(bundle.read(file), title=file)
    return {
        v.name: Quantization(np.float32(v.scale), v.zero_point - 128 * (v.dtype == "uint8"))
        for v in facts.values
        if v.scale is not None and v.zero_point is not None
    }


def _of_input(spec: TensorSpec) -> dict[str, Quantization]:
    if spec.scale is None or spec.zero_point is None:
        return {}
    zero_point = spec.zero_point - 128 * (spec.dtype == "uint8")
    return {spec.name: Quantization(np.float32(spec.scale), zero_point)}


def _changed(kernels: Kernels | Unavailable) -> dict[str, tuple[int, int]]:
    if isinstance(kernels, Unavailable):
        return {}
    plain, tapped = (dict(k) for k in (kernels.plain, kernels.tapped))
    counts = {name: (plain.pop(name, 0), tapped.pop(name, 0)) for name in {**plain, **tapped}}
    return {name: pair for name, pair in sorted(counts.items()) if pair[0] != pair[1]}
