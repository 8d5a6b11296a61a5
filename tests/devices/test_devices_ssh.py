"""SSH as users have it: their keys, their known_hosts, and every way in which nobody answers."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import pytest
from devices_fixtures import PATIENCE, Relay, processes_with
from ssh_server import Device, lay_out, serve, trust

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices import connect
from edgeticket.pipeline.devices.connection import Connection, Finished, LinkError, Patience
from edgeticket.pipeline.devices.remote_calls import call
from edgeticket.pipeline.devices.ssh_address import parse_address

Result = TypeVar("Result")


@pytest.fixture
def me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own, with a key that opens the device in tmp_path/board."""
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    lay_out(tmp_path / "board", tmp_path / "me")
    return tmp_path / "me"


@asynccontextmanager
async def board(me: Path, *, known: bool = True) -> AsyncIterator[Device]:
    async with serve(me.parent / "board") as port:
        device = Device(port, me.parent / "board")
        if known:
            trust(device, me)
        yield device


def on_board(me: Path, step: Callable[[Connection], Awaitable[Result]]) -> Result:
    async def do() -> Result:
        async with board(me) as device, connect(device.target, patience=PATIENCE) as connection:
            return await step(connection)

    return asyncio.run(asyncio.wait_for(do(), 30))


def refused(me: Path, target: str | None = None, *, known: bool = True) -> str:
    """The sentence that ends an attempt to log in."""

    async def do() -> None:
        async with (
            board(me, known=known) as device,
            connect(target or device.target, patience=PATIENCE),
        ):
            pass

    with pytest.raises(InputError) as caught:
        asyncio.run(asyncio.wait_for(do(), 30))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_programs_run_as_here(me: Path) -> None:
    told: list[str] = []
    words = ["a b", "$HOME", "'", '"; exit 9; "', "*", "", "ü"]
    script = 'cat; for word in "$@"; do printf "%s\\n" "$word" >&2; done; exit 3'
    done = on_board(
        me,
        lambda c: c.run(
            ["sh", "-c", script, "sh", *words],
            timeout_s=20,
            stdin=(b"%d\n" % i for i in range(3)),
            tell=told.append,
        ),
    )
    assert done == Finished(3, b"0\n1\n2\n", "".join(f"{word}\n" for word in words).encode())
    assert told == words


def test_calls_need_nothing_but_python_there(me: Path) -> None:
    found, _ = on_board(me, lambda c: call(c, "look", patience=PATIENCE))
    assert tuple(found["version"]) >= (3, 9)
    assert found["environment"] is None


def test_a_device_without_python(me: Path) -> None:
    async def step(connection: Connection) -> None:
        object.__setattr__(connection, "python", "python3.99")
        await call(connection, "look", patience=PATIENCE)

    with pytest.raises(InputError, match=r"there is no python3\.99 .*sudo apt install python3"):
        on_board(me, step)


def test_an_unknown_host_key_is_refused_with_the_way_to_accept_it(me: Path) -> None:
    told = refused(me, known=False)
    key = asyncssh.read_public_key(me.parent / "board" / "host_key.pub").get_fingerprint()
    assert f"its host key ({key}) is not known here: type `ssh -p " in told
    assert not (me / ".ssh" / "known_hosts").exists()


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_a_changed_host_key_is_refused_with_the_way_to_mend_it(me: Path, kind: str) -> None:
    async def do() -> None:
        async with board(me) as device:
            old = asyncssh.generate_private_key(kind).export_public_key().decode()
            (me / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{device.port} {old}")
            with pytest.raises(InputError) as caught:
                async with connect(device.target, patience=PATIENCE):
                    pass
            assert "is not the one in known_hosts" in str(caught.value)
            assert f"`ssh-keygen -R '[127.0.0.1]:{device.port}'`" in str(caught.value)

    asyncio.run(do())


def test_a_key_that_does_not_open(me: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(me / ".ssh" / "id_ed25519")
    told = refused(me)
    assert "accepts none of your SSH keys" in told
    assert "`ssh-copy-id -p " in told


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen to lock a key with")
def test_a_locked_key_belongs_into_the_agent(me: Path) -> None:
    lock = ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(me / ".ssh" / "id_ed25519")]
    subprocess.run(lock, check=True, stdout=subprocess.DEVNULL)
    assert "`ssh-add`" in refused(me)


def test_the_users_own_ssh_config_is_honoured(me: Path) -> None:
    os.rename(me / ".ssh" / "id_ed25519", me / "elsewhere")

    async def do() -> Finished:
        async with board(me) as device:
            os.rename(me / ".ssh" / "known_hosts", me / "hosts")
            (me / ".ssh" / "config").write_text(
                f"Host Pi5\n  HostName 127.0.0.1\n  Port {device.port}\n  User tester\n"
                f"  IdentityFile {me}/elsewhere\n  UserKnownHostsFile {me}/hosts\n"
            )
            async with connect("ssh://Pi5", patience=PATIENCE) as connection:
                assert connection.home == "~/.edgeticket"
                return await connection.run(["echo", "hello"], timeout_s=20)

    assert asyncio.run(do()).stdout == b"hello\n"


def test_a_config_that_trusts_everybody_is_not_followed(me: Path) -> None:
    (me / ".ssh" / "config").write_text(
        "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n"
    )
    assert "is not known here" in refused(me, known=False)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh to type it into")
@pytest.mark.parametrize("file", ["/dev/null", "none", "HOME/.ssh/hosts", None])
@pytest.mark.parametrize("checking", ["no", "ask"])
def test_what_is_advised_about_an_unknown_key_works(
    me: Path, file: str | None, checking: str
) -> None:
    """Whatever ~/.ssh/config says of known hosts: typed as printed, the next try works."""
    lines = ["Host *", f"  StrictHostKeyChecking {checking}"]
    lines += [f"  UserKnownHostsFile {file.replace('HOME', str(me))}"] if file else []
    (me / ".ssh" / "config").write_text("\n".join(lines) + "\n")
    (me / "yes").write_text("#!/bin/sh\necho yes\n")
    (me / "yes").chmod(0o755)

    async def go() -> None:
        async with board(me, known=False) as device:
            with pytest.raises(InputError, match="is not known here: type `") as caught:
                async with connect(device.target, patience=PATIENCE):
                    pass
            typed = str(caught.value).split("`")[1].replace("~", str(me))
            # ssh takes its home from passwd, not from $HOME, and has a person to ask.
            mine = f"ssh -F {me}/.ssh/config -i {me}/.ssh/id_ed25519 "
            mine += "" if file else f"-o UserKnownHostsFile={me}/.ssh/known_hosts "
            line = "SSH_ASKPASS_REQUIRE=force SSH_ASKPASS=$HOME/yes " + typed.replace("ssh ", mine)
            ssh = await asyncio.create_subprocess_shell(f"{line} true", stdin=subprocess.DEVNULL)
            assert await ssh.wait() == 0, line
            async with connect(device.target, patience=PATIENCE) as connection:
                assert (await connection.run(["true"], timeout_s=20)).exit_code == 0

    asyncio.run(asyncio.wait_for(go(), 40))


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen to type it into")
def test_what_is_advised_about_a_changed_key_names_the_file(me: Path) -> None:
    (me / ".ssh" / "config").write_text(f"Host *\n  UserKnownHostsFile {me}/hosts\n")

    async def go() -> None:
        async with board(me, known=False) as device:
            old = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
            (me / "hosts").write_text(f"[127.0.0.1]:{device.port} {old}")
            with pytest.raises(InputError, match="is not the one in known_hosts") as caught:
                async with connect(device.target, patience=PATIENCE):
                    pass
            subprocess.run(str(caught.value).split("`")[1], shell=True, check=True)
            assert (me / "hosts").read_text() == ""

    asyncio.run(go())


def test_nobody_listens(me: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = refused(me, f"ssh://tester@127.0.0.1:{port}")
    assert f"`ssh -p {port} tester@127.0.0.1` must work first" in told
    assert "must work first" in refused(me, "ssh://no-such-host.invalid")


def test_a_black_hole_ends_in_time(me: Path) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        patience = Patience(connect_s=1)
        start = time.monotonic()

        async def do() -> None:
            target = f"ssh://tester@127.0.0.1:{hole.getsockname()[1]}"
            async with connect(target, patience=patience):
                pass

        with pytest.raises(LinkError, match="no answer for 1 s: is the device switched on"):
            asyncio.run(do())
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("reset", [False, True])
def test_a_line_that_breaks_while_logging_in(me: Path, reset: bool) -> None:
    async def do() -> None:
        async with board(me) as device, Relay(device.port, cut_after=700, reset=reset).open() as r:
            with pytest.raises(LinkError, match="cannot connect"):
                async with connect(f"ssh://tester@127.0.0.1:{r.port}", patience=PATIENCE):
                    pass

    asyncio.run(asyncio.wait_for(do(), 30))


def test_something_else_listens(me: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 50)
        writer.close()

    async def do() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        target = f"ssh://tester@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            with pytest.raises(LinkError, match="cannot connect"):
                async with connect(target, patience=PATIENCE):
                    pass

    asyncio.run(asyncio.wait_for(do(), 30))


def test_a_link_that_falls_silent_counts_as_lost(me: Path) -> None:
    """No FIN, no RST: the cable is out. Keep-alives notice."""

    async def do() -> None:
        async with board(me) as device, Relay(device.port).open() as relay:
            trust(Device(relay.port, device.folder), me)
            patience = Patience(connect_s=5, silence_s=1)
            target = f"ssh://tester@127.0.0.1:{relay.port}"
            async with connect(target, patience=patience) as connection:
                relay.silent = True
                with pytest.raises(LinkError, match="the link broke"):
                    await connection.run(["sleep", "60"], timeout_s=60)

    start = time.monotonic()
    asyncio.run(asyncio.wait_for(do(), 30))
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("fate", ["cut", "rebooted"])
def test_a_measurement_dies_with_its_link_and_the_next_one_works(me: Path, fate: str) -> None:
    """Nobody may measure on for a host that is gone: the next one would be disturbed."""
    word = f"60.{os.getpid()}"
    common: dict[str, Any] = {"variables": {}, "patience": PATIENCE, "hold": True, "limit_s": 50}

    async def do() -> None:
        async with board(me) as device, Relay(device.port).open() as relay:
            trust(Device(relay.port, device.folder), me)
            target = f"ssh://tester@127.0.0.1:{relay.port}{device.home}"
            async with connect(target, patience=PATIENCE) as connection:
                argv = ["sleep", word]
                sleeping = asyncio.create_task(
                    call(connection, "measure", id="1" * 32, argv=argv, timeout_s=50, **common)
                )
                while not processes_with(f"sleep\0{word}"):
                    await asyncio.sleep(0.05)
                if fate == "rebooted":
                    for number in processes_with(f"sleep\0{word}"):
                        os.killpg(os.getpgid(number), signal.SIGKILL)
                relay.cut_after = 0  # at the next keep-alive
                with pytest.raises(LinkError, match=r"the link broke|was killed there"):
                    await sleeping
            end = time.monotonic() + 10
            while processes_with(f"sleep\0{word}") and time.monotonic() < end:
                await asyncio.sleep(0.05)
            assert not processes_with(f"sleep\0{word}")
            async with connect(device.target, patience=PATIENCE) as connection:
                found, _ = await call(connection, "measure", id="2" * 32, argv=["true"], **common)
                assert found["exit_code"] == 0

    asyncio.run(asyncio.wait_for(do(), 40))


@pytest.mark.parametrize(
    "target",
    [
        *("ssh://", "ssh:///folder", "ssh://a b", "ssh://host:99999", "ssh://host:x"),
        *("ssh://-oProxyCommand=x", "ssh://-l@host", "ssh://host?x", "ssh://host#x", "ssh://[::1"),
    ],
)
def test_addresses_that_are_none(target: str) -> None:
    with pytest.raises(InputError, match="write ssh://user@host"):
        parse_address(target)


def test_a_password_is_neither_used_nor_repeated() -> None:
    with pytest.raises(InputError, match="a password has no place in a target") as caught:
        parse_address("ssh://pi:raspberry@board")
    assert "raspberry" not in str(caught.value)


def test_addresses() -> None:
    whole = parse_address("ssh://pi@Board.local:2222/var/tmp/x")
    assert (whole.user, whole.host, whole.port, whole.home) == (
        *("pi", "Board.local", 2222),
        "/var/tmp/x",
    )
    assert whole.command == "ssh -p 2222 pi@Board.local"
    short = parse_address("ssh://orin")
    assert (short.user, short.port, short.home) == (None, None, "~/.edgeticket")
    assert parse_address("ssh://pi@[fe80::1%25eth0]").host == "fe80::1%25eth0"
