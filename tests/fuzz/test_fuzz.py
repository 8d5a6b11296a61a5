"""Whatever a file or a text says, reading it ends soon, in a value or in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fuzz_readers
import pytest

FEW, MANY = 20, 400


def attack_in_a_process(name: str, *, first: int, count: int) -> list[str]:
    """A crash of a runtime, or memory that runs out, is then one failure among others."""
    command = [sys.executable, fuzz_readers.__file__, name, str(first), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return [f"{name} from {first}: exit {done.returncode}: {done.stderr[-500:]}"]
    failures: list[str] = json.loads(done.stdout.splitlines()[-1])
    return failures


@pytest.mark.parametrize("name", sorted(fuzz_readers.READERS.keys() - fuzz_readers.MODELS.keys()))
def test_a_few_of_every_kind(name: str, tmp_path: Path) -> None:
    assert fuzz_readers.attack(name, first=0, count=FEW, folder=tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_many_of_every_kind(name: str) -> None:
    assert attack_in_a_process(name, first=FEW, count=MANY) == []
