"""What looks like ours and is not, in our own folders; and transfers that only just fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from devices_fixtures import PATIENCE
from test_devices_homes import (
    REQUEST,
    WAY_OUT,
    do,
    fill_in_process,
    listing,
    make_old,
    send,
)
from test_devices_transfer import NOISE, on, small_disk, tree
from test_devices_transfer import send as send_contents

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.on_device import files, kept
from edgeticket.pipeline.devices.remote_calls import call
from edgeticket.pipeline.devices.transfer import content_of

__all__ = ["small_disk"]


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_mark_that_is_no_file_is_no_mark(tmp_path: Path, kind: str) -> None:
    home, mark = tmp_path / "home", tmp_path / "home" / kept.MARK
    home.mkdir()
    (tmp_path / "theirs").write_text("{}")
    mark.mkdir() if kind == "folder" else mark.symlink_to(tmp_path / "theirs")
    before = listing(tmp_path)
    for step in (send, lambda home: do(home, "remove")):
        with pytest.raises(InputError, match=f"holds files that are not edgeticket's .*{WAY_OUT}"):
            step(home)
    assert listing(tmp_path) == before


def test_a_link_to_the_users_own_home_is_no_folder_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "me").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    (tmp_path / "link").symlink_to("me")
    with pytest.raises(InputError, match="is no folder to give to edgeticket"):
        send(tmp_path / "link")
    assert list((tmp_path / "me").iterdir()) == []


def test_a_lock_of_old_that_somebody_has_written_to_is_theirs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_old(home)
    (home / "lock").write_text("x" * 5000)
    before = listing(home)
    with pytest.raises(InputError, match="holds files that are not edgeticket's"):
        do(home, "remove")
    assert listing(home) == before


def test_a_link_in_the_place_of_a_folder_of_old_is_theirs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_old(home)
    (home / "trees").rename(tmp_path / "theirs")
    (home / "trees").symlink_to(tmp_path / "theirs")
    before = listing(tmp_path)
    with pytest.raises(InputError, match="holds files that are not edgeticket's"):
        do(home, "remove")
    assert listing(tmp_path) == before


def test_a_list_stays_as_long_as_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "trees" / tree("one")
    folder.mkdir(parents=True)
    for name in ("ours", "theirs"):
        (folder / name).write_text("")
    kept.write_list(str(folder), ["ours"])
    kept.remove_tree(str(folder))
    assert [file.name for file in folder.iterdir()] == ["theirs"]
    assert kept.read_list(str(folder)) == {"ours"}
    (folder / "theirs").unlink()
    kept.remove_tree(str(folder))
    assert list((tmp_path / "trees").iterdir()) == []


@pytest.mark.parametrize("target", ["environments/mine", "elsewhere/abababababababab"])
def test_a_link_to_another_environment_stays(tmp_path: Path, target: str) -> None:
    home = tmp_path / "home"
    send(home)
    (home / kept.LINK).symlink_to(tmp_path / target)
    assert do(home, "remove") == [kept.LINK]
    assert (home / kept.LINK).is_symlink()


def test_a_link_in_the_place_of_a_report_stays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fill_in_process(home, 1)
    report = home / "runs" / f"{1:032x}" / "a.json"
    report.unlink()
    report.symlink_to(tmp_path / "theirs")
    assert files.remove(REQUEST | {"home": str(home)}) == [str(report.relative_to(home))]
    assert report.is_symlink()


def test_only_what_lacks_must_fit_on_the_disk(small_disk: Path) -> None:
    """Most of the file has come before the link broke."""
    send_contents(small_disk, "small", {"z": content_of(b"z")})
    content = content_of(NOISE[:1_500_000])
    part = small_disk / "files" / f".{content.sha256}.part"
    part.write_bytes(NOISE[:1_200_000])
    folder, _ = send_contents(small_disk, "large", {"a": content})
    assert (folder / "a").read_bytes() == NOISE[:1_500_000]


def test_what_has_come_meanwhile_is_passed_over_to_the_byte(tmp_path: Path) -> None:
    """Another host was faster with the first file: the second one is whole all the same."""
    first, second = content_of(b"first content"), content_of(b"second content")
    send_contents(tmp_path, "one", {"a": first})
    rest = [[first.sha256, first.size_bytes, 6], [second.sha256, second.size_bytes, 0]]
    payload = [b"content", b"second content"]
    damaged, _ = on(
        tmp_path, lambda c: call(c, "receive", files=rest, payload=payload, patience=PATIENCE)
    )
    assert damaged == []
    folder, told = send_contents(tmp_path, "two", {"a": first, "b": second})
    assert told == []  # both were there
    assert folder.name == tree("two")
    assert (folder / "b").read_bytes() == b"second content"


def test_a_beginning_is_gone_on_with_and_not_sent_again(tmp_path: Path) -> None:
    content = content_of(b"first content")
    send_contents(tmp_path, "zero", {"z": content_of(b"z")})
    (tmp_path / "files" / f".{content.sha256}.part").write_bytes(b"first ")
    wanted = {"a": [content.sha256, content.size_bytes]}
    lacks, _ = on(
        tmp_path,
        lambda c: call(c, "place", name=tree("one"), files=wanted, patience=PATIENCE),
    )
    assert lacks == {"lacks": [[content.sha256, 13, 6]]}
    rest = [[content.sha256, 13, 6]]
    damaged, _ = on(
        tmp_path,
        lambda c: call(c, "receive", files=rest, payload=[b"content"], patience=PATIENCE),
    )
    assert damaged == []
    assert (tmp_path / "files" / content.sha256).read_bytes() == b"first content"


def test_what_arrives_damaged_is_said_and_not_kept(tmp_path: Path) -> None:
    content = content_of(b"first content")
    send_contents(tmp_path, "zero", {"z": content_of(b"z")})
    before = listing(tmp_path / "files")
    sent = [[content.sha256, content.size_bytes, 0]]
    damaged, _ = on(
        tmp_path,
        lambda c: call(c, "receive", files=sent, payload=[b"other content"], patience=PATIENCE),
    )
    assert damaged == [content.sha256]
    assert listing(tmp_path / "files") == before
