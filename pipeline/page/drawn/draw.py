"""Samples and who answered them -> panels, by the task."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import TaskScores
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.drawn import boxes, figures, images, masks, points, series
from edgeticket.pipeline.page.drawn.computed import Computed, compute
from edgeticket.pipeline.page.drawn.scene import Answer, Legend, Panel, Scene
from edgeticket.pipeline.page.sources import Measured, Sources

Array = npt.NDArray[Any]

LIMIT_BYTES = 2**28  # of the outputs of all answers; larger ones are not drawn


@dataclass(frozen=True)
class Drawn:
    """Panels of samples by number; ``legend``: of all panels together."""

    panels: Mapping[int, tuple[Panel, ...]]
    legend: tuple[Legend, ...] = ()


def draw_samples(
    sources: Sources, voices: Sequence[tuple[str, Sequence[Measured]]], indices: Sequence[int]
) -> Drawn:
    """Draw what ``voices`` answered to samples of the bundle.

    Args:
        sources: with the bundle that was measured; without one nothing is drawn.
        voices: title, and who answered so; the one that others are held against comes first.
        indices: of the samples.
    """
    bundle, manifest = sources.bundle, sources.manifest
    if bundle is None or manifest is None or manifest.task.name not in DRAWERS:
        return Drawn({})
    scenes = _scenes(bundle, voices, indices)
    draw = DRAWERS[manifest.task.name]
    panels = {}
    for scene in scenes:
        try:
            found = draw(scene)
        except InputError:  # outputs of another form than the settings say
            continue
        if found:
            panels[scene.index] = found
    legend = masks.explain(scenes) if panels and manifest.task.name == "masks" else ()
    return Drawn(panels, legend)


def _scenes(
    bundle: Path, voices: Sequence[tuple[str, Sequence[Measured]]], indices: Sequence[int]
) -> list[Scene]:
    """The samples with answers that are finite; none if nothing can be computed here."""
    speakers = [(title, _speaker(ones), ones) for title, ones in voices]
    ids = tuple(dict.fromkeys(one.report.artifact.id for _, one, _ in speakers))
    answers = compute(bundle, ids, indices)
    try:
        with open_bundle(bundle) as opened:
            asked, manifest = opened.task, opened.manifest
            inputs, targets = opened.examples()
    except InputError:
        return []
    if asked is None or not answers:
        return []
    scenes = []
    for row, index in enumerate(indices):
        given = [
            Answer(title, outputs, _note(one, ones, computed.sums[row], index))
            for title, one, ones in speakers
            if (computed := answers.get(one.report.artifact.id)) is not None
            if (outputs := _finite(computed, row)) is not None
        ]
        if given and sum(o.nbytes for answer in given for o in answer.outputs) <= LIMIT_BYTES:
            scenes.append(
                Scene(
                    index=index,
                    inputs=tuple(stored[index] for stored in inputs),
                    right=_only(targets, index) if isinstance(targets, Mapping) else None,
                    settings=asked[1],
                    labels=manifest.labels,
                    answers=tuple(given),
                )
            )
    return scenes


def _speaker(ones: Sequence[Measured]) -> Measured:
    """The one whose file is run here: rather one that is made for machines like this."""
    here = platform.machine()
    fitting = [one for one in ones if here in one.report.artifact.architectures]
    return (fitting or list(ones))[0]


def _finite(computed: Computed, row: int) -> tuple[Array, ...] | None:
    outputs = tuple(output[row] for output in computed.outputs)
    if all(np.isfinite(output).all() for output in outputs if output.dtype.kind == "f"):
        return outputs
    return None


def _note(one: Measured, ones: Sequence[Measured], total: int, index: int) -> str:
    """Whose measured answer the drawn one is, by the check sum of all its outputs."""
    same: list[int] = []
    other: list[int] = []
    for member in ones:
        accuracy = member.report.accuracy
        if not isinstance(accuracy, TaskScores):
            continue
        (same if accuracy.sample_crc32[index] == total else other).append(member.number)
    if not other:
        return "as measured, bit for bit"
    where = f"No. {one.number} computed again on the machine that made this page"
    if not same:
        return f"{where}; the bits that were measured differ"
    differ = "differs" if len(other) == 1 else "differ"
    return f"{words.numbers(same)}, bit for bit; {words.numbers(other)} {differ} in bits"


def _only(targets: Mapping[str, Array], index: int) -> Mapping[str, Array]:
    """The targets of one sample, as those of a set of one. Those of boxes have a row a box."""
    if "sample" not in targets:
        return {name: array[index : index + 1] for name, array in targets.items()}
    chosen = targets["sample"] == index
    found = {
        name: array[index : index + 1] if name == "size" else array[chosen]
        for name, array in targets.items()
    }
    return {**found, "sample": np.zeros_like(found["sample"])}


DRAWERS: Mapping[str, Callable[[Scene], tuple[Panel, ...]]] = {
    "anomaly": figures.anomaly,
    "boxes": boxes.draw,
    "embeddings": figures.embeddings,
    "images": images.draw,
    "keypoints": points.draw,
    "labels": figures.labels,
    "masks": masks.draw,
    "numbers": figures.numbers,
    "series": series.draw,
}
