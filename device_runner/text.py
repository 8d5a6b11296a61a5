"""Text that others wrote (devices, files, programs), made fit to be shown."""

from __future__ import annotations

import re
import unicodedata

LONGEST_LINE = 400  # characters of a line that a program on a device says
_LONGEST = 20_000  # of any line at all

# ECMA-48: control sequences, control strings up to their end, and the two-character escapes.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)


def clean_line(text: str | bytes, *, longest: int = LONGEST_LINE) -> str:
    """What a program said -> one line that a terminal shows as it stands.

    Escape sequences and invisible characters (those that change the direction of writing among
    them) are left out, other control characters and bytes that are no UTF-8 become U+FFFD. What
    was overwritten by a carriage return is gone; what is beyond ``longest`` becomes an ellipsis.
    """
    if isinstance(text, bytes):
        text = text[: 8 * longest + 4096].decode("utf-8", "replace")
    text = _ESCAPES.sub("", text)
    lines = [next(filter(None, reversed(line.split("\r"))), "") for line in text.split("\n")]
    line = " ".join("".join(map(_visible, " ".join(lines))).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def clean_text(text: str) -> str:
    """As `clean_line`, but lines and their blanks stay: for sentences and tables of our own."""
    lines = ("".join(map(_visible, line)) for line in _ESCAPES.sub("", text).split("\n"))
    return "\n".join(line if len(line) <= _LONGEST else line[:_LONGEST] + "…" for line in lines)


def _visible(character: str) -> str:
    if " " <= character <= "~":
        return character
    kind = unicodedata.category(character)
    if kind in ("Zs", "Zl", "Zp") or character == "\t":
        return " "
    if kind == "Cf":
        return ""
    return "\ufffd" if kind in ("Cc", "Cs") else character
