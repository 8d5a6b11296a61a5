"""The command line teaches: every option says what it is, every command shows how it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
import typer
from typer.testing import CliRunner

from edgeticket.pipeline.cli import app

# Of another room: `bench` and `device`.
ELSEWHERE = {"bench", "device"}


def commands() -> Iterator[tuple[str, click.Command]]:
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        if name not in ELSEWHERE:
            yield name, command


NAMES = [name for name, _ in commands()]


@pytest.mark.parametrize("name", NAMES)
def test_each_option_says_what_it_is(name: str) -> None:
    command = dict(commands())[name]
    for parameter in command.params:
        text = parameter.help or ""
        assert len(text) > 12, parameter.name
        assert text.endswith("."), (parameter.name, text)
        assert "often" not in text, parameter.name
        assert parameter.multiple <= ("Repeatable" in text), parameter.name
        flag = getattr(parameter, "is_flag", False)
        assert flag or parameter.metavar, parameter.name


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_an_example_that_parses(name: str) -> None:
    command = dict(commands())[name]
    lines = [line.strip() for line in (command.help or "").splitlines()]
    examples = [line.split() for line in lines if line.startswith(f"edgeticket {name} ")]
    assert examples
    for words in examples:
        command.make_context(name, words[2:])


@pytest.mark.parametrize("name", NAMES)
def test_help_fits_80_columns(name: str) -> None:
    done = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["rnu", "demo"], "run"),
        (["insepct", "x"], "inspect"),
        (["init", "--weihgts", "w", "a", "b"], "--weights"),
        (["compare", "--max-dorp", "1", "a", "b"], "--max-drop"),
    ],
)
def test_a_mistyped_word_is_told_the_near_one(words: list[str], meant: str) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert meant in done.output


@pytest.mark.parametrize(
    "name", ["[red]x[/red]", "[/etc/foo.d]", "\x1b[31mred\x1b]0;t\x07", "a\nb"]
)
@pytest.mark.parametrize("words", [["run"], ["inspect"], ["experiment"], ["compare", "x.json"]])
def test_names_are_shown_as_text(words: list[str], name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeticket.pipeline", *words, f"{name}.json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "FORCE_COLOR": "1"},
    )
    assert done.returncode == 2
    shown = name.encode("unicode_escape").decode().replace("\\\\", "\\")
    assert shown in done.stderr or "x.json" in done.stderr
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr
