"""Carry docs/tutorial.md out in an empty folder, and write what its commands print into it.

    python docs/tutorial_outputs.py [--check]

Blocks that begin with ``# NAME`` become files of that name; ``$ COMMAND`` lines of console blocks
are run in order. With ``--check`` nothing is written: it is enough that every command succeeds.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parent / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LONGEST = 60  # lines of an output that are shown


def main() -> None:
    """Run all blocks; exits with 1 where a command fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as name:
        text = BLOCK.sub(lambda block: carried_out(block, Path(name)), PAGE.read_text())
    if not check:
        PAGE.write_text(text)


def carried_out(block: re.Match[str], folder: Path) -> str:
    """The block as it should stand: console blocks with what their commands print."""
    language, text = block[1], block[2]
    if language in ("python", "yaml") and (name := re.match(r"# (\w+\.\w+)\n", text)):
        (folder / name[1]).write_text(text)
    if language != "console":
        return block[0]
    commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    shown = "\n".join(f"$ {command}\n{printed(command, folder)}" for command in commands)
    return f"```console\n{shown.rstrip()}\n```"


def printed(command: str, folder: Path) -> str:
    """What a command prints, at a width that a page has."""
    print(f"$ {command}", file=sys.stderr, flush=True)
    programs = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "COLUMNS": "110",
            "NO_COLOR": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}")
    lines = [line.rstrip() for line in done.stdout.replace(str(folder), ".").splitlines()]
    if len(lines) > LONGEST:
        lines = [*lines[:LONGEST], f"... {len(lines) - LONGEST} lines more"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
