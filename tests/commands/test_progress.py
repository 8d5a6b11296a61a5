"""Progress elsewhere than on a terminal, and text from elsewhere on one."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from edgeticket.pipeline.progress import Bars
from edgeticket.pipeline.text import PlainConsole, plain


def test_a_pipe_gets_lines_but_no_flood() -> None:
    for every_s, lines in ((0.0, 9), (3600.0, 0)):
        console = Console(file=io.StringIO(), width=80)
        with Bars(console, every_s=every_s).task("train [red]", 10) as advance:
            for i in range(10):
                advance(1, f"loss {i}")
        printed = console.file.getvalue()  # type: ignore[attr-defined]
        assert printed.count("\n") == lines
        assert "\x1b" not in printed
        if lines:
            assert "train [red]: 5 of 10 (50%), about " in printed
            assert "left: loss 4" in printed


def test_a_task_without_steps_is_no_division_by_zero() -> None:
    with Bars(Console(file=io.StringIO()), every_s=0.0).task("nothing", 0) as advance:
        advance(0, "x")


def test_a_terminal_shows_titles_and_notes_as_text() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with Bars(console).task("decode [bold]x[/]", 2) as advance:
        advance(1, "[/etc/foo.d] \x1b]0;title\x07")
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "decode [bold]x[/]" in printed
    assert "[/etc/foo.d]" in printed
    assert "\x1b]0;" not in printed


@given(st.text(st.characters(exclude_characters="\t"), max_size=40))
def test_no_text_is_markup_or_moves_the_cursor(text: str) -> None:
    shown = plain(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert plain(shown) == shown
    console = PlainConsole(file=io.StringIO(), width=400, force_terminal=True, color_system=None)
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    console.print(text)
    console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in printed
    for line in plain(text, lines=True).split("\n"):
        assert line.strip() in printed
