"""What a detector's outputs mean: where its numbers are, how they become boxes, which are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Union

from edgeticket.device_runner.task.settings import (
    REQUIRED,
    Settings,
    choice,
    constant,
    flag,
    integer,
    items,
    nested,
    number,
    share,
)

MOST_CANDIDATES = 1_000_000
_SIDE = {"type": "integer", "minimum": 1, "maximum": 16384}
_INDEX = {"type": "integer", "minimum": 0}
_STRIDE = {"type": "number", "minimum": 0.01}
_LENGTH = {"type": "number", "minimum": 0}
_LENGTHS = {"type": "array", "items": _LENGTH, "minItems": 2, "maxItems": 2}
_BOX = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}


@dataclass(frozen=True)
class Part(Settings):
    """Some of the numbers that a network gives for each candidate."""

    count: int = integer(REQUIRED, "how many numbers", least=1)
    first: int = integer(0, "the first of them, among a candidate's numbers")
    outputs: tuple[int, ...] = items(
        (0,), _INDEX, "the outputs that hold them; candidates of the second follow the first's",
        least=1,
    )  # fmt: skip


@dataclass(frozen=True)
class Direct(Settings):
    """The network gives boxes."""

    kind: str = constant("direct", "boxes as they are")
    form: str = choice(
        "xyxy",
        ("xyxy", "xywh", "cxcywh"),
        "two corners; corner and sides; or centre and sides",
    )
    normalized: bool = flag(False, "in parts of the input's sides, not in pixels of the input")


@dataclass(frozen=True)
class Anchors(Settings):
    """The network moves boxes that are given before: anchors, priors."""

    kind: str = constant("anchors", "boxes that are moved")
    coding: str = choice(
        "ssd",
        ("ssd", "linear", "corners", "yolov3", "yolov5"),
        "how numbers move an anchor with centre c and side s; t is a number, v its variance. ssd: "
        "c + t v s, s exp(t v); linear: c + t v s, t v s; corners: each corner by t v s; yolov3: "
        "sigmoid(t) from the cell's corner, s exp(t); yolov5: 2 sigmoid(t) - 0.5 from there, "
        "s (2 sigmoid(t))^2",
    )
    variances: tuple[float, ...] = items(
        (0.1, 0.1, 0.2, 0.2), {"type": "number"}, "of ssd, linear and corners, one for each number",
        least=4, most=4,
    )  # fmt: skip
    strides: tuple[float, ...] = items(
        (), _STRIDE, "pixels of the input from one cell to the next, for each level of the network"
    )
    sizes: tuple[tuple[tuple[float, float], ...], ...] = items(
        (),
        {"type": "array", "items": _LENGTHS, "minItems": 1},
        "for each level, widths and heights of its anchors in pixels of the input; a cell of "
        "SIDE / stride, rounded up, has all of them around its middle",
    )
    order: str = choice(
        "cell",
        ("cell", "anchor"),
        "what follows in a level: the anchors of a cell, or the cells of an anchor",
    )
    cut: bool = flag(
        False, "the anchors' centres and sides are cut to the input's sides, before they are moved"
    )
    listed: tuple[tuple[float, ...], ...] | None = items(
        None, _BOX, "instead of strides and sizes: each anchor, centre and sides in pixels"
    )

    def contradiction(self) -> str | None:
        if self.listed is None and not self.strides:
            return "anchors have neither strides and sizes, nor listed: give one of both"
        if self.listed is not None and (self.strides or self.sizes):
            return "anchors have listed as well as strides or sizes: give one of both"
        if len(self.strides) != len(self.sizes):
            return (
                f"anchors have {len(self.strides)} strides and {len(self.sizes)} lists of sizes: "
                "give one of each for each level"
            )
        if self.listed is not None and self.coding.startswith("yolo"):
            return f"coding {self.coding} counts from cells: give strides and sizes, not listed"
        return None


@dataclass(frozen=True)
class Centres(Settings):
    """The network gives boxes around the cells of a grid, without anchors."""

    kind: str = constant("centres", "boxes around cells")
    coding: str = choice(
        "ltrb",
        ("ltrb", "yolox", "size", "cell"),
        "ltrb: distances of the left, top, right and lower side; yolox: shift of the centre and "
        "logarithm of the sides, in cells; size: shift of the centre in cells, and the sides; "
        "cell: the box is the cell, and nothing is read",
    )
    strides: tuple[float, ...] = items(
        (8.0, 16.0, 32.0),
        _STRIDE,
        "pixels of the input from one cell to the next, for each level",
        least=1,
    )
    offset: float = number(0.5, "where in its cell a centre is, in cells", least=0, most=1)
    bins: int = integer(
        0,
        "of ltrb: a distance is the mean of 0, 1, ... weighted by the softmax of so many "
        "numbers (distribution focal loss); 0: it is one number",
        most=256,
    )
    unit: str = choice(
        "stride", ("stride", "pixel"), "what distances of ltrb and sides of size are in"
    )


Decoding = Union[Direct, Anchors, Centres]


@dataclass(frozen=True)
class BoxesSettings(Settings):
    """Settings of the task `boxes`."""

    input: tuple[int, int] = items(
        REQUIRED, _SIDE, "height and width of the network's input", least=2, most=2
    )
    scores: Part = nested(REQUIRED, (Part,), "where the scores of the classes are")
    boxes: Part | None = nested(
        None, (Part,), "where the numbers of boxes are; none for coding cell"
    )
    objectness: Part | None = nested(
        None, (Part,), "one number by which all scores of a candidate are multiplied"
    )
    layout: str = choice(
        "last",
        ("last", "first"),
        "where a candidate's numbers are: [N, candidates, numbers] and [N, H, W, numbers], or "
        "[N, numbers, candidates] and [N, numbers, H, W]",
    )
    per_cell: int = integer(
        1, "of maps, [N, H, W, ...]: candidates whose numbers follow one another in a cell", least=1
    )
    decode: Decoding = nested(Direct(), (Direct, Anchors, Centres), "how numbers become boxes")
    activation: str = choice(
        "none",
        ("none", "sigmoid", "softmax"),
        "what turns scores into probabilities; objectness has the sigmoid with both",
    )
    background: int | None = integer(
        None, "the score that means nothing is here; classes behind it count one less"
    )
    threshold: float = share(0.01, "candidates count if their score is above this")
    labels: str = choice(
        "all",
        ("all", "best"),
        "a candidate is a box of each class above the threshold, or of its best class",
    )
    candidates: int = integer(
        1000, "how many of the highest scores go on from each picture", least=1, most=100_000
    )
    nms_iou: float | None = number(
        0.5, "a box is dropped if it overlaps a better one of its class by more than this; null: "
        "the network gives each box once", least=0, most=1, optional=True,
    )  # fmt: skip
    across_classes: bool = flag(False, "better boxes of other classes drop a box, too")
    limit: int = integer(100, "how many boxes a picture has at most", least=1, most=10_000)
    picture: str = choice(
        "input",
        ("input", "stretched", "letterbox_centre", "letterbox_corner"),
        "what targets are pixels of: the network's input, or a picture that became the input in "
        "this way",
    )
    cut: bool = flag(True, "boxes are cut at the edges of the picture")
    agree_score: float = share(
        0.3, "two answers agree if their boxes above this score are the same"
    )
    agree_iou: float = share(
        0.5, "boxes are the same if they are of one class and overlap by this at least"
    )

    def used(self, count: int) -> tuple[int, ...]:
        parts = (self.scores, self.boxes, self.objectness)
        return tuple(sorted({i for part in parts if part is not None for i in part.outputs}))

    def input_size(self) -> tuple[int, int] | None:
        return self.input

    def contradiction(self) -> str | None:
        if self.background is not None and self.background >= self.scores.count:
            return (
                f"background is score {self.background}, there are {self.scores.count}, counted "
                "from 0"
            )
        if self.scores.count == 1 and self.background is not None:
            return "background is the only score: no class is left"
        if _cells(self) > MOST_CANDIDATES:
            return (
                f"strides make {_cells(self)} candidates of an input of {self.input[1]}x"
                f"{self.input[0]}, {MOST_CANDIDATES} at most are allowed"
            )
        if self.objectness is not None and self.objectness.count != 1:
            return f"objectness has {self.objectness.count} numbers, it must be one"
        return None


def _cells(settings: BoxesSettings) -> int:
    """How many candidates the grid has; 0: no grid."""
    decode = settings.decode
    if isinstance(decode, Direct):
        return 0
    per_cell = (
        [len(sizes) for sizes in decode.sizes]
        if isinstance(decode, Anchors)
        else [1] * len(decode.strides)
    )
    height, width = settings.input
    return sum(
        math.ceil(height / stride) * math.ceil(width / stride) * count
        for stride, count in zip(decode.strides, per_cell)
    )
