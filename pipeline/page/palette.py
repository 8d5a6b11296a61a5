"""The colours of a page, light and dark, and how well they can be read."""

from __future__ import annotations

from collections.abc import Mapping

# What is written in a colour of TEXTS stands on one of SURFACES; WCAG 2.2 asks for 4.5 : 1 there,
# and for 3 : 1 between a line of a chart (LINES) and what is behind it. Tests compute both.
TEXTS = ("ink", "muted", "accent", "good", "bad", "warn")
SURFACES = ("paper", "panel")
LINES = ("accent", "good", "bad", "warn", "quiet", "other")
TINTS = ("right-1", "right-2", "right-3", "wrong-1", "wrong-2", "wrong-3")  # ink stands on them

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#1b212b",
    "muted": "#555f6f",
    "rule": "#d9dde4",
    "accent": "#1d5dbf",
    "good": "#17703c",
    "bad": "#b3261e",
    "warn": "#875800",
    "quiet": "#6f7989",
    "other": "#9a3f93",
    "right-1": "#e6f0fb",
    "right-2": "#cfe1f8",
    "right-3": "#b0cef3",
    "wrong-1": "#fbeae8",
    "wrong-2": "#f8d5d1",
    "wrong-3": "#f2b5af",
}
DARK: Mapping[str, str] = {
    "paper": "#12161d",
    "panel": "#1b212b",
    "ink": "#e8ebf0",
    "muted": "#a9b2c1",
    "rule": "#363f4d",
    "accent": "#82b4ff",
    "good": "#70cf8e",
    "bad": "#ff9d93",
    "warn": "#efbf5e",
    "quiet": "#8a94a5",
    "other": "#e29bdc",
    "right-1": "#1b2c44",
    "right-2": "#203a5f",
    "right-3": "#264a7d",
    "wrong-1": "#3a2324",
    "wrong-2": "#532a2a",
    "wrong-3": "#702f2e",
}


def variables(colours: Mapping[str, str]) -> str:
    """The colours as custom properties of CSS."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1..21 (WCAG 2.2, relative luminance)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
