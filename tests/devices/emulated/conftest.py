"""One emulated board on a network, set up from nothing, for all tests of this folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from boards import fetch_library, fetch_wheels, user_space_of
from detector_bundle import write_detector_bundle
from network import ROOT, Device, Host, device_on, host_side
from resnet_bundle import write_resnet_bundle

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.emulated.needs import check_needs


@pytest.fixture(scope="session", autouse=True)
def _able() -> None:
    try:
        check_needs()
    except InputError as error:
        pytest.exit(str(error), returncode=2)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An $EDGETICKET_CACHE with a user space and no board that was ever used."""
    folder = tmp_path_factory.mktemp("cache")
    root = user_space_of("bookworm")
    (folder / "emulated").mkdir()
    (folder / "emulated" / root.name).symlink_to(root)
    return folder


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that make pip take wheels from a folder: the lab's network leads nowhere."""
    folder = fetch_wheels("bookworm", tmp_path_factory.mktemp("wheels"))
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host_side(tmp_path_factory.mktemp("host") / "home") as host:
        yield host


@pytest.fixture(scope="session")
def device(host: Host, cache: Path) -> Iterator[Device]:
    """A Cortex-A72 with an SSH server; its home is that of the target emulated:cortex-a72."""
    (root,) = (cache / "emulated").glob("bookworm-*")
    state = cache / "emulated/boards/cortex-a72-bookworm"
    with device_on(host, "cortex-a72", root=root, state=state) as device:
        yield device


@pytest.fixture(scope="session")
def ready(device: Device, wheels: dict[str, str]) -> Device:
    """The device, set up from nothing by the command that a user types."""
    assert not (device.home / ".edgeticket").exists()
    done = device.host.edgeticket(
        "device", "setup", device.target, "--offline", "--timeout", "3000",
        timeout_s=3000, **wheels,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return device


@pytest.fixture(scope="session")
def faketime(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """libfaketime for the board: programs that load it see the wall clock that it is told."""
    return fetch_library(
        "libfaketime", "libfaketimeMT.so.1", tmp_path_factory.mktemp("faketime") / "tree"
    )


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with this machine's reports beside it, as `edgeticket run` leaves them."""
    return _measured_here(write_resnet_bundle(tmp_path_factory.mktemp("run") / "bundle"))


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a network whose answers are boxes."""
    return _measured_here(write_detector_bundle(tmp_path_factory.mktemp("detector") / "bundle"))


def _measured_here(bundle: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "edgeticket.device_runner", "bench", str(bundle), "--no-amx",
         "-o", str(bundle.parent / "reports"), *["--min-seconds", "0.1", "--warmup-seconds", "0"]],
        check=True, cwd=ROOT, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return bundle
