"""Text from elsewhere (files, devices, reports) as text: nothing in it steers a terminal."""

from __future__ import annotations

import unicodedata

# Controls, invisible marks that turn or hide text, half surrogate pairs, separators of lines.
STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")


def plain(text: str) -> str:
    """The same text on one line; what cannot be seen is written as Python writes it: ``\\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in STEERING else character
        for character in text
    )
