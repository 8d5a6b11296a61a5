"""Values as a page shows them: with units, and a dash where there is none."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup, escape

from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.unavailable import Unavailable

NONE = "–"
Number = float | Unavailable | None


def milliseconds(value_ns: Number, *, digits: int = 3) -> str:
    """Nanoseconds in milliseconds, without the unit."""
    return _told(value_ns, lambda v: f"{v / 1e6:,.{digits}f}")


def kilobytes(value: Number) -> str:
    """Bytes in kB (1,000 bytes), without the unit."""
    return _told(value, lambda v: f"{v / 1000:,.0f}" if v >= 10_000 else f"{v / 1000:,.1f}")


def percent(share: Number, *, digits: int = 2) -> str:
    """A share 0..1 in percent; only what is exactly all reads 100 %."""
    if share is None or isinstance(share, Unavailable):
        return NONE
    text = f"{100 * share:.{digits}f}"
    if share < 1 and float(text) == 100:
        text = f"{100 - 10**-digits:.{digits}f}"
    return f"{text} %"


def points(change: Number) -> str:
    """A difference of shares in percentage points, with its sign."""
    if change is None or isinstance(change, Unavailable):
        return NONE
    value = round(100 * change, 2)
    return "0.00" if value == 0 else f"{value:+.2f}".replace("-", "−")


def times(ratio: Number, *, digits: int = 2) -> str:
    """A ratio, as in 2.10×."""
    return _told(ratio, lambda v: f"{v:,.{digits}f}×")


def count(value: Number) -> str:
    """A whole number with its thousands apart."""
    return _told(value, lambda v: f"{v:,.0f}")


def thousands(value: Number) -> str:
    """A number in thousands, without the word."""
    return _told(value, lambda v: f"{v / 1e3:,.1f}")


def millions(value: Number) -> str:
    """A number in millions, without the word."""
    return _told(value, lambda v: f"{v / 1e6:,.1f}" if v >= 1e5 else f"{v / 1e6:,.3f}")


def decibels(value: Number, *, is_exact: bool = False) -> str:
    """A ratio in dB; where there is no difference at all, exact."""
    if isinstance(value, Unavailable) and is_exact:
        return "exact"
    return _told(value, lambda v: f"{v:.1f}")


def text(value: object) -> str:
    """A text of a report, or why there is none."""
    return f"unknown ({value.reason})" if isinstance(value, Unavailable) else str(value)


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """As in "1 sample" and "2,000 samples"."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def listed(names: list[str]) -> str:
    """As in "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def numbers(of: list[int]) -> str:
    """Numbers of rows, as in "No. 1, 2 and 4"."""
    return f"No. {listed([str(number) for number in of])}"


def short(name: str, *, longest: int = 34) -> str:
    """A name that has to fit beside a chart."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def lines_of(text: str) -> Markup:
    """Text of several lines, escaped; each line is plain."""
    return Markup("\n").join(escape(plain(line)) for line in text.split("\n"))


def _told(value: Number, pattern: Callable[[float], str]) -> str:
    return NONE if value is None or isinstance(value, Unavailable) else pattern(value)
