"""What a drawing is made of, and what it is: a sample, who answered what, panels side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from edgeticket.pipeline.page.pictures import one_look, stretched
from edgeticket.pipeline.text import plain

Array = npt.NDArray[Any]

SIDE = 240  # pixels of the longer side of a panel
PICTURE_LIMIT_BYTES = 24_000  # of a picture that is shown once for a sample
OVERLAY_LIMIT_BYTES = 6_000  # of one that each panel has of its own
QUALITIES = (80, 60, 40, 20)  # of JPEG, tried in this order


@dataclass(frozen=True)
class Answer:
    """What one voice answered to the sample: ``outputs`` without the axis of samples; ``note`` says
    whose measured bits they are."""

    title: str
    outputs: tuple[Array, ...]
    note: str = ""


@dataclass(frozen=True)
class Scene:
    """A sample, what is right of it, and what was answered, the network in float32 first.

    ``right``: the task's targets of this sample alone, as one sample [1, ...]; None: there are
    none. ``inputs``: as stored, one for each input, without the axis of samples.
    """

    index: int
    inputs: tuple[Array, ...]
    right: Mapping[str, Array] | None
    settings: Any
    labels: tuple[str, ...]
    answers: tuple[Answer, ...]

    def label(self, number: int) -> str:
        """What a class is called."""
        return plain(self.labels[number]) if 0 <= number < len(self.labels) else str(number)


@dataclass(frozen=True)
class Panel:
    """One drawing: ``words`` are for who cannot see it, ``lines`` stand below for everybody."""

    title: str
    svg: Markup | None
    lines: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Legend:
    """What marks mean: a small picture and words."""

    uri: str
    words: str


def svg(body: Markup, *, size: tuple[int, int], words: str, kind: str = "") -> Markup:
    """A drawing of ``size`` (width, height) in pixels, with words for who cannot see it."""
    return Markup(
        '<svg role="img" aria-label="{}" class="drawn {}" viewBox="0 0 {} {}" width="{}" '
        'height="{}">{}</svg>'
    ).format(plain(words), kind, *size, *size, body)


def picture_input(scene: Scene) -> Array | None:
    """The first input that is a picture [H, W, 1, 3 or 4]."""
    for stored in scene.inputs:
        if stored.ndim == 3 and stored.shape[-1] in (1, 3, 4) and min(stored.shape[:2]) > 1:
            return stored
    return None


@dataclass(frozen=True)
class Backdrop:
    """A sample's picture behind what is drawn: whole in the first panel, in the others by
    reference, so that a page holds it once."""

    name: str
    uri: str
    width: int
    height: int
    is_small: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a panel."""
        return self.width, self.height

    def show(self, *, first: bool) -> Markup:
        """The element that shows it."""
        if not first:
            return Markup('<use href="#{}"/>').format(self.name)
        return Markup(
            '<image id="{}" href="{}" width="{}" height="{}" preserveAspectRatio="none"{}/>'
        ).format(
            *(self.name, self.uri, self.width, self.height),
            Markup(' class="small"') if self.is_small else "",
        )


def backdrop(scene: Scene) -> Backdrop | None:
    """The sample as a picture of `SIDE`; None: it is none."""
    stored = picture_input(scene)
    if stored is None:
        return None
    width, height = panel_size(stored.shape[0], stored.shape[1])
    uri = picture_uri(stretched(stored), limit_bytes=PICTURE_LIMIT_BYTES, longest=SIDE)
    is_small = max(stored.shape[:2]) <= SIDE
    return Backdrop(f"sample-{scene.index}-picture", uri, width, height, is_small)


def panel_size(rows: int, columns: int) -> tuple[int, int]:
    """Pixels of a picture -> width and height of its panel."""
    factor = SIDE / max(rows, columns)
    return max(1, round(columns * factor)), max(1, round(rows * factor))


def picture_uri(pixels: Array, *, limit_bytes: int, longest: int) -> str:
    """uint8 [H, W, 1 or 3 or 4], or an RGBA overlay -> a data URI: PNG, or where that is larger
    than ``limit_bytes``, JPEG of as much quality as fits."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
    if max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    kind, data = "png", _encoded(image, "PNG", optimize=True)
    for quality in QUALITIES:
        if len(data) <= limit_bytes:
            break
        kind, data = "jpeg", _encoded(image.convert("RGB"), "JPEG", quality=quality)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def overlay_uri(codes: Array, palette: Sequence[tuple[int, int, int, int]]) -> str:
    """Numbers of a palette [H, W] -> a small PNG as a data URI."""
    image = Image.fromarray(codes.astype(np.uint8), mode="P")
    image.putpalette([value for colour in palette for value in colour[:3]])
    transparency = bytes(colour[3] for colour in palette)
    data = _encoded(image, "PNG", optimize=True, transparency=transparency)
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def given_panel(scene: Scene) -> tuple[Panel, ...]:
    """The sample as it is given to the network: a picture or a curve; none where it is neither."""
    words = f"sample {scene.index}, as it is given to the network"
    behind = backdrop(scene)
    if behind is not None:
        return (Panel("given", svg(behind.show(first=True), size=behind.size, words=words), ()),)
    for stored in scene.inputs:
        look = one_look(stored, scene.index)
        if look is not None and look.path is not None:
            body = Markup('<path class="line-right" d="{}"/>').format(look.path)
            size = look.width, look.height
            return (Panel("given", svg(body, size=size, words=f"given: {look.words}"), ()),)
    return ()


def picture_of(values: Array, peak: tuple[float, float]) -> Markup | None:
    """Real numbers [C, H, W] or [H, W] between two -> a drawn picture; None: they are none."""
    picture = values[np.newaxis] if values.ndim == 2 else values
    if picture.ndim != 3 or picture.shape[0] not in (1, 3) or min(picture.shape[1:]) < 2:
        return None
    low, high = peak
    scaled = np.clip((np.moveaxis(picture, 0, -1) - low) / max(high - low, 1e-12), 0, 1)
    pixels = np.rint(255 * scaled).astype(np.uint8)
    small = Markup(' class="small"') if max(pixels.shape[:2]) <= SIDE else ""
    return Markup('<image href="{}" width="{}" height="{}"{}/>').format(
        picture_uri(pixels, limit_bytes=OVERLAY_LIMIT_BYTES, longest=SIDE),
        *panel_size(pixels.shape[0], pixels.shape[1]),
        small,
    )
