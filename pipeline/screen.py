"""The terminal: whatever is printed is shown as text, never as markup or control characters."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from edgeticket.device_runner.text import clean_text


class Screen(Console):
    """A rich console for lines that hold names, labels and messages from elsewhere.

    ``[/etc/foo.d]`` and ``:smile:`` are printed as they are, in tables as well, and no escape
    sequence of theirs reaches the terminal.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text -> what rich prints; every string that is printed goes through here."""
        return super().render_str(clean_text(text), **options)
