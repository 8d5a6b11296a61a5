"""Text from elsewhere (names of files and layers, messages) as a terminal may have it."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.text import Text

from edgeticket.device_runner.plain_text import plain as spelled_out

_LINES = re.compile("([\n\t])")


def plain(text: object, *, lines: bool = False) -> str:
    """``text`` with nothing in it that a terminal obeys: such characters are spelled out.

    Args:
        text: anything; what it is as a string is shown.
        lines: keep line breaks and tabs.
    """
    if not lines:
        return spelled_out(str(text))
    parts = _LINES.split(str(text))
    return "".join(part if part in ("\n", "\t") else spelled_out(part) for part in parts)


class PlainConsole(Console):
    """A console to which no string is markup."""

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich does it, without markup and emoji codes."""
        return super().render_str(
            plain(text, lines=True), **{**options, "markup": False, "emoji": False}
        )


def open_console(**options: Any) -> Console:
    """Where commands print for people; ``options`` are rich's."""
    return PlainConsole(markup=False, highlight=False, emoji=False, **options)
