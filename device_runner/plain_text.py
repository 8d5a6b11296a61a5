"""Text from elsewhere (files, devices, reports) as text: nothing in it steers a terminal."""

from __future__ import annotations

import re
import unicodedata

# Controls, invisible marks that turn or hide text, half surrogate pairs, separators of lines.
STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")

LONGEST_LINE = 400  # characters of a line that a program on a device says

# ECMA-48: control sequences, control strings up to their end, and the two-character escapes.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)


def plain(text: str) -> str:
    """The same text on one line; what cannot be seen is written as Python writes it: ``\\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in STEERING else character
        for character in text
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


def _visible(character: str) -> str:
    if " " <= character <= "~":
        return character
    kind = unicodedata.category(character)
    if kind in ("Zs", "Zl", "Zp") or character == "\t":
        return " "
    if kind == "Cf":
        return ""
    return "\ufffd" if kind in ("Cc", "Cs") else character
