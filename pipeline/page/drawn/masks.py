"""Masks over their picture: each class has a colour and a pattern of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from edgeticket.device_runner.task.kind import Integers
from edgeticket.device_runner.task.masks import MasksSettings, decode
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.drawn.scene import (
    Backdrop,
    Legend,
    Panel,
    Scene,
    backdrop,
    overlay_uri,
    svg,
)

# Okabe and Ito 2008: to be told apart by who sees fewer colours. Class k has colour k modulo 8, and
# a pattern that moves on after each round, so that the first 64 classes are all unlike.
COLOURS = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167),
    (86, 180, 233), (213, 94, 0), (240, 228, 66), (120, 120, 120),
)  # fmt: skip
CLEAR, LIGHT, STRONG, BLACK, WHITE = 0, 1, 1 + len(COLOURS), 1 + 2 * len(COLOURS), 18
PALETTE = (
    (0, 0, 0, 0),
    *((*colour, 120) for colour in COLOURS),
    *((*colour, 235) for colour in COLOURS),
    (0, 0, 0, 255), (255, 255, 255, 255),
)  # fmt: skip
NAMED = 8  # classes that a panel names
SWATCH = (36, 18)  # width and height, pixels
OTHERWISE = -1  # instead of a class: where the first answer is another one


def draw(scene: Scene) -> tuple[Panel, ...]:
    """What is right, then each answer; black and white where it is not that of the first."""
    behind = backdrop(scene)
    if behind is None:
        return ()
    settings: MasksSettings = scene.settings
    masks = [
        decode(answer.outputs[settings.output][np.newaxis], settings)[0][0]
        for answer in scene.answers
    ]
    clear = _clear(masks)
    panels = []
    if scene.right is not None:
        right = scene.right["mask"][0].astype(np.int64)
        right = np.where(right == settings.ignore, clear, right)
        panels.append(_panel(scene, behind, "right", right, None, clear, "", is_first=True))
    for answer, mask in zip(scene.answers, masks, strict=True):
        other = None if mask is masks[0] else masks[0]
        panels.append(
            _panel(
                scene, behind, answer.title, mask, other, clear, answer.note, is_first=not panels
            )
        )
    return tuple(panels)


def explain(scenes: Sequence[Scene]) -> tuple[Legend, ...]:
    """The patterns of the classes that occur, the commonest first."""
    settings: MasksSettings = scenes[0].settings
    counts: dict[int, int] = {}
    for scene in scenes:
        for answer in scene.answers:
            mask = decode(answer.outputs[settings.output][np.newaxis], settings)[0]
            for number, count in zip(*np.unique(mask, return_counts=True), strict=True):
                counts[int(number)] = counts.get(int(number), 0) + int(count)
    common = sorted(counts, key=lambda number: -counts[number])
    rest = [_swatch(number, scenes[0].label(number)) for number in common[1:]]
    return (
        Legend("", f"without a pattern: {scenes[0].label(common[0])}"),
        *rest[: 4 * NAMED],
        _swatch(OTHERWISE, "answered otherwise than in the first answer"),
    )


def patterns(mask: Integers, clear: int) -> Integers:
    """Classes [H, W], one for each pixel that is shown -> numbers of `PALETTE`; ``clear`` has no
    pattern."""
    y, x = np.indices(mask.shape)
    kinds = (
        (x + y) % 8 < 3, (x - y) % 8 < 3, y % 6 < 2, x % 6 < 2,
        (x % 6 < 2) & (y % 6 < 2), (x + y) % 8 < 1, ((x // 4) + (y // 4)) % 2 == 0, x > -1,
    )  # fmt: skip
    codes = np.zeros(mask.shape, dtype=np.int64)
    for number in np.unique(mask):
        if number == clear:
            continue
        here = mask == number
        if number == OTHERWISE:
            codes[here] = np.where((x // 3 + y // 3) % 2, BLACK, WHITE)[here]
            continue
        colour = int(number) % len(COLOURS)
        kind = kinds[(int(number) + int(number) // len(COLOURS)) % len(kinds)]
        codes[here] = np.where(kind, STRONG + colour, LIGHT + colour)[here]
    return codes


def _clear(masks: Sequence[Integers]) -> int:
    """The commonest class of the answers, which the picture shows through."""
    numbers, counts = np.unique(
        np.concatenate([mask.ravel() for mask in masks]), return_counts=True
    )
    return int(numbers[counts.argmax()])


def _panel(
    scene: Scene,
    behind: Backdrop,
    title: str,
    mask: Integers,
    other: Integers | None,
    clear: int,
    note: str,
    *,
    is_first: bool,
) -> Panel:
    shares = {int(n): float(np.mean(mask == n)) for n in np.unique(mask)}
    ranked = sorted(shares, key=lambda n: -shares[n])
    told = [f"{scene.label(n)} {words.percent(shares[n], digits=1)}" for n in ranked[:NAMED]]
    more = [f"{len(ranked) - NAMED} more classes"] if len(ranked) > NAMED else []
    lines = [", ".join(told + more)]
    shown = mask
    if other is not None and other.shape == mask.shape:
        unlike = mask != other
        if unlike.any():
            lines.append(
                f"{words.percent(float(unlike.mean()))} of pixels otherwise than the first"
            )
            shown = np.where(unlike, OTHERWISE, mask)
        else:
            lines.append("every pixel as in the first")
    enlarged = _enlarged(shown, behind.size)
    codes = patterns(enlarged, clear)
    overlay = Markup('<image href="{}" width="{}" height="{}"/>').format(
        overlay_uri(codes, PALETTE), *behind.size
    )
    body = behind.show(first=is_first) + overlay
    alt = f"sample {scene.index}, {title}: {'; '.join(lines)}"
    return Panel(title, svg(body, size=behind.size, words=alt), tuple(lines), note)


def _enlarged(mask: Integers, size: tuple[int, int]) -> Integers:
    """[H, W] -> one class for each pixel of a panel of ``size`` (width, height)."""
    rows = np.arange(size[1]) * mask.shape[0] // size[1]
    columns = np.arange(size[0]) * mask.shape[1] // size[0]
    enlarged: Integers = mask[rows][:, columns]
    return enlarged


def _swatch(number: int, name: str) -> Legend:
    mask = np.full((SWATCH[1], SWATCH[0]), number, dtype=np.int64)
    return Legend(overlay_uri(patterns(mask, OTHERWISE - 1), PALETTE), name)
