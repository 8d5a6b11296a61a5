"""Foreign text in Markdown, as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgeticket.device_runner.plain_text import plain

# A backslash before punctuation is the character itself (CommonMark 0.31, 2.4). These begin
# emphasis, code, links, pictures, HTML, entities, tables, addresses and, on GitHub, formulas.
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>#!|~&$@]|:(?!\s|$))")
_BARE_ADDRESS = re.compile(r"(?i)(www)\.")


def escape(text: str) -> str:
    """``text`` on one line, to stand behind other words or in a cell: nothing in it is markup."""
    return _BARE_ADDRESS.sub(r"\1\\.", _PUNCTUATION.sub(r"\\\1", plain(text).strip()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; cells are escaped."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return [*lines, *(f"| {' | '.join(escape(cell) for cell in row)} |" for row in rows)]
