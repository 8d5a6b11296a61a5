"""Nothing of a user's is removed by what commands write."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.output_folder import (
    MARK,
    check_replaceable,
    json_with,
    open_folder,
    put_in_place,
    scratch_folder,
    write_output,
)
from edgeticket.pipeline.store import Store

FIRST = {"summary.md": "one", "bundle/manifest.json": "{}", "reports/a.json": "1"}
SECOND = {"summary.md": "two", "bundle/manifest.json": "{ }"}


def finish(folder: Path, files: dict[str, str]) -> None:
    """A command that leaves ``files`` in ``folder``."""
    scratch = scratch_folder(folder)
    fill(scratch, files)
    put_in_place(scratch, folder)


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def listing(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): file.read_text()
        for file in folder.rglob("*")
        if file.is_file() and file.name != MARK
    }


def test_a_newer_result_takes_the_place_of_the_older(tmp_path: Path) -> None:
    finish(tmp_path / "demo", FIRST)
    finish(tmp_path / "demo", SECOND)
    assert listing(tmp_path / "demo") == SECOND
    assert [f.name for f in tmp_path.iterdir()] == ["demo"]
    assert not (tmp_path / "demo" / "reports").exists()


def test_what_a_user_added_or_changed_stays(tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    finish(demo, FIRST)
    fill(demo, {"notes.txt": "mine", "reports/pi.json": "far", "summary.md": "one, edited"})
    (demo / "empty").mkdir()
    (demo / "away").symlink_to(tmp_path)
    finish(demo, SECOND)
    finish(demo, SECOND)
    assert listing(demo) == {
        **SECOND,
        "notes.txt": "mine",
        "reports/pi.json": "far",
        "summary.md.kept": "one, edited",
    }
    assert (demo / "empty").is_dir()
    assert (demo / "away").is_symlink()


@pytest.mark.parametrize("name", ["demo", ".demo.partial", ".demo.old"])
def test_a_folder_of_somebody_else_is_refused_whole(tmp_path: Path, name: str) -> None:
    fill(tmp_path / name, {"thesis.tex": "years", "bundle/manifest.json": "{}"})
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        finish(tmp_path / "demo", FIRST)
    assert listing(tmp_path / name) == {"thesis.tex": "years", "bundle/manifest.json": "{}"}


def test_files_and_links_are_no_folders_of_results(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "link"):
        with pytest.raises(InputError, match="a link or a file"):
            check_replaceable(tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


files = st.dictionaries(
    st.sampled_from(["a", "b", "c/d", "c/e/f", "g.kept"]), st.text("xyz", max_size=2), max_size=5
)


@settings(max_examples=60, deadline=None)
@given(first=files, mine=files, second=files)
def test_every_text_of_a_user_is_there_afterwards(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, str],
    mine: dict[str, str],
    second: dict[str, str],
) -> None:
    folder = tmp_path_factory.mktemp("t")
    demo = folder / "demo"
    finish(demo, first)
    fill(demo, mine)
    finish(demo, second)
    after = listing(demo)
    assert second.items() <= after.items()
    for name, text in mine.items():
        if first.get(name) != text:
            kept = [t for path, t in after.items() if path == name or path.startswith(f"{name}.")]
            assert text in kept
    shutil.rmtree(folder)


def test_killed_while_the_scratch_folder_is_marked_the_next_call_goes_on(tmp_path: Path) -> None:
    fill(tmp_path / ".demo.partial", {f".{MARK}.123.tmp": '{"fi'})
    finish(tmp_path / "demo", FIRST)
    assert listing(tmp_path / "demo") == FIRST
    assert [f.name for f in tmp_path.iterdir()] == ["demo"]


def test_killed_between_the_two_renames_nothing_is_lost(tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    finish(demo, FIRST)
    fill(demo, {"notes.txt": "mine"})
    demo.rename(tmp_path / ".demo.old")
    check_replaceable(demo)
    assert listing(demo) == {**FIRST, "notes.txt": "mine"}
    # After the second rename, before what stays was moved over:
    shutil.copytree(demo, tmp_path / ".demo.old")
    (demo / "notes.txt").unlink()
    check_replaceable(demo)
    assert listing(demo) == {**FIRST, "notes.txt": "mine"} | {"reports/a.json": "1"}
    assert not (tmp_path / ".demo.old").exists()


def test_a_folder_that_was_opened_keeps_what_is_put_in(tmp_path: Path) -> None:
    open_folder(tmp_path / "demo")
    fill(tmp_path / "demo", {"sensitivity.json": "{}"})
    finish(tmp_path / "demo", SECOND)
    assert listing(tmp_path / "demo") == {**SECOND, "sensitivity.json": "{}"}


def test_only_an_output_of_the_same_command_is_overwritten(tmp_path: Path) -> None:
    ours = json_with("pairs")
    for text in ("my notes", '{"other": 1}', "[1, 2]", "[" * 100_000):
        (tmp_path / "d.json").write_text(text)
        with pytest.raises(InputError, match=r"d\.json is there already"):
            write_output(tmp_path / "d.json", b"new", ours=ours)
        assert (tmp_path / "d.json").read_text() == text
    write_output(tmp_path / "d.json", b"forced", ours=ours, force=True)
    (tmp_path / "d.json").write_text('{"pairs": []}')
    write_output(tmp_path / "d.json", b"new", ours=ours)
    assert (tmp_path / "d.json").read_bytes() == b"new"


def write_a(folder: Path, resume: Path) -> None:
    (folder / "a.txt").write_text("result")


def test_the_store_removes_only_what_its_record_lists(tmp_path: Path) -> None:
    store = Store(tmp_path / ".stages")

    def stage() -> Path:
        return store.stage("s", write_a, config={}, inputs={}, tools=(), fresh=False).folder

    folder = stage()
    (folder / "mine.txt").write_text("mine")
    (folder / "a.txt").write_text("damaged")
    assert stage() == folder
    assert (folder / "a.txt").read_text() == "result"
    (aside,) = store.root.glob("*.kept1")
    assert [f.name for f in aside.iterdir()] == ["mine.txt"]
