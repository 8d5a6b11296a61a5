"""Where readings come from: small text files, and programs of the machine."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from edgeticket.device_runner.unavailable import Unavailable

Command = Callable[[Sequence[str]], str]
"""Runs a program -> its standard output; raises OSError or SubprocessError."""


def run_command(command: Sequence[str]) -> str:
    """Run a program of the machine, at most 5 s -> its standard output."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=5,
        check=True,
    )
    return done.stdout


def ask(command: Command, words: Sequence[str], *, where: str) -> str | Unavailable:
    """The answer of a program; ``where``: which machines have it, for the reason if not."""
    try:
        return command(words)
    except FileNotFoundError:
        return Unavailable(f"no {words[0]} ({where} has one)")
    except (OSError, subprocess.SubprocessError) as error:
        return Unavailable(f"{' '.join(words)} failed: {error}")


def read_text(path: Path) -> str | Unavailable:
    """A small text file -> its text, stripped of blanks and the NULs of the device tree."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(2**20).strip(" \t\r\n\0")
    except OSError as error:
        return Unavailable(f"{path}: {error.strerror}")
    return text or Unavailable(f"{path} is empty")


def read_integer(path: Path) -> int | Unavailable:
    """A file that holds one whole number."""
    text = read_text(path)
    if isinstance(text, Unavailable):
        return text
    try:
        return int(text)
    except ValueError:  # a sensor that is switched off
        return Unavailable(f"{path} holds {text[:20]!r}, not a whole number")
