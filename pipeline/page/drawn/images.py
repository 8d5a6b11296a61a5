"""Pictures out of pictures: what was given, what is right, what came of it, and what changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.task.images import ImagesSettings, psnr_db, read_pictures
from edgeticket.device_runner.task.kind import Floats
from edgeticket.pipeline.page.drawn.scene import (
    Panel,
    Scene,
    given_panel,
    panel_size,
    picture_of,
    svg,
)

Array = npt.NDArray[Any]

ENLARGED = 8  # times, of differences


def draw(scene: Scene) -> tuple[Panel, ...]:
    """What was given and what is right, each answer, and the difference between the first answer
    and the one that is furthest from it."""
    settings: ImagesSettings = replace(scene.settings, border=0)  # all of a picture is shown
    answers = [
        np.clip(
            read_pictures(answer.outputs[settings.output][np.newaxis], settings, "output")[0],
            *(0.0, settings.peak),
        )
        for answer in scene.answers
    ]
    if answers[0].shape[0] not in (1, 3) or min(answers[0].shape[1:]) < 2:
        return ()
    panels = [*given_panel(scene)]
    right = _right(scene.right, settings)
    if right is not None and right.shape == answers[0].shape:
        panels.append(_panel(scene, "right", right, settings.peak, ()))
    else:
        right = None
    for answer, picture in zip(scene.answers, answers, strict=True):
        lines = []
        if right is not None:
            lines.append(f"{psnr_db(picture, right, settings.peak):.1f} dB to what is right")
        if picture is not answers[0]:
            near = psnr_db(answers[0], picture, settings.peak)
            lines.append(f"{near:.1f} dB to the first answer" if near < 100 else "as the first")
        panels.append(_panel(scene, answer.title, picture, settings.peak, lines, answer.note))
    furthest = max(answers, key=lambda picture: float(np.abs(picture - answers[0]).max()))
    apart = np.abs(furthest - answers[0])
    if apart.any():
        title = f"what changed most, {ENLARGED} times"
        lines = [f"at most {apart.max() / settings.peak:.1%} of the range"]
        panels.append(
            _panel(scene, title, np.clip(apart * ENLARGED, 0, settings.peak), settings.peak, lines)
        )
    return tuple(panels)


def _right(right: Mapping[str, Array] | None, settings: ImagesSettings) -> Floats | None:
    if right is None or "image" not in right:
        return None
    picture: Floats = np.clip(
        read_pictures(right["image"], settings, "image")[0], 0.0, settings.peak
    )
    return picture


def _panel(
    scene: Scene, title: str, picture: Floats, peak: float, lines: Any, note: str = ""
) -> Panel:
    body = picture_of(picture, (0.0, peak))
    assert body is not None  # of one channel or three, see `draw`
    size = panel_size(*picture.shape[1:])
    words = "; ".join([f"sample {scene.index}, {title}", *lines])
    return Panel(title, svg(body, size=size, words=words), tuple(lines), note)
