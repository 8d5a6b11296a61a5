"""Files on their way to a device: only what lacks, verified there, whole or not at all."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from devices_fixtures import PATIENCE, Relay
from runner_fixtures import write_tiny_bundle
from ssh_server import Device, lay_out, serve, trust

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices import connect
from edgeticket.pipeline.devices.connection import Connection, LinkError
from edgeticket.pipeline.devices.link import open_link
from edgeticket.pipeline.devices.on_device.files import place
from edgeticket.pipeline.devices.remote_calls import call
from edgeticket.pipeline.devices.transfer import Content, bundle_contents, content_of, push

Result = TypeVar("Result")
NOISE = np.random.default_rng(3).bytes(3_000_000)


def on(home: Path, step: Callable[[Connection], Awaitable[Result]]) -> Result:
    async def do() -> Result:
        async with connect(f"local:{home}", patience=PATIENCE) as connection:
            return await step(connection)

    return asyncio.run(do())


def tree(name: str) -> str:
    """A name as folders of contents have it."""
    return hashlib.sha256(name.encode()).hexdigest()


def send(home: Path, name: str, contents: dict[str, Content]) -> tuple[Path, list[str]]:
    """Push over a local connection -> the folder there, and what was told."""
    told: list[str] = []
    folder = on(home, lambda c: push(c, tree(name), contents, patience=PATIENCE, tell=told.append))
    return Path(folder), told


def test_a_bundle_arrives_and_is_not_sent_twice(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    with open_bundle(bundle) as opened:
        contents = bundle_contents(opened)
        folder, told = send(tmp_path / "home", opened.digest, contents)
        assert told[0].startswith("sending")
        again, told = send(tmp_path / "home", opened.digest, contents)
    assert (again, told) == (folder, [])
    found = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == {p.relative_to(bundle): p.read_bytes() for p in bundle.rglob("*.*")}


def test_only_what_has_changed_is_sent(tmp_path: Path) -> None:
    first = {"a": content_of(NOISE), "deep/b": content_of(b"old")}
    send(tmp_path, "one", first)
    folder, told = send(tmp_path, "two", {**first, "deep/b": content_of(b"new")})
    assert told == ["sending 0.0 MB, 0 %"]
    assert ((folder / "a").read_bytes(), (folder / "deep/b").read_bytes()) == (NOISE, b"new")


@pytest.mark.parametrize("harm", ["flipped", "longer", "shorter", "gone"])
def test_what_a_power_cut_has_spoilt_is_sent_anew(tmp_path: Path, harm: str) -> None:
    content = content_of(NOISE)
    folder, _ = send(tmp_path, "one", {"a": content})
    file = tmp_path / "files" / content.sha256
    changed = {"flipped": b"\0" + NOISE[1:], "longer": NOISE + b"\0", "shorter": NOISE[:9]}
    file.unlink() if harm == "gone" else file.write_bytes(changed[harm])
    folder, told = send(tmp_path, "one", {"a": content})
    assert told  # it was sent
    assert (folder / "a").read_bytes() == NOISE


def test_a_wrong_beginning_is_thrown_away(tmp_path: Path) -> None:
    content = content_of(NOISE)
    send(tmp_path, "zero", {"z": content_of(b"z")})
    (tmp_path / "files" / f".{content.sha256}.part").write_bytes(b"\xff" * 2_000_000)
    folder, _ = send(tmp_path, "one", {"a": content})
    assert (folder / "a").read_bytes() == NOISE
    assert list((tmp_path / "files").glob(".*")) == []


@pytest.mark.parametrize("path", ["../a", "/tmp/a", "b/../../a", ""])
def test_nothing_is_laid_out_elsewhere(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="would lie outside of the folder"):
        send(tmp_path, "one", {path: content_of(b"x")})
    with pytest.raises(InputError, match="is not in"):
        on(tmp_path, lambda c: call(c, "fetch", paths=["/etc/passwd"], patience=PATIENCE))


@pytest.mark.parametrize(
    ("name", "reason"), [("../one", "is not a plain name"), ("mine", "is no name for a folder")]
)
def test_a_name_that_is_none_of_ours(tmp_path: Path, name: str, reason: str) -> None:
    """By their names folders are known as ours when they are removed."""
    content = content_of(b"x")
    send(tmp_path, "one", {"a": content})
    wanted = {"a": [content.sha256, 1]}
    with pytest.raises(InputError, match=reason):
        on(tmp_path, lambda c: call(c, "place", name=name, files=wanted, patience=PATIENCE))


def test_two_hosts_send_the_same_at_once(tmp_path: Path) -> None:
    contents = {"a": content_of(NOISE), "b": content_of(NOISE[:-1])}

    async def both() -> list[str]:
        async def one(name: str) -> str:
            async with connect(f"local:{tmp_path}", patience=PATIENCE) as connection:
                return await push(
                    connection, tree(name), contents, patience=PATIENCE, tell=lambda _: None
                )

        return await asyncio.gather(one("x"), one("y"), one("x"))

    folders = asyncio.run(both())
    assert all((Path(folder) / "a").read_bytes() == NOISE for folder in folders)
    assert sorted(p.name for p in (tmp_path / "files").iterdir()) == sorted(
        content.sha256 for content in contents.values()
    )


def test_many_hosts_lay_out_the_same_at_once(tmp_path: Path) -> None:
    """Contents are there; folders of them come, and go to make room, under each other's hands."""
    (tmp_path / "files").mkdir()
    content = content_of(b"content")
    common = {"home": str(tmp_path), "lock_s": 60, "files": {"deep/a": [content.sha256, 7]}}

    def lay_out(i: int) -> None:
        name = tree(f"tree{i // 3 % 9}")
        (tmp_path / f"given{i}").write_bytes(b"content")
        while "folder" not in (found := place({**common, "name": name})):
            os.replace(tmp_path / f"given{i}", tmp_path / "files" / content.sha256)
        assert found["folder"] == str(tmp_path / "trees" / name)

    with ThreadPoolExecutor(8) as hosts:
        list(hosts.map(lay_out, range(300)))


def test_old_bundles_make_room(tmp_path: Path) -> None:
    for i in range(8):
        folder, _ = send(tmp_path, f"tree{i}", {"a": content_of(b"%d" % i)})
    assert folder.exists()
    assert len(list((tmp_path / "files").iterdir())) == 6
    assert len([path for path in (tmp_path / "trees").iterdir() if path.is_dir()]) == 6
    assert len(list((tmp_path / "trees").iterdir())) == 12  # with the list of each


def test_a_clock_that_was_set_back_makes_nothing_old(tmp_path: Path) -> None:
    """A Raspberry Pi has no clock of its own: it starts in the past, and then jumps."""
    for i in range(7):
        send(tmp_path, f"tree{i}", {"a": content_of(b"%d" % i)})
    for path in (tmp_path / "trees").iterdir():
        stamp = path.stat().st_mtime + 86400 * 365
        os.utime(path, (stamp, stamp))
    for i in range(3):
        folder, _ = send(tmp_path, f"later{i}", {"a": content_of(b"later%d" % i)})
        assert (folder / "a").read_bytes() == b"later%d" % i
    left = {path.name for path in (tmp_path / "trees").iterdir() if path.is_dir()}
    assert left == {tree(f"tree{i}") for i in (4, 5, 6)} | {tree(f"later{i}") for i in range(3)}


def test_a_clock_that_jumps_ahead_takes_no_transfer_away(tmp_path: Path) -> None:
    """Half a file that another host sends, and one that nobody goes on with."""
    send(tmp_path, "tree", {"a": content_of(b"a")})
    sent, left = (tmp_path / "files" / f".{name * 64}.part" for name in "ef")
    for path in (sent, left):
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    with sent.open("ab") as other_host:
        fcntl.flock(other_host, fcntl.LOCK_EX)
        send(tmp_path, "tree2", {"b": content_of(b"b")})
    assert sent.exists()
    assert not left.exists()


def test_removing_leaves_nothing_but_what_is_not_ours(tmp_path: Path) -> None:
    send(tmp_path / "home", "one", {"a": content_of(b"x")})
    assert on(tmp_path / "home", lambda c: call(c, "remove", patience=PATIENCE)) == ([], b"")
    assert not (tmp_path / "home").exists()
    assert on(tmp_path / "home", lambda c: call(c, "remove", patience=PATIENCE)) == ([], b"")
    send(tmp_path / "home", "one", {"a": content_of(b"x")})
    (tmp_path / "home" / "diary").write_text("mine")
    left, _ = on(tmp_path / "home", lambda c: call(c, "remove", patience=PATIENCE))
    assert left == [p.name for p in (tmp_path / "home").iterdir()] == ["diary"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_before_anything_is_sent(small_disk: Path) -> None:
    kept, _ = send(small_disk, "small", {"a": content_of(NOISE[:500_000])})
    with pytest.raises(InputError, match=r"the disk is full: 3\.0 MB are needed in .* are free"):
        send(small_disk, "large", {"a": content_of(NOISE)})
    assert (kept / "a").read_bytes() == NOISE[:500_000]


def test_a_disk_that_fills_up_in_mid_transfer(small_disk: Path) -> None:
    """Somebody else writes while we send: what was there stays, and nothing half-written."""
    kept, _ = send(small_disk, "small", {"a": content_of(b"kept")})
    content = content_of(NOISE[:1_500_000])

    def greedy() -> Iterator[bytes]:
        (small_disk / "other").write_bytes(bytes(1_500_000))
        yield from content.pieces(0)

    files = [[content.sha256, content.size_bytes, 0]]
    with pytest.raises(InputError, match="No space left on device"):
        on(
            small_disk,
            lambda c: call(c, "receive", files=files, payload=greedy(), patience=PATIENCE),
        )
    assert (kept / "a").read_bytes() == b"kept"
    assert [p.name for p in (small_disk / "files").iterdir()] == [content_of(b"kept").sha256]
    (small_disk / "other").unlink()
    folder, _ = send(small_disk, "again", {"a": content})
    assert (folder / "a").read_bytes() == NOISE[:1_500_000]


@pytest.mark.parametrize("reset", [False, True])
def test_a_link_that_is_cut_in_mid_transfer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    lay_out(tmp_path / "board", tmp_path / "me")
    told: list[str] = []

    async def do() -> tuple[str, Relay]:
        async with (
            serve(tmp_path / "board") as port,
            Relay(port, cut_after=2_000_000, reset=reset).open() as relay,
        ):
            device = Device(relay.port, tmp_path / "board")
            trust(device, tmp_path / "me")
            contents = {"a": content_of(NOISE), "b": content_of(NOISE[:400_000])}
            async with open_link(device.target, patience=PATIENCE, tell=told.append) as link:
                folder = await link.do(
                    lambda c: push(c, tree("one"), contents, patience=PATIENCE, tell=told.append),
                    heal=True,
                )
            return folder, relay

    folder, relay = asyncio.run(do())
    assert relay.cuts == 1
    assert "the link broke; trying again" in told
    assert (Path(folder) / "a").read_bytes() == NOISE
    assert relay.up_bytes < 4_000_000  # 3.4 MB had to go; half of it was not sent twice


def test_a_link_that_stays_cut_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    lay_out(tmp_path / "board", tmp_path / "me")
    monkeypatch.setattr("edgeticket.pipeline.devices.link.LONGEST_PAUSE_S", 0.5)

    async def do() -> None:
        async with serve(tmp_path / "board") as port, Relay(port).open() as relay:
            device = Device(relay.port, tmp_path / "board")
            trust(device, tmp_path / "me")
            patience = type(PATIENCE)(connect_s=3, heal_s=1.5)
            async with open_link(device.target, patience=patience, tell=lambda _: None) as link:
                contents = {"a": content_of(NOISE)}

                async def step(connection: Connection) -> str:
                    relay.cut_after = 0  # and every later connection as well
                    return await push(
                        connection, tree("one"), contents, patience=patience, tell=lambda _: None
                    )

                await link.do(step, heal=True)

    with pytest.raises(LinkError, match="ssh://tester@127"):
        asyncio.run(asyncio.wait_for(do(), 20))
