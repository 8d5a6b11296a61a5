"""Nothing of the user's is ever removed: whatever folder is named, whatever they put into ours."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from devices_fixtures import PATIENCE
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices import connect
from edgeticket.pipeline.devices.on_device import files, kept, mark
from edgeticket.pipeline.devices.remote_calls import call
from edgeticket.pipeline.devices.transfer import content_of, push

HEX = "0123456789abcdef"
KEY, RUN = "ab" * 8, "cd" * 16
WAY_OUT = r"name a new or an empty folder, as in local:/var/tmp/edgeticket"


def do(home: Path | str, function: str, **request: Any) -> Any:
    async def go() -> Any:
        async with connect(f"local:{home}", patience=PATIENCE) as connection:
            return (await call(connection, function, patience=PATIENCE, **request))[0]

    return asyncio.run(go())


def send(home: Path | str, number: int = 0) -> Path:
    """A folder of contents, as a bundle comes to a device."""
    contents = {"deep/a": content_of(b"content %d" % number), "b": content_of(b"same")}

    async def go() -> str:
        async with connect(f"local:{home}", patience=PATIENCE) as connection:
            return await push(
                connection, f"{number:064x}", contents, patience=PATIENCE, tell=lambda _: None
            )

    return Path(asyncio.run(go()))


def measure(home: Path, number: int = 0) -> Any:
    """A run that writes a report and leaves a scratch file behind."""
    script = 'echo {} > "$0/a.json"; echo > "$0/.a.json.1.tmp"; echo > "$0/b.npz"'
    common: dict[str, Any] = {"variables": {}, "hold": True, "limit_s": 50}
    argv = ["sh", "-c", script, "{out}"]
    return do(home, "measure", id=f"{number:032x}", argv=argv, **common)


def listing(folder: Path) -> dict[str, Any]:
    """All that is in a folder: contents, links, folders."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


def lay_out(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"the user's {name}")


THEIRS = {
    "files": ["files/thesis.txt", "runs/1/result.json", "trees/oak.png"],
    "look-alike": [f"files/{'a' * 64}", f"trees/{'b' * 64}/x", f"runs/{RUN}/x", "notes.txt"],
    "without a lock": [f"files/{'a' * 64}", f"trees/{'b' * 64}/x"],
    "environment": ["environment/edgeticket.json", "lock"],
    "a checkout": [".git/HEAD", "main.py"],
    "hidden": [".cache"],
}


@pytest.mark.parametrize("function", ["setup", "push", "measure", "remove"])
@pytest.mark.parametrize("what", THEIRS)
def test_a_folder_that_is_not_ours_stays_as_it_is(tmp_path: Path, what: str, function: str) -> None:
    home = tmp_path / "home"
    lay_out(home, THEIRS[what])
    before = listing(home)
    calls: dict[str, Callable[[Path], Any]] = {
        "setup": lambda home: do(home, "look"),
        "push": send,
        "measure": measure,
        "remove": lambda home: do(home, "remove"),
    }
    with pytest.raises(InputError, match=f"holds files that are not edgeticket's .*{WAY_OUT}"):
        calls[function](home)
    assert listing(home) == before


@pytest.mark.parametrize("command", [["bench", "BUNDLE", "--on"], ["device", "setup"],
                                     ["device", "remove"]])  # fmt: skip
def test_commands_refuse_it_in_one_sentence(tmp_path: Path, command: list[str]) -> None:
    from runner_fixtures import write_tiny_bundle

    bundle = write_tiny_bundle(tmp_path / "bundle")
    home = tmp_path / "home"
    lay_out(home, THEIRS["files"])
    before = listing(home)
    words = [str(bundle) if word == "BUNDLE" else word for word in command]
    done = subprocess.run(
        [sys.executable, "-m", "edgeticket.pipeline", *words, f"local:{home}"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout
    assert "holds files that are not edgeticket's (files, runs, trees)" in done.stderr
    assert done.stderr.count("\n") == 1
    assert listing(home) == before


@pytest.mark.parametrize("home", ["/", "~", "~/.", "~nobody-of-that-name/x"])
def test_what_is_nobodys_to_give(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # empty: an empty folder would do
    for function in ("look", "remove", "place"):
        with pytest.raises(InputError, match=WAY_OUT):
            do(home, function, name="a" * 64, files={})
    assert not list(tmp_path.iterdir())


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for function in ("look", "remove"):
        with pytest.raises(InputError, match="is no folder"):
            do(tmp_path / "file", function)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_of_the_users_is_used_and_stays(tmp_path: Path) -> None:
    assert do(tmp_path, "remove") == []
    assert tmp_path.is_dir()
    send(tmp_path)
    assert (tmp_path / kept.MARK).is_file()
    assert do(tmp_path, "remove") == []
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_folder_is_used_and_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to("disk")
    send(tmp_path / "home")
    assert (tmp_path / "disk" / "trees").is_dir()
    assert do(tmp_path / "home", "remove") == []
    assert listing(tmp_path) == {"disk": None, "home": "disk"}


def in_ours(home: Path) -> list[Path]:
    """Every place in a folder of ours where a user may put something."""
    tree = home / "trees" / f"{0:064x}"
    places = [home, home / "files", home / "trees", tree, tree / "deep", home / "runs"]
    places += [home / "runs" / f"{0:032x}", home / "environments", home / "environments" / KEY]
    return places


def with_everything(home: Path) -> None:
    """A home with a tree, a run and an environment."""
    send(home)
    measure(home)
    make_environment(home)


def make_environment(home: Path) -> None:
    folder = home / "environments" / KEY
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to("/usr/bin/env")
    (folder / "pyvenv.cfg").write_text("x")
    (folder / kept.NOTE).write_text(json.dumps({"key": KEY}))
    (home / kept.LINK).symlink_to(folder)


NAMES = ["notes.txt", "a2.json", "x.npz", ".hidden", "run.list", "bin2", "link", "cafe", "f" * 63]


@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(names=st.lists(st.sampled_from(NAMES), min_size=1, unique=True), seed=st.integers(0, 9))
def test_what_a_user_puts_into_our_folder_stays(names: list[str], seed: int) -> None:
    """Through making room and through removal, in every place; a link is not followed."""
    with tempfile.TemporaryDirectory() as scratch:
        home, outside = Path(scratch) / "home", Path(scratch) / "outside"
        fill_in_process(home, 0)
        outside.mkdir()
        (outside / "precious").write_text("precious")
        theirs = {}
        for i, place in enumerate(in_ours(home)):
            path = place / names[(i + seed) % len(names)]
            path.symlink_to(outside) if path.name == "link" else path.write_text(f"mine {i}")
            theirs[path] = path.lstat().st_ino
        for part, size in (("trees", 64), ("runs", 32), ("environments", 16)):
            (home / part / ("e" * size)).symlink_to(outside)  # a name like ours
        for i in range(1, 9):
            fill_in_process(home, i)
        left = files.remove(REQUEST | {"home": str(home)})
        assert {path: path.lstat().st_ino for path in theirs if os.path.lexists(path)} == theirs
        assert sorted(left) == sorted(
            [str(path.relative_to(home)) for path in theirs]
            + [f"trees/{'e' * 64}", f"runs/{'e' * 32}", f"environments/{'e' * 16}"]
        )
        assert listing(outside) == {"precious": b"precious"}


REQUEST = {"example": "local:/x", "who": "tests", "lock_s": 5}


def fill_in_process(home: Path, number: int) -> None:
    """A tree and a run as the calls make them, and an environment at first."""
    request = REQUEST | {"home": str(home)}
    mark.claim(request)
    (home / "files").mkdir(exist_ok=True)
    wanted = {}
    for path, data in {"deep/a": b"content %d" % number, "b": b"same"}.items():
        digest = hashlib.sha256(data).hexdigest()
        (home / "files" / digest).write_bytes(data)
        wanted[path] = [digest, len(data)]
    assert "folder" in files.place(request | {"name": f"{number:064x}", "files": wanted})
    run = home / "runs" / f"{number:032x}"
    run.mkdir(parents=True)
    (run / "a.json").write_text("{}")
    kept.write_list(str(run), ["a.json"])
    kept.keep_newest(str(run))
    if number == 0:
        make_environment(home)


def test_all_that_is_ours_goes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with_everything(home)
    (home / "trees" / f"{'d' * 64}.4711.tmp").mkdir()  # of hosts that were killed
    (home / "trees" / f"{'d' * 64}.list").write_text("[]")
    (home / "trees" / f"{'d' * 64}.list.4711.tmp").write_text("[")
    (home / ".environment.4711.tmp").symlink_to("/nowhere")
    (home / "files" / f".{'c' * 64}.part").write_text("half")
    assert do(home, "remove") == []
    assert not home.exists()


def make_old(home: Path) -> None:
    """As an edgeticket without marks and lists has left it."""
    with_everything(home)
    (home / kept.MARK).unlink()
    for path in home.glob("*/*.list"):
        path.unlink()


def test_a_home_of_old_is_taken_over_and_can_be_removed(tmp_path: Path) -> None:
    for i, step in enumerate(
        (send, lambda home: measure(home, 1), lambda home: do(home, "remove"))
    ):
        home = tmp_path / str(i)
        make_old(home)
        step(home)
        assert do(home, "remove") == []
        assert list(home.iterdir()) == []


@pytest.mark.parametrize("stray", ["diary", "files/diary", "runs/diary/x", "trees/diary"])
def test_a_home_of_old_with_something_else_in_it_is_refused(tmp_path: Path, stray: str) -> None:
    make_old(tmp_path / "home")
    lay_out(tmp_path / "home", [stray])
    before = listing(tmp_path / "home")
    for step in (send, measure, lambda home: do(home, "remove")):
        with pytest.raises(InputError, match="an earlier edgeticket made it, move your own files"):
            step(tmp_path / "home")
    assert listing(tmp_path / "home") == before


@pytest.mark.parametrize("part", ["files", "trees", "runs"])
def test_a_part_that_is_a_link_is_not_followed(tmp_path: Path, part: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ("f" * 64)).write_text("mine")
    send(tmp_path / "home")
    measure(tmp_path / "home")
    shutil.rmtree(tmp_path / "home" / part)
    (tmp_path / "home" / part).symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="is a link, and nothing is kept behind it"):
        measure(tmp_path / "home", 1) if part == "runs" else send(tmp_path / "home", 1)
    assert do(tmp_path / "home", "remove") == [part]
    assert (tmp_path / "mine" / ("f" * 64)).read_text() == "mine"


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("all of it")
    send(tmp_path / "home")
    (tmp_path / "home" / "lock").unlink()
    (tmp_path / "home" / "lock").symlink_to(tmp_path / "thesis")
    with pytest.raises(InputError, match="symbolic links"):
        measure(tmp_path / "home")
    assert (tmp_path / "thesis").read_text() == "all of it"


def test_many_hosts_mark_a_new_folder_at_once(tmp_path: Path) -> None:
    for i in range(20):
        request = {"home": str(tmp_path / f"home{i}"), "example": "local:/x"}
        with ThreadPoolExecutor(8) as hosts:
            list(hosts.map(lambda _: mark.claim(request), range(8)))  # noqa: B023 - awaited here
        assert json.loads((tmp_path / f"home{i}" / kept.MARK).read_text())["about"] == mark.ABOUT


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    yield from _mount(tmp_path, "ro")


@pytest.fixture
def noexec(tmp_path: Path) -> Iterator[Path]:
    yield from _mount(tmp_path, "noexec")


def _mount(folder: Path, option: str) -> Iterator[Path]:
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size=64m,{option}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written(read_only: Path) -> None:
    for home in (read_only, read_only / "home"):
        with pytest.raises(InputError, match=f"Read-only file system .*{WAY_OUT}"):
            send(home)


def test_a_folder_without_programs_is_told_at_set_up(noexec: Path) -> None:
    from edgeticket.pipeline.devices.environment import set_up

    async def go() -> None:
        async with connect(f"local:{noexec}/home", patience=PATIENCE) as connection:
            await set_up(connection, offline=False, patience=PATIENCE, tell=lambda _: None)

    with pytest.raises(InputError, match=r"disk is mounted noexec, .* name a folder elsewhere"):
        asyncio.run(go())
    assert list(noexec.iterdir()) == []
