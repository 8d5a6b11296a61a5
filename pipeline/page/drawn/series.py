"""Series: how it went on, and how each answer had it go on, as lines of unlike strokes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from edgeticket.device_runner.task.kind import Floats
from edgeticket.device_runner.task.series import SeriesSettings
from edgeticket.pipeline.page.drawn.scene import Panel, Scene, svg

Array = npt.NDArray[Any]

WIDTH, HEIGHT, EDGE = 480, 170, 8
PAST = 60  # steps that are shown of it
NAMES = ("right", "one", "two", "three", "four", "five", "six")  # classes of lines


def draw(scene: Scene) -> tuple[Panel, ...]:
    """One panel of all lines, the first channel of each; below, what each stroke is."""
    settings: SeriesSettings = scene.settings
    future = [_first_channel(answer.outputs[settings.output]) for answer in scene.answers]
    past = right = None
    if scene.right is not None:
        right = _first_channel(scene.right["future"][0])
        if "past" in scene.right:
            past = _first_channel(scene.right["past"][0])[-PAST:]
    lines = ([] if right is None else [("right", right)]) + [
        (answer.title, of) for answer, of in zip(scene.answers, future, strict=True)
    ]
    every = np.concatenate([of for _, of in lines] + ([] if past is None else [past]))
    if not np.isfinite(every).all() or len(future[0]) < 2:
        return ()
    before = 0 if past is None else len(past)
    steps = before + max(len(of) for _, of in lines)
    low, high = float(every.min()), float(every.max())

    def path(values: Floats, start: int) -> str:
        x = EDGE + (WIDTH - 2 * EDGE) * (np.arange(len(values)) + start) / max(steps - 1, 1)
        y = HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (values - low) / max(high - low, 1e-12)
        return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))

    body = Markup("")
    if past is not None:
        body += Markup('<path class="past" d="{}"/>').format(path(past, 0))
    told = []
    offset = 0 if right is not None else 1
    for i, (title, of) in enumerate(lines):
        joined = of if past is None else np.concatenate([past[-1:], of])
        start = 0 if past is None else before - 1
        kind = NAMES[min(i + offset, len(NAMES) - 1)]
        body += Markup('<path class="line-{}" d="{}"/>').format(kind, path(joined, start))
        stroke = svg(
            Markup('<path class="line-{}" d="M1 6H43"/>').format(kind),
            size=(44, 12), words="", kind="stroke",
        )  # fmt: skip
        off = "" if right is None or of is right else f": {np.abs(of - right).mean():.3g} off"
        told.append((stroke.replace('role="img" aria-label=""', 'aria-hidden="true"'), title + off))
    alt = (
        f"sample {scene.index}: {len(future[0])} steps from {low:.3g} to {high:.3g}; "
        + "; ".join(text for _, text in told)
    )
    drawing = svg(body, size=(WIDTH, HEIGHT), words=alt, kind="wide")
    texts = tuple(stroke + Markup(" {}").format(text) for stroke, text in told)
    notes = "; ".join(f"{a.title}: {a.note}" for a in scene.answers if a.note)
    return (Panel("how it goes on (first channel)", drawing, texts, notes),)


def _first_channel(values: Array) -> Floats:
    """[steps] or [steps, channels] -> [steps]."""
    flat = values if values.ndim == 1 else values.reshape(len(values), -1)[:, 0]
    return flat.astype(np.float64)
