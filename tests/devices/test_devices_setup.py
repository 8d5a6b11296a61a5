"""Set-up: what is planned for which board, and that an environment is there whole or as before.

Wheels of the big packages are stand-ins here, so that nothing is downloaded; one slow test takes
the real ones.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dataclasses
import io
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from devices_fixtures import PATIENCE
from rich.console import Console
from runner_fixtures import write_tiny_bundle

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import read_report
from edgeticket.pipeline.devices import CONNECTIONS, connect
from edgeticket.pipeline.devices.connection import Connection, Patience
from edgeticket.pipeline.devices.environment import Ready, set_up
from edgeticket.pipeline.devices.fleet_run import measure_together
from edgeticket.pipeline.devices.plan import Facts, plan
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.devices.runner_wheel import build_runner_wheel
from edgeticket.pipeline.devices.spawned import connect_local
from edgeticket.pipeline.devices.visit import check_device, clean_device
from edgeticket.pipeline.devices.wheels import platform_tags

ROOT = Path(__file__).parents[2]
PI = Facts(
    executable="/usr/bin/python3",
    version=(3, 11, 2),
    bits=64,
    machine="aarch64",
    libc=("glibc", "2.36"),
    venv=True,
    pip=None,
    gpu=None,
    free_bytes=10**9,
    environment=None,
)
HERE, ORT = version("ai-edge-litert"), version("onnxruntime")
NOWHERE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_INDEX": "0", "PIP_FIND_LINKS": ""}


def stand_in(folder: Path, name: str, number: str) -> None:
    """A wheel without contents."""
    module = name.replace("-", "_")
    about = f"{module}-{number}.dist-info"
    files = {
        f"{module}/__init__.py": "",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{module}-{number}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that every pip here takes for the whole world."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, number in (("numpy", "2.4.6"), ("ai-edge-litert", HERE), ("onnxruntime", ORT)):
        stand_in(folder, name, number)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def prepare(
    home: Path, *, offline: bool = False, variables: Mapping[str, str] | None = None
) -> tuple[Ready, list[str]]:
    """Set up a folder of this machine as a device -> what is there, and what was told."""
    told: list[str] = []

    async def do() -> Ready:
        async with connect(f"local:{home}", patience=PATIENCE) as connection:
            device = dataclasses.replace(connection, variables=variables or {})
            return await set_up(device, offline=offline, patience=PATIENCE, tell=told.append)

    return asyncio.run(do()), told


def packages(home: Path) -> set[str]:
    found = (home / "environment" / "lib").glob("python3*/site-packages/*.dist-info")
    return {path.name.removesuffix(".dist-info").split("+")[0] for path in found}


def test_set_up_once_and_again(index: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    ready, told = prepare(home)
    assert ready.changed
    assert ready.lacks == ()
    litert = f"ai_edge_litert-{HERE}"
    assert packages(home) == {"edgeticket-0.1.0", "numpy-2.4.6", litert, f"onnxruntime-{ORT}"}
    assert told[-1].startswith("installing edgeticket-0.1.0")  # all in one call of pip
    listed = sorted((p, p.lstat().st_mtime_ns) for p in (home / "environments").rglob("*"))
    again, told = prepare(home)
    assert (again.changed, again.python) == (False, ready.python)
    assert told == ["looking around"]
    assert listed == sorted((p, p.lstat().st_mtime_ns) for p in (home / "environments").rglob("*"))
    asyncio.run(clean_device(f"local:{home}", patience=PATIENCE, console=Console(quiet=True)))
    assert not home.exists()


@pytest.mark.slow
def test_a_new_environment_takes_the_place_of_the_old_when_it_is_whole(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    old, _ = prepare(home)
    monkeypatch.setattr("edgeticket.device_runner.__version__", "0.2.0")  # part of the wheel's name
    numpy = index / "numpy-2.4.6-py3-none-any.whl"
    numpy.rename(index / "away")
    with pytest.raises(InputError, match=r"runner cannot be installed: .* has no wheel"):
        prepare(home)
    assert (home / "environment").resolve() == Path(old.python).parents[1]
    assert (
        subprocess.run(
            [old.python, "-c", "import edgeticket.device_runner"], check=False
        ).returncode
        == 0
    )
    (index / "away").rename(numpy)
    new, _ = prepare(home)
    assert (home / "environment").resolve() == Path(new.python).parents[1] != old.python
    assert [p.name for p in (home / "environments").iterdir()] == [Path(new.python).parts[-3]]


@pytest.mark.slow
def test_what_does_not_exist_is_named(index: Path, tmp_path: Path) -> None:
    (index / f"ai_edge_litert-{HERE}-py3-none-any.whl").unlink()
    ready, _ = prepare(tmp_path / "home")
    (lack,) = ready.lacks
    assert lack.startswith("tflite: ai-edge-litert")
    assert "tflite-runtime==2.14.0 numpy<2 has no wheel for this Python" in lack
    for wheel in index.glob("onnx*"):
        wheel.unlink()
    with pytest.raises(InputError, match=r"no runtime exists for this device: tflite: .*; ort: "):
        prepare(tmp_path / "other")
    assert not (tmp_path / "other" / "environment").is_symlink()


@pytest.mark.slow
def test_another_version_than_ours_will_do(index: Path, tmp_path: Path) -> None:
    (index / f"onnxruntime-{ORT}-py3-none-any.whl").unlink()
    stand_in(index, "onnxruntime", "1.99")
    ready, told = prepare(tmp_path / "home")
    assert (ready.lacks, told[-1]) == ((), "installing onnxruntime>=1.18")


@pytest.mark.slow
def test_the_older_runtime_and_the_older_numpy(index: Path, tmp_path: Path) -> None:
    (index / f"ai_edge_litert-{HERE}-py3-none-any.whl").unlink()
    stand_in(index, "tflite-runtime", "2.14.0")
    stand_in(index, "numpy", "1.26.4")
    ready, _ = prepare(tmp_path / "home")
    assert ready.lacks == ()
    assert {"tflite_runtime-2.14.0", "numpy-1.26.4"} <= packages(tmp_path / "home")


@pytest.mark.parametrize("asked", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_device_without_internet_gets_wheels_from_here(
    index: Path, tmp_path: Path, asked: bool
) -> None:
    home = tmp_path / "home"
    ready, told = prepare(home, offline=asked, variables=NOWHERE)
    assert ready.lacks == ()
    assert {"numpy-2.4.6", f"ai_edge_litert-{HERE}", f"onnxruntime-{ORT}"} <= packages(home)
    assert ("it reaches no package index" in told) != asked
    assert "fetching wheels here" in told
    assert not list((home / "trees").iterdir())  # they are installed, and need no room any more
    again, told = prepare(home, variables=NOWHERE)
    assert (again.changed, told) == (False, ["looking around"])


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    with (tmp_path / "screen").open("w+") as file:
        console = Console(file=file, width=200)
        trusted = asyncio.run(
            check_device(f"local:{tmp_path}/home", patience=PATIENCE, console=console)
        )
        file.seek(0)
        screen = file.read()
    assert [line for line in screen.splitlines() if not line.startswith(" ")] == [
        *("machine", "now", "runtimes", "measuring there")
    ]
    assert f"package ai-edge-litert, version {HERE}" in screen
    assert trusted or "nothing speaks against it now" not in screen
    assert not (tmp_path / "home").exists()


def test_a_device_that_is_not_set_up_cannot_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.asynccontextmanager
    async def bare(address: str, **options: Any) -> AsyncIterator[Connection]:
        async with connect_local(address, **options) as here:
            yield dataclasses.replace(here, environment=None)

    monkeypatch.setattr("edgeticket.pipeline.devices.CONNECTIONS", {**CONNECTIONS, "local": bare})
    target = f"local:{tmp_path}/home"
    with pytest.raises(InputError, match=f"is not set up: `edgeticket device setup {target}`"):
        asyncio.run(check_device(target, patience=PATIENCE, console=Console(quiet=True)))


def test_plans() -> None:
    runner, tflite, ort = plan(PI, "runner.whl", place="pi")
    assert (runner.needed, tflite.needed, ort.needed) == (True, False, False)
    assert tflite.alternatives[0] == (f"ai-edge-litert=={HERE}",)
    assert tflite.alternatives[-1] == ("tflite-runtime==2.14.0", "numpy<2")
    jetson = plan(dataclasses.replace(PI, gpu="1.20.0"), "runner.whl", place="orin")
    assert [step.name for step in jetson] == ["runner", "tflite"]
    with pytest.raises(InputError, match=r"orin: the newest Python there is 3\.8\.10.*python3\.9"):
        plan(dataclasses.replace(PI, version=(3, 8, 10)), "runner.whl", place="orin")
    with pytest.raises(InputError, match=r"sudo apt install python3-venv"):
        plan(dataclasses.replace(PI, venv=False), "runner.whl", place="orin")


def test_a_32_bit_system_on_a_64_bit_kernel_is_32_bit() -> None:
    assert dataclasses.replace(PI, bits=32).architecture == "armv7l"
    assert str(PI) == "aarch64, Python 3.11.2, glibc 2.36"


def test_every_platform_tag_is_given() -> None:
    tags = platform_tags("aarch64", ("glibc", "2.31"))
    assert tags[0] == "manylinux_2_31_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64"} < set(tags)
    assert "manylinux_2_34_aarch64" not in tags
    assert platform_tags("aarch64", ("", "")) == ["musllinux_1_1_aarch64", "musllinux_1_2_aarch64"]


def test_calls_are_python_3_6() -> None:
    """A board that is too old must be able to say so."""
    for path in (ROOT / "pipeline" / "devices" / "on_device").glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 6))
        assert "from __future__" not in path.read_text()


def test_the_runner_is_importable_from_its_wheel(tmp_path: Path) -> None:
    name, wheel = build_runner_wheel()
    assert build_runner_wheel() == (name, wheel)
    (tmp_path / name).write_bytes(wheel)
    done = subprocess.run(
        [sys.executable, "-m", "edgeticket.device_runner", "check",
         str(write_tiny_bundle(tmp_path / "b"))],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / name)}, capture_output=True, text=True,
    )  # fmt: skip
    assert "tiny is whole" in done.stdout, done.stderr
    with zipfile.ZipFile(tmp_path / name) as archive:
        assert not [entry for entry in archive.namelist() if "pipeline" in entry or ".pyc" in entry]
    for lacking, kind in (("RecipeError", "AttributeError"), ("bench", "ImportError")):
        done = subprocess.run(
            [sys.executable, "-S", "-c", f"import edgeticket as e; e.InputError; e.{lacking}"],
            cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / name)}, capture_output=True, text=True,
        )  # fmt: skip
        *_, said = done.stderr.splitlines()
        assert said.startswith(f"{kind}: edgeticket.{lacking} is of the host side"), said
        assert "pip install 'edgeticket[host]' with Python 3.11 or newer" in said


def test_the_host_side_may_lack_its_own_files_alone(tmp_path: Path) -> None:
    """The runner's wheel lies before this installation, whose packages are all there."""
    _, wheel = build_runner_wheel()
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        archive.extractall(tmp_path)
    script = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'Editable' not in repr(f)]\n"
        "import edgeticket; edgeticket.compare"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert "and edgeticket.api is not installed: pip install" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("offline", [False, True])
def test_the_real_packages(tmp_path: Path, offline: bool) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    patience = Patience()

    async def do() -> Ready:
        async with connect(f"local:{tmp_path}/home", patience=patience) as connection:
            return await set_up(connection, offline=offline, patience=patience, tell=print)

    ready = asyncio.run(do())
    assert ready.lacks == ()
    quick = ["--min-seconds", "0", "--min-queries", "64"]
    (outcome,) = measure_together(
        bundle, [Device("here", f"local:{tmp_path}/other", ready.python)], quick,
        out=tmp_path / "out", offline=False, patience=patience, console=Console(),
    )  # fmt: skip
    assert outcome.failure is None
    reports = [read_report(path) for path in (tmp_path / "out").rglob("*.json")]
    assert {report.runtime.package for report in reports} == {"ai-edge-litert", "onnxruntime"}
