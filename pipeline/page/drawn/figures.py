"""Answers that are numbers, labels, scores or directions, told by their figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.task.activations import ACTIVATIONS
from edgeticket.device_runner.task.anomaly import AnomalySettings
from edgeticket.device_runner.task.embeddings import EmbeddingsSettings
from edgeticket.device_runner.task.labels import LabelsSettings
from edgeticket.device_runner.task.numbers import NumbersSettings
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.drawn.scene import (
    Panel,
    Scene,
    given_panel,
    panel_size,
    picture_of,
    svg,
)

Array = npt.NDArray[Any]

SHOWN = 8  # numbers of an answer


def numbers(scene: Scene) -> tuple[Panel, ...]:
    """The first numbers, and how far they are from what is right."""
    settings: NumbersSettings = scene.settings
    right = None if scene.right is None else scene.right["values"][0]
    panels = [*given_panel(scene)]
    panels += [] if right is None else [Panel("right", None, (_listed(right),))]
    for answer in scene.answers:
        values = answer.outputs[settings.output]
        lines = [_listed(values)]
        if right is not None and right.size == values.size:
            error = np.abs(values.ravel().astype(np.float64) - right.ravel()).max()
            lines.append(f"at most {error:.3g} off")
        panels.append(Panel(answer.title, None, tuple(lines), answer.note))
    return tuple(panels)


def labels(scene: Scene) -> tuple[Panel, ...]:
    """The labels that are given, with their probability."""
    settings: LabelsSettings = scene.settings
    panels = [*given_panel(scene)]
    if scene.right is not None:
        right = np.flatnonzero(scene.right["labels"][0] == 1)
        panels.append(Panel("right", None, (_names(scene, right) or "none",)))
    for answer in scene.answers:
        shares = ACTIVATIONS[settings.activation](answer.outputs[settings.output])
        given = np.flatnonzero(shares > settings.threshold)
        told = [f"{scene.label(int(i))} {shares[i]:.2f}" for i in given[:SHOWN]]
        more = [f"{len(given) - SHOWN} more"] if len(given) > SHOWN else []
        lines = (", ".join(told + more) or "none",)
        panels.append(Panel(answer.title, None, lines, answer.note))
    return tuple(panels)


def anomaly(scene: Scene) -> tuple[Panel, ...]:
    """The score, as the task has it, and what was rebuilt where that is a picture."""
    settings: AnomalySettings = scene.settings
    panels = [*given_panel(scene)]
    if scene.right is not None:
        is_unusual = bool(scene.right["anomalous"][0])
        panels.append(Panel("right", None, ("unusual" if is_unusual else "usual",)))
    for answer in scene.answers:
        output = answer.outputs[settings.output].astype(np.float64)
        lines, drawing = [f"score {output.mean():.4g}"], None
        if settings.score == "error":
            if scene.right is None or "input" not in scene.right:
                return ()
            original = scene.right["input"][0].astype(np.float64)
            error = ((output.ravel() - original.ravel()) ** 2).mean()
            lines = [f"mean squared error {error:.4g}"]
            body = picture_of(output, (float(original.min()), float(original.max())))
            if body is not None:
                alt = f"sample {scene.index}, rebuilt by {answer.title}: {lines[0]}"
                drawing = svg(body, size=panel_size(*output.shape[-2:]), words=alt)
        elif settings.threshold is not None:
            lines.append("unusual" if output.mean() > settings.threshold else "usual")
        panels.append(Panel(answer.title, drawing, tuple(lines), answer.note))
    return tuple(panels)


def embeddings(scene: Scene) -> tuple[Panel, ...]:
    """How near each direction is to that of the first answer."""
    settings: EmbeddingsSettings = scene.settings
    first = scene.answers[0].outputs[settings.output].ravel().astype(np.float64)
    panels = [*given_panel(scene)]
    for answer in scene.answers[1:]:
        other = answer.outputs[settings.output].ravel().astype(np.float64)
        length = float(np.linalg.norm(first) * np.linalg.norm(other))
        cosine = float(first @ other) / length if length else 0.0
        lines = (f"cosine {cosine:.4f} to the first answer",)
        panels.append(Panel(answer.title, None, lines, answer.note))
    return tuple(panels) if len(scene.answers) > 1 else ()


def _listed(values: Array) -> str:
    flat = values.ravel()
    told = ", ".join(f"{value:.4g}" for value in flat[:SHOWN])
    return told if flat.size <= SHOWN else f"{told}, … ({flat.size:,} numbers)"


def _names(scene: Scene, which: Array) -> str:
    shown = [scene.label(int(i)) for i in which[:SHOWN]]
    more = [f"{len(which) - SHOWN} more"] if len(which) > SHOWN else []
    return words.listed(shown + more) if shown else ""
