"""Boxes on their picture, each with its class and score; what another answer lacks is marked."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from edgeticket.device_runner.task.boxes import read_truths
from edgeticket.device_runner.task.boxes.detections import Detections, detect, place
from edgeticket.device_runner.task.boxes.overlap import iou
from edgeticket.device_runner.task.boxes.settings import BoxesSettings
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.drawn.scene import Backdrop, Panel, Scene, backdrop, svg

SHOWN = 20  # boxes of a panel
LETTER = 6.2  # pixels that a letter of a label takes, at most
LINE_HEIGHT = 14


def draw(scene: Scene) -> tuple[Panel, ...]:
    """What is right, then each answer: boxes above the score at which answers are compared."""
    behind = backdrop(scene)
    if behind is None:
        return ()
    settings: BoxesSettings = scene.settings
    found = []
    for answer in scene.answers:
        (boxes,) = detect([output[np.newaxis] for output in answer.outputs], settings)
        found.append(boxes.above(settings.agree_score))
    panels = []
    if scene.right is not None:
        right = _right(scene, settings)
        panels.append(_panel(scene, behind, "right", right, None, "", is_first=True))
    for answer, boxes in zip(scene.answers, found, strict=True):
        other = None if boxes is found[0] else found[0]
        panels.append(
            _panel(scene, behind, answer.title, boxes, other, answer.note, is_first=not panels)
        )
    return tuple(panels)


def _right(scene: Scene, settings: BoxesSettings) -> Detections:
    """The right boxes in pixels of the input; crowds among them."""
    assert scene.right is not None
    (truth,) = read_truths(scene.right, 1)
    box = truth.box
    if settings.picture != "input":
        height, width = scene.right["size"][0]
        box = place((int(height), int(width)), settings).boxes_in(box)
    return Detections(box, np.full(len(box), np.nan), truth.label)


def _panel(
    scene: Scene,
    behind: Backdrop,
    title: str,
    boxes: Detections,
    other: Detections | None,
    note: str,
    *,
    is_first: bool,
) -> Panel:
    settings: BoxesSettings = scene.settings
    lone = _without_partner(boxes, other, settings.agree_iou)
    factors = np.array(behind.size * 2) / np.array(settings.input[::-1] * 2)
    body = behind.show(first=is_first)
    told, tags = [], Tags(behind.size)
    for i in range(min(len(boxes.box), SHOWN)):
        score = boxes.score[i]
        name = scene.label(int(boxes.label[i]))
        text = name if np.isnan(score) else f"{name} {score:.2f}"
        text = f"≠ {text}" if lone[i] else text
        body += _box(boxes.box[i] * factors, text, is_lone=bool(lone[i]), tags=tags)
        corners = ", ".join(f"{value:.0f}" for value in boxes.box[i])
        told.append(f"{text} at {corners}")
    count = words.plural(len(boxes.box), "box", "boxes")
    lines = [count if other is None or not lone.any() else f"{count}, {lone.sum()} marked ≠"]
    if other is not None:
        missing = int(_without_partner(other, boxes, settings.agree_iou).sum())
        if missing:
            lines.append(f"{missing} of the first answer missing")
    hidden = f" and {len(boxes.box) - SHOWN} more" if len(boxes.box) > SHOWN else ""
    alt = f"sample {scene.index}, {title}: {count}: {'; '.join(told)}{hidden}"
    return Panel(title, svg(body, size=behind.size, words=alt), tuple(lines), note)


def _without_partner(
    boxes: Detections, other: Detections | None, least_iou: float
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Boxes that have none of their class in the other answer, as `same_boxes` pairs them."""
    lone = np.zeros(len(boxes.box), dtype=np.bool_)
    if other is None:
        return lone
    if not len(other.box):
        return ~lone
    overlap = iou(boxes.box, other.box)
    overlap[boxes.label[:, np.newaxis] != other.label] = -1.0
    for i in range(len(overlap)):
        partner = int(overlap[i].argmax())
        if overlap[i, partner] < max(least_iou, 0.0):
            lone[i] = True
        else:
            overlap[:, partner] = -1.0
    return lone


class Tags:
    """Where labels of boxes go: above their box, else wherever no other label is yet."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._taken: list[tuple[float, float, float]] = []  # left, top, width

    def put(self, x1: float, y1: float, y2: float, text: str) -> tuple[float, float, float]:
        """Left, top and width of a label for a box from ``y1`` to ``y2`` at ``x1``."""
        width = min(LETTER * len(text) + 6, self.size[0])
        left = min(max(x1, 0.0), self.size[0] - width)
        highest = self.size[1] - LINE_HEIGHT
        wanted = [y1 - LINE_HEIGHT, y2, y1, *(y1 + LINE_HEIGHT * k for k in range(1, 8))]
        tops = [min(max(top, 0.0), highest) for top in wanted]
        top = next((top for top in tops if self._is_free(left, top, width)), tops[0])
        self._taken.append((left, top, width))
        return left, top, width

    def _is_free(self, left: float, top: float, width: float) -> bool:
        return not any(
            left < x + w and x < left + width and abs(top - y) < LINE_HEIGHT
            for x, y, w in self._taken
        )


def _box(
    corners: np.ndarray[tuple[int], np.dtype[np.float64]], text: str, *, is_lone: bool, tags: Tags
) -> Markup:
    x1, y1, x2, y2 = (round(float(value), 1) for value in corners)
    left, top, label_width = tags.put(x1, y1, y2, text)
    return Markup(
        '<rect class="halo" x="{0}" y="{1}" width="{2:.1f}" height="{3:.1f}"/>'
        '<rect class="{4}" x="{0}" y="{1}" width="{2:.1f}" height="{3:.1f}"/>'
        '<rect class="tag" x="{5:.1f}" y="{6:.1f}" width="{7:.1f}" height="{8}"/>'
        '<text class="{4}" x="{9:.1f}" y="{10:.1f}">{11}</text>'
    ).format(
        *(x1, y1, max(x2 - x1, 1.0), max(y2 - y1, 1.0), "lone" if is_lone else "shared"),
        *(left, top, label_width, LINE_HEIGHT, left + 3, top + LINE_HEIGHT - 3.5, text),
    )
