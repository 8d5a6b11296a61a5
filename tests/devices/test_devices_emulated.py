"""Emulated boards as far as they go without root: what is missing, what is kept, what is said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.machine import cpu_model, int8_instructions
from edgeticket.pipeline.devices.connection import Patience
from edgeticket.pipeline.devices.emulated import connect_emulated, needs, parse_address, user_space
from edgeticket.pipeline.devices.emulated.cpus import CPUS, Cpu, format_cpuinfo

ENTRY = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n"


@pytest.fixture
def able(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has all it needs -> its binfmt_misc folder."""
    monkeypatch.setattr(needs.platform, "system", lambda: "Linux")
    monkeypatch.setattr(needs.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(needs.os, "geteuid", lambda: 0)
    monkeypatch.setattr(needs.shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(needs, "BINFMT", tmp_path)
    monkeypatch.setattr(needs, "KEYRING", tmp_path / "register")
    (tmp_path / "register").touch()
    (tmp_path / "qemu-aarch64").write_text(ENTRY)
    return tmp_path


def test_a_machine_that_has_everything_may_go_on(able: Path) -> None:
    needs.check_needs()


def test_the_user_is_told_to_become_root(able: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs.os, "geteuid", lambda: 1000)
    with pytest.raises(InputError, match="needs root; run the same command with sudo"):
        needs.check_needs()


def test_a_board_itself_is_sent_to_the_target_local(
    able: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs.platform, "machine", lambda: "aarch64")
    with pytest.raises(InputError, match=r"Linux on aarch64.*`local`"):
        needs.check_needs()


def test_missing_packages_are_named_with_the_command(
    able: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs.shutil, "which", lambda program: None)
    with pytest.raises(InputError, match="`apt-get install qemu-user-static mmdebstrap`"):
        needs.check_needs()
    monkeypatch.setattr(needs, "KEYRING", able / "none")
    with pytest.raises(InputError, match="mmdebstrap debian-archive-keyring`"):
        needs.check_needs()


def test_a_kernel_without_binfmt_is_told_the_command(
    able: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (able / "qemu-aarch64").unlink()
    with pytest.raises(InputError, match=r"`cat \S+qemu-aarch64.conf > \S+/register`"):
        needs.check_needs()
    monkeypatch.setattr(needs, "BINFMT", able / "unmounted")
    with pytest.raises(InputError, match=r"`mount -t binfmt_misc binfmt_misc \S+ && cat "):
        needs.check_needs()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (ENTRY.replace("enabled", "disabled"), "switched off"),
        (ENTRY.replace("POF", "PO"), "no flag F"),
        ("", "switched off"),
    ],
)
def test_a_binfmt_entry_that_does_not_serve_boards(able: Path, entry: str, reason: str) -> None:
    (able / "qemu-aarch64").write_text(entry)
    with pytest.raises(InputError, match=reason):
        needs.check_needs()


@pytest.mark.parametrize("cpu", CPUS.values(), ids=list(CPUS))
def test_the_runner_reads_the_cpu_from_the_text_made_for_it(cpu: Cpu) -> None:
    text = format_cpuinfo(cpu, cores=4)
    assert str(cpu_model(text)).lower() == cpu.name
    expected = ("asimd", "asimddp") if cpu.name == "cortex-a76" else ("asimd",)
    assert int8_instructions(text) == expected
    assert text.count("processor\t:") == 4


def test_addresses() -> None:
    assert parse_address("emulated:cortex-a53") == (CPUS["cortex-a53"], "bookworm")
    assert parse_address("emulated:cortex-a76:trixie") == (CPUS["cortex-a76"], "trixie")
    for wrong in ("emulated", "emulated:", "emulated:max", "emulated:cortex-a53:sid"):
        with pytest.raises(InputError, match="known: "):
            parse_address(wrong)


def test_an_unable_machine_builds_nothing(able: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETICKET_CACHE", str(able / "cache"))
    monkeypatch.setattr(needs.os, "geteuid", lambda: 1000)

    async def connect() -> None:
        async with connect_emulated("emulated:cortex-a53", patience=Patience(), tell=print):
            raise AssertionError("connected")

    with pytest.raises(InputError, match="root"):
        asyncio.run(connect())
    assert not (able / "cache").exists()


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A build whose packages are one empty folder -> the folders in which it took place."""
    places: list[Path] = []

    def extract(suite: str, root: Path, *, say: user_space.Say) -> None:
        assert not root.exists(), "the leftovers of an earlier build are still there"
        root.mkdir()
        places.append(root)

    monkeypatch.setenv("EDGETICKET_CACHE", str(tmp_path))
    monkeypatch.setattr(user_space, "_extract", extract)
    monkeypatch.setattr(user_space, "_furnish", lambda root: None)
    monkeypatch.setattr(user_space, "_run", lambda command, suite: None)
    return places


def test_a_user_space_is_built_once(build: list[Path]) -> None:
    said: list[str] = []
    first = user_space.ensure_user_space("bookworm", say=said.append)
    assert said
    again = user_space.ensure_user_space("bookworm", say=said.append)
    other = user_space.ensure_user_space("trixie", say=said.append)
    assert first == again != other
    assert first.is_dir()
    assert len(build) == 2


def test_a_half_built_one_is_never_used(build: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(command: list[str], suite: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(user_space, "_run", stop)
        with pytest.raises(KeyboardInterrupt):
            user_space.ensure_user_space("bookworm", say=print)
    assert build[0].is_dir(), "as after kill -9: what is there stays"
    final = user_space.ensure_user_space("bookworm", say=print)
    assert final.is_dir()
    assert len(build) == 2
    assert not build[1].exists()


def test_a_failing_step_is_one_sentence(tmp_path: Path) -> None:
    lines = ("I: fetching", "Reading package lists...", "E: no such suite", "E: apt-get failed")
    code = "; ".join(f"echo '{line}' >&2" for line in lines)
    step = ["sh", "-c", f"{code}; exit 25"]
    said: list[str] = []
    with pytest.raises(InputError, match=r"Debian sid: sh failed \(25\): no such suite; see"):
        user_space._run(step, "sid", say=said.append)
    assert said == ["fetching"]


def test_a_full_or_forbidden_folder_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGETICKET_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="EDGETICKET_CACHE"):
        user_space.ensure_user_space("bookworm", say=print)
