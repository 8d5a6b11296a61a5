"""The runner's wheel on the Pythons of three releases of Debian, on arm64, with its own tests."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from boards import PYTHONS, fetch_tools, user_space_of
from network import ROOT

from edgeticket.pipeline.devices.emulated.user_space import USER_ID

pytestmark = [pytest.mark.devices, pytest.mark.timeout(3600)]

Run = subprocess.CompletedProcess[str]

CPU = "cortex-a53"
TESTS = [
    f"device_runner/test_runner_{name}.py"
    for name in ("bench", "bundle", "instructions", "machine", "manifest", "runtimes", "validity")
]
FIXTURES = [f"fixtures/{name}.py" for name in ("runner_fixtures", "board_fixtures", "mutations")]
# Fuzzing takes minutes under QEMU, and one test asks Python itself what it brings (3.10 on).
SELECTION = "not fuzz and not imported"
# What the tests import beside the runner. pip judges conditions on the Python version by its own,
# so what only older ones need is named here.
TOOLS = ("pytest", "pytest-timeout", "onnx", "exceptiongroup", "tomli", "typing_extensions")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[Run]]]:
    """All releases, two at a time: one keeps one core busy."""
    with ThreadPoolExecutor(2) as pool:
        folder = tmp_path_factory.mktemp("pythons")
        yield {suite: pool.submit(run_tests_on, suite, folder / suite) for suite in PYTHONS}


@pytest.mark.parametrize("suite", PYTHONS)
def test_the_wheel_installs_and_passes_the_runners_tests(
    suite: str, runs: Mapping[str, Future[Run]]
) -> None:
    done = runs[suite].result()
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def run_tests_on(suite: str, folder: Path) -> Run:
    """Set a board up from nothing, and run the runner's tests with what is there then."""
    root = user_space_of(suite)
    (folder / "emulated").mkdir(parents=True)
    (folder / "emulated" / root.name).symlink_to(root)
    environment = {**os.environ, "EDGETICKET_CACHE": str(folder)}
    target = f"emulated:{CPU}:{suite}"
    run = functools.partial(
        subprocess.run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    done = run(
        [
            sys.executable,
            "-m",
            "edgeticket.pipeline",
            "device",
            "setup",
            target,
            "--timeout",
            "3000",
        ]
    )
    if done.returncode != 0:
        return done
    home = folder / "emulated/boards" / f"{CPU}-{suite}" / "home"
    _bring_tests(home, suite, folder / "tools")
    return run([sys.executable, "-c", RUN, target])


def _bring_tests(home: Path, suite: str, scratch: Path) -> None:
    # Beside the runtimes' numpy and protobuf there must be no second one.
    (packages,) = home.glob(".edgeticket/environments/*/lib/python*/site-packages")
    names = (folder.name.split("-")[:2] for folder in packages.glob("*.dist-info"))
    there = dict(names)
    pins = [f"{name}=={there[name].removesuffix('.dist')}" for name in ("numpy", "protobuf")]
    for wheel in fetch_tools(suite, [*TOOLS, *pins], scratch).glob("*.whl"):
        if wheel.name.split("-")[0] not in there:
            zipfile.ZipFile(wheel).extractall(home / "tools")
    tests = home / "tests"
    tests.mkdir()
    shutil.copytree(ROOT / "tests" / "golden", tests / "golden")
    for name in (*FIXTURES, *TESTS):
        (tests / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "tests" / name, tests / name)
    shutil.copytree(ROOT / "docs", home / "docs")  # every rule is explained there, says a test
    for path in [home, *home.rglob("*")]:
        os.chown(path, USER_ID, USER_ID, follow_symlinks=False)  # some lead into the board


RUN = f"""
import asyncio, sys
from edgeticket.pipeline.devices import connect
from edgeticket.pipeline.devices.connection import Patience
TESTS = {[f"tests/{name}" for name in TESTS]!r}
async def main():
    async with connect(sys.argv[1], patience=Patience()) as board:
        done = await board.run(
            ["env", "PYTHONPATH=/home/pi/tests/fixtures:/home/pi/tools",
             "/home/pi/.edgeticket/environment/bin/python", "-m", "pytest", "-q", "--noconftest",
             "-p", "no:cacheprovider", "-k", {SELECTION!r}, *TESTS],
            timeout_s=3000,
        )
    sys.stdout.buffer.write(done.stdout)
    sys.stderr.buffer.write(done.stderr)
    sys.exit(done.exit_code)
asyncio.run(main())
"""
