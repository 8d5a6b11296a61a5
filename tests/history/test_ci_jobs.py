"""The jobs for CI servers that are there to be copied: YAML, and scripts that a shell reads."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from edgeticket.pipeline.cli import app

FOLDER = Path(__file__).parents[2] / "docs" / "ci"


def scripts(document: Any) -> Iterator[str]:
    """Whatever a job gives to a shell."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "run":
                yield value
            elif key in ("script", "after_script"):
                yield from value
            else:
                yield from scripts(value)
    elif isinstance(document, list):
        for value in document:
            yield from scripts(value)


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_a_job_is_yaml_whose_scripts_a_shell_reads(name: str) -> None:
    found = list(scripts(yaml.safe_load((FOLDER / name).read_text())))
    assert any("--against history" in script for script in found)
    for script in found:
        assert "${{" not in script  # what a pull request is called would become part of a script
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_its_flags_are_there(name: str) -> None:
    text = (FOLDER / name).read_text()
    for command in ("compare", "bench", "run"):
        told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300"}).output
        lines = [line for line in text.splitlines() if f"edgeticket {command} " in line]
        assert lines
        for line in lines:
            arguments = line.partition(f"edgeticket {command} ")[2].split()
            for flag in (word for word in arguments if word.startswith("--")):
                assert flag in told, (command, flag)
