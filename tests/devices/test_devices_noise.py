"""What a device says is text: start-up files may print, and what is no answer is quoted."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from devices_fixtures import PATIENCE, stub_runner
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from runner_fixtures import write_tiny_bundle
from ssh_server import Device as Board
from ssh_server import lay_out, log_in_with, serve, serve_apart, trust

import edgeticket.pipeline.devices.fleet_run
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import LONGEST_LINE, clean_line
from edgeticket.device_runner.terminal import table
from edgeticket.pipeline.devices import connect
from edgeticket.pipeline.devices.bench import bench_devices
from edgeticket.pipeline.devices.connection import Connection
from edgeticket.pipeline.devices.fleet_run import measure_together
from edgeticket.pipeline.devices.remote_calls import call
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.devices.transfer import content_of, push
from edgeticket.pipeline.text import open_console

Result = TypeVar("Result")


@pytest.fixture
def me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own, with a key that opens the device in tmp_path/board."""
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    lay_out(tmp_path / "board", tmp_path / "me")
    return tmp_path / "me"


def on_board(me: Path, script: str, step: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Do a step at a device whose login shell runs a script first."""
    log_in_with(me.parent / "board", script)

    async def do() -> Result:
        async with serve(me.parent / "board") as port:
            board = Board(port, me.parent / "board")
            trust(board, me)
            async with connect(board.target, patience=PATIENCE) as connection:
                return await step(connection)

    return asyncio.run(asyncio.wait_for(do(), 60))


NOISE = {
    "words": "echo Welcome; echo 42; echo null; echo",
    "an answer": """echo '{"answer": [1, 2]}'; echo '{"error": "no"}'""",
    "brackets": "echo '[/etc/foo.d]' >&2",
    "no line end": "printf Welcome; printf Welcome >&2",
    "escapes": r"printf '\033]0;title\007\033[2J\377\376\000\r'; printf '\033[?25l' >&2",
    "a long line": r"head -c 300000 /dev/zero | tr '\0' x",
    "later": "(sleep 0.3; echo late; echo late >&2) &",
    "at the end": "trap 'echo bye; echo bye >&2' EXIT",
}


@pytest.mark.parametrize("profile", NOISE)
def test_start_up_files_may_print(me: Path, profile: str) -> None:
    heard: list[str] = []
    data = bytes(range(256)) * 300

    async def step(connection: Connection) -> bytes:
        contents = {"a": content_of(data)}
        folder = await push(connection, "a" * 64, contents, patience=PATIENCE, tell=heard.append)
        return (await call(connection, "fetch", paths=[f"{folder}/a"], patience=PATIENCE))[1]

    assert on_board(me, f'{NOISE[profile]}\neval "$2"', step) == data
    if profile not in ("later", "at the end"):
        assert {line.partition(",")[0] for line in heard} == {"sending 0.1 MB"}


@pytest.mark.parametrize("shell", ["bash", "dash", "rbash", "zsh", "fish", "tcsh", "csh"])
def test_whatever_shell_is_there(me: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    found, _ = on_board(me, f'exec {shell} "$@"', lambda c: call(c, "look", patience=PATIENCE))
    assert tuple(found["version"]) >= (3, 9)


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        ("echo Welcome; exit 0", ["did not start there", "ended with 0 (it says: Welcome)"]),
        ("exit 0", ["did not start there", "ended with 0, and it says nothing"]),
        (
            "echo 'This account is currently not available.'; exit 1",
            ["ended with 1 (it says: This account is currently not available.)", "ForceCommand"],
        ),
        ("echo 'python3: Command not found.' >&2; exit 1", ["there is no python3 (it says: "]),
        ("echo hello; exec cat > received", ["no sign of python3 for 2 s (it says: hello)"]),
        ("exec sh > received", ["no sign of python3 for 2 s, and it says nothing", "~/.bashrc"]),
        ("exec sleep 30", ["no sign of python3 for 2 s"]),
        (r"printf '\033[31m[/x]\377\n' >&2; exit 3", ["ended with 3 (it says: [/x]" + "\ufffd)"]),
        ("yes | head -c 3000000; exit 5", ["ended with 5 (it says: y / y / y)"]),
        ('exec script -qec "$2" /dev/null', ["gives us a terminal"]),
    ],
)
def test_what_does_not_run_python_is_quoted(me: Path, script: str, parts: list[str]) -> None:
    """And is sent nothing: another shell would run our text as commands."""
    if "script" in script and shutil.which("script") is None:
        pytest.skip("no script here")
    patience = dataclasses.replace(PATIENCE, sign_s=2)
    with pytest.raises(InputError) as caught:
        on_board(me, script, lambda c: call(c, "look", patience=patience))
    sentence = str(caught.value)
    assert all(part in sentence for part in parts), sentence
    assert sentence.isprintable()
    received = me.parent / "board" / "home" / "received"
    assert not received.exists() or received.read_bytes() == b""


def test_who_waits_is_told_so(me: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeticket.pipeline.devices.connection.LATE_S", 0.1)
    heard: list[str] = []
    on_board(
        me, 'sleep 1; eval "$2"', lambda c: call(c, "look", patience=PATIENCE, tell=heard.append)
    )
    assert heard == ["no sign of python3 there yet; waiting 60 s for it"]


def test_a_remote_command_of_the_users_is_not_run(me: Path) -> None:
    (me / ".ssh" / "config").write_text("Host *\n  RemoteCommand exit 9\n  RequestTTY force\n")
    found, _ = on_board(me, 'eval "$2"', lambda c: call(c, "look", patience=PATIENCE))
    assert found["environment"] is None


def test_noise_of_one_device_costs_nobody_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brackets, escape sequences, bytes that are no text, and a bug of ours at one device."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    noise = (
        r"printf '[/etc/foo.d]\n[bold]\n\033]0;title\007\033[31mred\r\377\342\200\256:smile:\n' >&2"
    )
    scripts = {"noisy": noise, "fails": f"{noise}; exit 7", "well": ""}
    devices = [
        Device(name, f"local:{tmp_path}/{name}-home", stub_runner(tmp_path / name, bundle, script))
        for name, script in scripts.items()
    ]
    buggy = Device("buggy", f"local:{tmp_path}/buggy-home")
    real = edgeticket.pipeline.devices.fleet_run.measure_on

    async def measure_on(device: Device, *arguments: Any, **options: Any) -> Any:
        if device is buggy:
            raise KeyError("[/a bug]")
        return await real(device, *arguments, **options)

    monkeypatch.setattr("edgeticket.pipeline.devices.fleet_run.measure_on", measure_on)
    with (tmp_path / "screen").open("w+") as file:
        outcomes = measure_together(
            bundle, [*devices, buggy], [], out=tmp_path / "out", offline=False,
            patience=PATIENCE, console=open_console(file=file, width=300),
        )  # fmt: skip
        file.seek(0)
        screen = file.read()
    assert [len(outcome.reports) for outcome in outcomes] == [1, 0, 1, 0]
    assert [outcome.notes for outcome in outcomes] == [()] * 4  # no shell, no start-up files
    assert "noisy: [/etc/foo.d]\n" in screen
    assert "noisy: [bold]\n" in screen
    assert str(outcomes[1].failure).endswith("measuring ended with 7: \ufffd:smile:")
    assert str(outcomes[3].failure).endswith("KeyError: '[/a bug]'")
    assert set(filter(lambda c: not c.isprintable(), screen)) == {"\n"}


def test_what_start_up_files_print_is_noted_once(me: Path, tmp_path: Path) -> None:
    """Every call starts a shell; the note says it once, as text, and few of many lines."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    noise = r"printf '[/etc/foo.d]\n[bold]\n\n\033]0;title\007\033[31mred\377:smile:\n4\n5\n' >&2"
    log_in_with(tmp_path / "board", f'{noise}\neval "$2"')
    with serve_apart(tmp_path / "board") as port, (tmp_path / "screen").open("w+") as file:
        board = Board(port, tmp_path / "board")
        trust(board, me)
        (outcome,) = bench_devices(
            bundle, [Device("pi", board.target, stub_runner(tmp_path / "stub", bundle))], [],
            out=tmp_path / "out", offline=False, patience=PATIENCE,
            console=open_console(file=file, width=300),
        )  # fmt: skip
        file.seek(0)
        screen = file.read()
    assert (outcome.failure, len(outcome.reports)) == (None, 1)
    said = "[/etc/foo.d] / [bold] / red\ufffd:smile: / and 2 more lines"
    assert outcome.notes == (f"it prints before programs start: {said}",)
    assert screen.count("[/etc/foo.d]") == 1
    assert f"\nnote: pi: it prints before programs start: {said}\n" in screen


OUTPUT = r"printf '[/etc/foo.d]\n\033]0;title\007\033[31mred\377\n'"
PRINTED = "it prints before programs start: [/etc/foo.d] / red\ufffd"


def test_what_is_printed_where_answers_come_is_shown_when_the_runner_fails(
    me: Path, tmp_path: Path
) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    log_in_with(tmp_path / "board", f'{OUTPUT}\neval "$2"')
    with serve_apart(tmp_path / "board") as port, (tmp_path / "screen").open("w+") as file:
        board = Board(port, tmp_path / "board")
        trust(board, me)
        outcomes = measure_together(
            bundle, [Device("pi", board.target, stub_runner(tmp_path / "stub", bundle, "exit 7"))],
            [], out=tmp_path / "out", offline=False, patience=PATIENCE,
            console=open_console(file=file, width=300),
        )  # fmt: skip
        file.seek(0)
        screen = file.read()
    assert str(outcomes[0].failure).endswith(f"measuring ended with 7: no message; {PRINTED}")
    assert PRINTED in screen
    assert set(filter(lambda c: not c.isprintable(), screen)) == {"\n"}


def test_what_is_printed_is_shown_when_a_call_is_refused(me: Path) -> None:
    with pytest.raises(InputError) as caught:
        on_board(
            me,
            f'{OUTPUT}\neval "$2"',
            lambda c: call(c, "fetch", paths=["/none/such"], patience=PATIENCE),
        )
    assert str(caught.value).endswith(f"; {PRINTED}"), str(caught.value)


def test_lines() -> None:
    assert clean_line(b"\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x1b\\link\x1b]8;;\x07 \xff") == (
        "red link \ufffd"
    )
    assert clean_line("10 %\r20 %\r") == "20 %"
    assert clean_line("a\u202eb\u2066c\u200fd\ufeff\x00e\u2028f\x9b2Jg") == "abcd\ufffde fg"
    assert clean_line("x" * 9999) == "x" * (LONGEST_LINE - 1) + "…"
    assert clean_line(b"\xf0\x9f\x98\x80" * 9999).startswith("😀")


@given(st.text() | st.binary())
def test_any_line_is_one_that_can_be_printed(text: str | bytes) -> None:
    line = clean_line(text)
    assert len(line) <= LONGEST_LINE
    assert not set(line) & set(map(chr, [*range(32), *range(127, 160), *range(0x202A, 0x202F)]))
    assert clean_line(line) == line
    line.encode("utf-8")


@given(st.lists(st.text(), min_size=2, max_size=2))
def test_cells_of_tables_stay_in_their_lines(cells: list[str]) -> None:
    assert table([cells, ["a", "b"]]).count("\n") == 1


def test_a_screen_takes_nothing_for_markup(tmp_path: Path) -> None:
    with (tmp_path / "screen").open("w+") as file:
        screen = open_console(file=file, width=80, force_terminal=True, color_system=None)
        screen.print("[bold]:smile:[/etc]\x1b[2J")
        rows = Table("[red]name", title="[/x]")
        rows.add_row("[/y]\x1b]0;t\x07")
        screen.print(rows)
        file.seek(0)
        shown = file.read()
    assert all(
        text in shown for text in ("[bold]:smile:[/etc]\\x1b[2J\n", "[red]name", "[/x]", "[/y]")
    )
    assert "\x1b[2J" not in shown
    assert "\x1b]0" not in shown
