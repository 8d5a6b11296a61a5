"""The jobs that docs/ci offers: whole YAML, and commands that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from edgeticket.pipeline.cli import app

JOBS = sorted((Path(__file__).parents[2] / "docs" / "ci").glob("*.yml"))


@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.name)
def test_a_ready_job_calls_commands_that_there_are(file: Path) -> None:
    text = file.read_text()
    assert yaml.safe_load(text)
    lines = re.findall(r"\.venv/bin/edgeticket ([^\n]*?)(?: \|\||;|\n)", text)
    commands = [shlex.split(line) for line in lines]
    assert [words[0] for words in commands].count("compare") == 1
    assert {words[0] for words in commands} == {"bench", "compare", "history"}
    for name, *rest in commands:
        typer.main.get_command(app).commands[name].make_context(name, rest)
