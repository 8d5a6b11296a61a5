"""The question put: both sides are run on the same samples, and every cause is judged."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.instructions import DOT_PRODUCTS
from edgeticket.device_runner.machine import describe_machine
from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.external.samples import read_arrays
from edgeticket.pipeline.why.causes import CAUSES
from edgeticket.pipeline.why.finding import Finding
from edgeticket.pipeline.why.pair import Pair
from edgeticket.pipeline.why.subject import Subject
from edgeticket.pipeline.why.trace import Match, fit, layer_names, match, trace

Array = npt.NDArray[Any]

SAMPLES = 16
SEED = 0
PARTED_DB = 20.0  # of a rounded file: an error of a tenth
PARTED_FLOAT_DB = 60.0  # of two in float32, whose last bits differ at 120 dB and more


@dataclass(frozen=True)
class LayerDistance:
    """One value of both: how far the second is from the first."""

    layer: str
    value: str
    sqnr_db: float


@dataclass(frozen=True)
class Answer:
    """What was found.

    parted: the first layer that is further off than its precision explains; None: there is none.
    samples: how many were run; 0: the two could not be run side by side. drawn: they were noise.
    """

    first: str
    second: str
    findings: tuple[Finding, ...]
    layers: tuple[LayerDistance, ...]
    parted: str | None
    samples: int
    drawn: bool

    @property
    def exit_code(self) -> int:
        """0: nothing was found; 1: a cause, or a layer that parts without a known one."""
        return 1 if self.findings or self.parted is not None else 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with the exit code and the lines of each remedy."""
        from edgeticket.pipeline.why.remedy import yaml_lines

        document: dict[str, Any] = to_json(self)
        for entry, finding in zip(document["findings"], self.findings, strict=True):
            entry["remedy"]["recipe"] = yaml_lines(finding.remedy)
        return document | {"exit_code": self.exit_code}


def why(
    first: Subject,
    second: Subject,
    *,
    samples: Path | None = None,
    count: int = SAMPLES,
    without_dot_products: bool = False,
) -> Answer:
    """Say where ``second`` parts from ``first``, and why.

    Args:
        first: taken to be right.
        second: what is asked about.
        samples: a .npy or .npz of inputs as the first takes them; None: of the bundle that one of
            the two is in, else noise, which says nothing of ranges.
        count: how many samples.
        without_dot_products: judge the second as for an x86 CPU without VNNI.

    Raises:
        InputError: they cannot be run on the same samples, or there is nothing to judge.
    """
    dot_products = not without_dot_products and _has_dot_products(second)
    pair = Pair(first, second, dot_products=dot_products)
    if first.file is None and second.file is None:
        if (first.report is None) != (second.report is None):
            raise InputError(
                f"{first.title} and {second.title} are a report of `bench` and one of `layers`, "
                "which say nothing of each other: give two of a kind, or --bundle"
            )
    elif first.file is not None and second.file is not None:
        pair = _run(pair, samples, count)
    findings = tuple(f for judge in CAUSES.values() for f in judge(pair))
    layers = tuple(LayerDistance(pair.layer(m.name), m.name, m.sqnr_db) for m in pair.matches)
    return Answer(
        first.title,
        second.title,
        _in_order(findings, layers),
        layers,
        _parted(pair),
        len(pair.matches[0].ours) if pair.matches else 0,
        pair.drawn,
    )


def _in_order(findings: Sequence[Finding], layers: Sequence[LayerDistance]) -> tuple[Finding, ...]:
    """By the place of their layers within each cause, causes as they are listed."""
    places = {layer.layer: i for i, layer in reversed(list(enumerate(layers)))}
    order = {cause: i for i, cause in enumerate(CAUSES)}
    return tuple(sorted(findings, key=lambda f: (order[f.cause], places.get(f.layer or "", 0))))


def _parted(pair: Pair) -> str | None:
    one, other = pair.first.file, pair.second.file
    if one is None or other is None:
        return None
    rounded = "int8" in (one.precision, other.precision)
    bound = PARTED_DB if rounded else PARTED_FLOAT_DB
    return next((pair.layer(m.name) for m in pair.matches if m.sqnr_db < bound), None)


def _run(pair: Pair, samples: Path | None, count: int) -> Pair:
    first, second = pair.first, pair.second
    assert first.file is not None
    assert second.file is not None
    drawn, given = False, None
    if samples is not None:
        arrays = list(read_arrays(samples).values())[: len(first.file.inputs)]
        real = fit(first.file, [array[:count].astype(np.float32) for array in arrays])
    elif first.stored:
        real = [x.astype(np.float32) for x in first.inputs(first.stored, count)]
    elif second.stored:
        real = fit(first.file, [x.astype(np.float32) for x in second.inputs(second.stored, count)])
    else:
        drawn = True
        rng = np.random.default_rng(SEED)
        shapes = [spec.shape[1:] for spec in first.file.inputs]
        real = [rng.standard_normal((count, *shape)).astype(np.float32) for shape in shapes]
    if not all(len(x) for x in real):
        raise InputError("there is no sample to run")
    inputs = fit(second.file, real)
    if samples is None and first.stored and second.described:
        given = list(second.inputs(first.stored, count))
    one = trace(first.file, real)
    file = second.file

    def retrace(changed: Sequence[Array]) -> Sequence[Match]:
        return match(one, trace(file, [np.ascontiguousarray(x, np.float32) for x in changed]))

    other = trace(file, inputs if given is None else given)
    return replace(
        pair,
        matches=match(one, other),
        second_trace=other,
        inputs=inputs,
        given=given,
        drawn=drawn,
        retrace=retrace if given is None else None,
        layers=layer_names(file),
    )


def _has_dot_products(subject: Subject) -> bool:
    machine = subject.machine or describe_machine()
    if (machine.architecture or platform.machine()) != "x86_64":
        return True
    present = machine.int8_instructions
    return isinstance(present, Unavailable) or bool(set(present) & set(DOT_PRODUCTS))
