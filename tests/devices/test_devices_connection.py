"""Programs over a link: what goes in and comes out, and that every wait ends."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices import connect
from edgeticket.pipeline.devices.connection import Finished, LinkError, Patience, SlowError
from edgeticket.pipeline.devices.spawned import Spawned


def run(argv: Sequence[str], *, target: str = "local", **options: Any) -> Finished:
    async def run_it() -> Finished:
        async with connect(target, patience=Patience()) as connection:
            return await connection.run(argv, **{"timeout_s": 20, **options})

    return asyncio.run(run_it())


def test_input_output_and_exit_code() -> None:
    told: list[str] = []
    script = "cat; echo one >&2; echo two >&2; exit 3"
    done = run(["sh", "-c", script], stdin=(b"%d\n" % i for i in range(3)), tell=told.append)
    assert done == Finished(3, b"0\n1\n2\n", b"one\ntwo\n")
    assert told == ["one", "two"]


def test_arguments_arrive_as_they_are() -> None:
    words = ["a b", "$HOME", "'", '"; rm -rf x', "*", "", "ü\n"]
    print_words = "import sys; print(sys.argv[1:])"
    assert run([sys.executable, "-c", print_words, *words]).stdout.decode() == f"{words}\n"


def test_a_program_that_does_not_read_its_input() -> None:
    assert run(["sh", "-c", "exit 0"], stdin=(b"x" * 2**16 for _ in range(200))).exit_code == 0


def test_held_input_ends_with_the_link() -> None:
    start = time.monotonic()
    with pytest.raises(SlowError, match=r"cat took longer than 0\.2 s and was stopped"):
        run(["cat"], hold_stdin=True, timeout_s=0.2)
    assert time.monotonic() - start < 5


def test_a_program_that_prints_without_end_is_stopped() -> None:
    async def go() -> None:
        async with connect("local", patience=Patience()) as connection, asyncio.timeout(20):
            with pytest.raises(SlowError):
                await connection.run(["yes"], timeout_s=0.2)

    asyncio.run(go())


@pytest.mark.parametrize("steps", range(1, 8))
def test_cancelled_while_it_starts_a_program(steps: int) -> None:
    """Its children are killed, too: they hold the pipes, so nobody would ever see these end."""
    entering = ("sh", "-c", '"$@" & wait', "sh")  # as nsenter does: a process between us and it
    board = Spawned("board", home="/", python="", environment=None, prefix=entering)

    async def go() -> None:
        running = asyncio.create_task(board.run(["sleep", "4711"], timeout_s=60))
        for _ in range(steps):
            await asyncio.sleep(0)
        time.sleep(0.2)  # the programs start, and the loop connects no more pipes meanwhile
        running.cancel()
        await asyncio.wait([running], timeout=20)
        assert running.cancelled()

    asyncio.run(go())


def test_what_is_no_target() -> None:
    with pytest.raises(InputError, match=r"'pi@board' is no target \(known: `local`"):
        run(["true"], target="pi@board")
    with pytest.raises(InputError, match="must be absolute"):
        run(["true"], target="local:folder")
    with pytest.raises(LinkError, match="cannot start nonesuch"):
        run(["nonesuch"])
