"""A link that breaks: when it is tried again, for how long, and what is never done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from edgeticket.pipeline.devices import connection, link
from edgeticket.pipeline.devices.connection import Connection, LinkError, Patience
from edgeticket.pipeline.devices.link import open_link
from edgeticket.pipeline.errors import DeviceError


class Clock:
    """Time that passes only in pauses, and in steps that take some."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(link, "time", clock)
    monkeypatch.setattr(link, "asyncio", SimpleNamespace(sleep=clock.sleep))
    return clock


def do(
    step: Callable[[Connection], object],
    *,
    heal: bool = True,
    target: str = "local",
    heal_s: float = 60,
) -> tuple[object, list[str]]:
    """The answer, and what was told, of a step over a link."""
    told: list[str] = []
    patience = Patience(connect_s=5, heal_s=heal_s)

    async def awaited(connection: Connection) -> object:
        return step(connection)

    async def go() -> object:
        async with open_link(target, patience=patience, tell=told.append) as opened:
            return await opened.do(awaited, heal=heal)

    return asyncio.run(go()), told


def breaking(clock: Clock, *stood_s: float) -> Callable[[Connection], int]:
    """A step that breaks after each of the times, and then is done -> how often it began."""
    begun: list[Connection] = []

    def step(connection: Connection) -> int:
        assert all(connection is not earlier for earlier in begun)  # made anew each time
        begun.append(connection)
        if len(begun) <= len(stood_s):
            clock.now += stood_s[len(begun) - 1]
            raise LinkError("cut")
        return len(begun)

    return step


def test_pauses_grow_and_end_in_time(clock: Clock) -> None:
    with pytest.raises(LinkError, match="cut"):
        do(breaking(clock, *[0.0] * 99))
    assert clock.pauses == [0.5, 1, 2, 4, 8, 8, 8, 8, 8, 8]
    assert sum(clock.pauses) <= 60


def test_a_link_that_had_stood_for_long_has_all_the_time_again(clock: Clock) -> None:
    answer, told = do(breaking(clock, 0, 61, 0, 61))
    assert answer == 5
    assert told == ["the link broke; trying again"] * 4
    assert clock.pauses == [0.5, 0.5, 1, 0.5]


def test_what_must_not_be_done_twice_is_done_once(clock: Clock) -> None:
    with pytest.raises(LinkError, match="cut"):
        do(breaking(clock, 0), heal=False)
    assert clock.pauses == []


def test_a_device_that_was_never_reached_is_not_tried_again(clock: Clock) -> None:
    with pytest.raises(LinkError):
        do(lambda connection: None, target="ssh://nobody@127.0.0.1:1")
    assert clock.pauses == []


def run(script: str, **options: object) -> tuple[bytes, list[str]]:
    """Standard output of a program here, and the lines that were told."""
    told: list[str] = []

    async def go() -> bytes:
        async with link.connect("local", patience=Patience(), tell=told.append) as opened:
            done = await opened.run(
                ["sh", "-c", script],
                timeout_s=20,
                tell=told.append,
                **options,  # type: ignore[arg-type]
            )
            return done.stdout

    return asyncio.run(go()), told


def test_a_sign_that_comes_in_pieces_is_seen() -> None:
    sign = connection.Sign(b"sign", wait_s=10, late=lambda: None)
    script = "printf si; sleep 0.3; printf gn; cat"
    assert run(script, sign=sign, stdin=b" and all") == (b"sign and all", [])


def test_a_line_that_comes_in_pieces_is_one_line() -> None:
    assert run(r"printf on >&2; sleep 0.3; printf 'e\ntwo\n' >&2") == (b"", ["one", "two"])


def test_a_program_that_prints_too_much_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "OUTPUT_LIMIT_BYTES", 2**18)
    with pytest.raises(DeviceError, match="printed over 262144 bytes"):
        run("head -c 1000000 /dev/zero")
