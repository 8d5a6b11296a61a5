"""A matplotlib figure becomes SVG that can stand in a page.

matplotlib writes files of their own: with names of elements that repeat from figure to figure, a
rule of style for every element around it, and style attributes, which a page's security policy
forbids. Here names get a prefix, style attributes become attributes of SVG, and each colour of
the palette, which is drawn in a colour that stands for it, becomes the page's variable.
"""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgeticket.device_runner.plain_text import plain
from edgeticket.pipeline.page.palette import LIGHT

P = ParamSpec("P")
T = TypeVar("T")

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
# What is drawn in the light palette's colours is shown in those of the reader's theme.
_VARIABLES = {value: f"var(--{name})" for name, value in LIGHT.items()}
_DECIMALS = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_SIZE = re.compile(r"([\d.]+)px")
SCALE = 1.42  # pixels for a point: text of charts is as large as that of tables
STYLE: Any = {
    "font.size": 9.5,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # measured with; shown in the page's own
    "svg.fonttype": "none",
    "svg.hashsalt": "edgeticket",
    "axes.edgecolor": LIGHT["quiet"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
    "xtick.color": LIGHT["quiet"],
    "ytick.color": LIGHT["quiet"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["muted"],
    "text.color": LIGHT["ink"],
    "grid.color": LIGHT["rule"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.4,
    "text.parse_math": False,  # names may hold dollars
}


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function draw in the page's style, whatever the user's matplotlibrc says."""

    @functools.wraps(function)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            for key, value in STYLE.items():
                matplotlib.rcParams[key] = value
            return function(*args, **kwargs)

    return in_style


@dataclass(frozen=True)
class Chart:
    """An SVG element with what it shows in words."""

    svg: Markup
    caption: str


def new_figure(
    width: float, height: float, *, margins: tuple[float, float] | None = None
) -> tuple[Figure, Axes]:
    """A figure of so many inches with one panel; to be called, and drawn in, as `styled`.

    Args:
        margins: left and below, in inches, for the axes' labels; None: as wide as they turn out
            to be, which takes twice as long.
    """
    figure = Figure(figsize=(width, height), layout=None if margins else "constrained")
    axes = figure.subplots()
    if margins is not None:
        left, bottom = margins
        figure.subplots_adjust(left=left / width, bottom=bottom / height, right=0.94, top=0.97)
    axes.grid(visible=True, axis="both")
    axes.set_axisbelow(True)
    return figure, axes


def log_steps(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, … from ``low`` to ``high``, for the ticks of a logarithmic axis."""
    power = 10.0 ** math.floor(math.log10(low))
    found: list[float] = []
    while power <= high:
        found += [m * power for m in (1, 2, 5) if low <= m * power <= high]
        power *= 10
    return found


def draw(figure: Figure, *, name: str, title: str, says: str, caption: str = "") -> Chart:
    """Draw a figure.

    Args:
        figure: of `new_figure`; its colours are those of the light palette, and names in it are
            plain text (`device_runner.plain_text`).
        name: an identifier that no other chart of the page has.
        title: what a screen reader calls it.
        says: what is to be seen in it, in a sentence or two.
        caption: shown below; empty: nothing.
    """
    file = io.BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(file.getvalue())
    _clean(root, name)
    for child in reversed(
        (_element("title", f"{name}-title", title), _element("desc", f"{name}-says", says))
    ):
        root.insert(0, child)
    width, height = (float(root.attrib[key].removesuffix("pt")) for key in ("width", "height"))
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": f"0 0 {width:g} {height:g}",
            "width": f"{SCALE * width:.0f}",
            "height": f"{SCALE * height:.0f}",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-says",
            "id": name,
        }
    )
    ElementTree.register_namespace("", _SVG)
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
    return Chart(Markup(text.replace(f' xmlns="{_SVG}"', "", 1)), caption)


def _element(tag: str, name: str, text: str) -> ElementTree.Element:
    element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": name})
    element.text = plain(text)
    return element


def _clean(root: ElementTree.Element, name: str) -> None:
    """Leave what is drawn, with names that are the page's own."""
    wanted = _references(root)
    for parent in list(root.iter()):
        for child in list(parent):
            tag = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else "comment"
            if tag in ("metadata", "style", "comment"):
                parent.remove(child)
    for element in root.iter():
        attributes = dict(element.attrib)
        style = attributes.pop("style", "")
        for rule in filter(None, (part.strip() for part in style.split(";"))):
            key, _, value = rule.partition(":")
            attributes.update(_as_attributes(key.strip(), value.strip()))
        element.attrib.clear()
        for key, value in attributes.items():
            if key == "id":
                if value in wanted:
                    element.set("id", f"{name}-{value}")
            elif key == _LINK:
                element.set("href", f"#{name}-{value.removeprefix('#')}")
            elif key in ("fill", "stroke"):
                element.set(key, _VARIABLES.get(value, value))
            else:
                value = _REFERENCE.sub(rf"url(#{name}-\1)", value)
                element.set(key, _DECIMALS.sub(_short, value) if key != "id" else value)
        if element.text is not None and not element.text.strip():
            element.text = None
        element.tail = None


def _references(root: ElementTree.Element) -> set[str]:
    """The names that elements refer to; all others say nothing to a reader."""
    found: set[str] = set()
    for element in root.iter():
        for value in element.attrib.values():
            found.update(_REFERENCE.findall(value))
        if _LINK in element.attrib:
            found.add(element.attrib[_LINK].removeprefix("#"))
    return found


def _as_attributes(key: str, value: str) -> dict[str, str]:
    """A declaration of CSS as attributes of SVG; the family of a font is the page's."""
    if key != "font":
        return {key: value} if key not in ("font-family", "stroke-linejoin") else {}
    size = _SIZE.search(value)
    found = {} if size is None else {"font-size": size.group(1)}
    if re.search(r"\b(bold|[67]00)\b", value):
        found["font-weight"] = "600"
    return found


def _short(number: re.Match[str]) -> str:
    text = f"{float(number.group()):.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
