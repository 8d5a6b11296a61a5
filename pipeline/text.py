"""Text from elsewhere (names of files and layers, messages) as a terminal may have it."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.text import Text

# Control characters, and what turns the direction of writing.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: object, *, lines: bool = False) -> str:
    """``text`` with nothing in it that a terminal obeys: such characters are spelled out.

    Args:
        text: anything; what it is as a string is shown.
        lines: keep line breaks and tabs.
    """

    def spelled(match: re.Match[str]) -> str:
        character = match[0]
        if lines and character in "\n\t":
            return character
        return character.encode("unicode_escape").decode()

    return _UNSAFE.sub(spelled, str(text))


class PlainConsole(Console):
    """A console to which no string is markup."""

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich does it, without markup and emoji codes."""
        return super().render_str(
            plain(text, lines=True), **{**options, "markup": False, "emoji": False}
        )


def open_console() -> Console:
    """Where commands print for people."""
    return PlainConsole(markup=False, highlight=False, emoji=False)
