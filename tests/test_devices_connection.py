"""Programs over a link: what goes in and comes out, and that every wait ends."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest

from device_runner.errors import InputError
from pipeline.devices import connect
from pipeline.devices.connection import Finished, LinkError, Patience, SlowError


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


def test_what_is_no_target() -> None:
    with pytest.raises(InputError, match=r"'pi@board' is no target \(known: `local`"):
        run(["true"], target="pi@board")
    with pytest.raises(InputError, match="must be absolute"):
        run(["true"], target="local:folder")
    with pytest.raises(LinkError, match="cannot start nonesuch"):
        run(["nonesuch"])
