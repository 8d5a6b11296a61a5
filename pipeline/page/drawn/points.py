"""Keypoints on their picture: rings for what is right, numbered crosses for what was answered."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from edgeticket.device_runner.task.keypoints import KeypointsSettings, decode
from edgeticket.device_runner.task.kind import Floats
from edgeticket.pipeline.page.drawn.scene import Panel, Scene, backdrop, picture_input, svg

SHOWN = 40  # points of a panel


def draw(scene: Scene) -> tuple[Panel, ...]:
    """Each answer over the picture; targets are taken for pixels of the stored sample."""
    behind, stored = backdrop(scene), picture_input(scene)
    if behind is None or stored is None:
        return ()
    settings: KeypointsSettings = scene.settings
    factors = np.array(behind.size) / np.array(stored.shape[1::-1])
    points = [
        decode(answer.outputs[settings.output][np.newaxis], settings)[0] for answer in scene.answers
    ]
    right: Floats | None = None
    if scene.right is not None:
        right = scene.right["points"][0].astype(np.float64)
        visible = scene.right.get("visible", np.ones((1, len(right))))[0] > 0
        right = np.where(visible[:, np.newaxis], right, np.nan)
    panels: list[Panel] = []
    for answer, of in zip(scene.answers, points, strict=True):
        body = behind.show(first=not panels)
        for point in () if right is None else right[:SHOWN]:
            if np.isfinite(point).all():
                body += Markup('<circle class="truth" cx="{:.1f}" cy="{:.1f}" r="6"/>').format(
                    *(point * factors)
                )
        for number, point in enumerate(of[:SHOWN]):
            x, y = point * factors
            body += Markup(
                '<path class="halo" d="{0}"/><path class="shared" d="{0}"/>'
                '<text class="shared" x="{1:.1f}" y="{2:.1f}">{3}</text>'
            ).format(f"M{x - 4:.1f} {y:.1f}h8M{x:.1f} {y - 4:.1f}v8", x + 5, y - 3, number)
        lines = []
        if right is not None and right.shape == of.shape and np.isfinite(right).any():
            away = np.nanmean(np.linalg.norm(of - right, axis=1))
            lines.append(f"{away:.1f} px off on average; rings: what is right")
        if of is not points[0]:
            moved = np.linalg.norm(of - points[0], axis=1)
            lines.append(f"point {moved.argmax()} is {moved.max():.1f} px from the first answer's")
        told = ", ".join(f"{i} at {x:.0f}, {y:.0f}" for i, (x, y) in enumerate(of[:SHOWN]))
        alt = f"sample {scene.index}, {answer.title}: {told}. {'; '.join(lines)}"
        drawing = svg(body, size=behind.size, words=alt)
        panels.append(Panel(answer.title, drawing, tuple(lines), answer.note))
    return tuple(panels)
