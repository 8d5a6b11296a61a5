"""The images of docker/: built and run by buildah, without an engine and without a registry.

What they stand on is made here: trees of Debian packages under the names that the Dockerfiles ask
for. pip finds its wheels in a folder, so a build reaches no network.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from boards import fetch_wheels
from network import ROOT
from runner_fixtures import write_tiny_bundle

from edgeticket.pipeline.devices.emulated.cpus import CPUS, format_cpuinfo

pytestmark = [
    pytest.mark.images,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(shutil.which("buildah") is None, reason="`apt-get install buildah`"),
]

CPU = CPUS["cortex-a72"]
PYTHON = "python:3.11-slim-bookworm"
JETPACK = "l4t-jetpack:r36.4.0"
PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "libc-bin"),
    *("sed", "libstdc++6", "ca-certificates", "python3", "python3-pip", "python3-venv"),
    "python3-distutils",
)
PIP = "[global]\nno-index = true\nfind-links = /wheels-here\n"
BIGGEST_MB = 420  # of a device's image without what it stands on: numpy and two runtimes


@dataclass(frozen=True)
class Store:
    """Images of these tests alone."""

    folder: Path

    def buildah(self, *words: str) -> str:
        places = ["--root", str(self.folder / "store"), "--runroot", str(self.folder / "run")]
        return succeed("buildah", *places, *words)

    def build(self, name: str, architecture: str, wheels: Path, *options: str) -> str:
        """Build docker/``name``.Dockerfile -> the image's name."""
        image = f"edgeticket-{name}:{architecture}"
        self.buildah(
            *("bud", "--isolation", "chroot", "--pull-never", "--arch", architecture),
            *("--volume", f"{wheels}:/wheels-here:ro", *options),
            *("--format", "docker", "-f", f"docker/{name}.Dockerfile", "-t", image, "."),
        )
        return image

    def run(self, image: str, *argv: str, work: Path) -> str:
        """Run a program in a new container, as the image's user -> its output."""
        container = self.buildah("from", "--pull-never", image)
        places = ["--root", str(self.folder / "store"), "--runroot", str(self.folder / "run")]
        run = ["buildah", *places, "run", "--isolation", "chroot", "--volume", f"{work}:/work"]
        # QEMU shows this machine's /proc/cpuinfo, and runtimes crash when they read it.
        cpuinfo = self.folder / "cpuinfo"
        cpuinfo.write_text(format_cpuinfo(CPU, cores=2))
        bind = f'mount --bind {cpuinfo} /proc/cpuinfo; exec "$@"'
        emulated = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", bind, "sh"]
        if image.endswith("amd64"):
            emulated = []
        try:
            return succeed(*emulated, *run, "--env", f"QEMU_CPU={CPU.name}", container, "--", *argv)
        finally:
            self.buildah("rm", container)


def succeed(*argv: str) -> str:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("images"))
    yield store
    store.buildah("rmi", "--all", "--force")


def make_stand_in(store: Store, architecture: str, folder: Path, *tags: str) -> None:
    """Debian with Python 3.11 under the names of the images that the Dockerfiles build on."""
    tree = folder / f"base-{architecture}"
    subprocess.run(
        ["mmdebstrap", "--quiet", f"--arch={architecture}", "--variant=extract", "--mode=root",
         "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
         "--setup-hook=sed -i /security/d $1/etc/apt/sources.list",
         *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale")),
         f"--include={','.join(PACKAGES)}", "bookworm", str(tree)],
        check=True, capture_output=True,
    )  # fmt: skip
    for name in ("passwd", "group"):
        shutil.copy(tree / f"usr/share/base-passwd/{name}.master", tree / "etc" / name)
    (tree / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    (tree / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    (tree / "etc/pip.conf").write_text(PIP)
    shutil.rmtree(tree / "dev")
    container = store.buildah("from", "--arch", architecture, "scratch")
    store.buildah("add", "--quiet", container, str(tree), "/")
    store.buildah("config", "--arch", architecture, container)
    for tag in tags:
        store.buildah("commit", "--quiet", container, tag)
    store.buildah("rm", container)
    shutil.rmtree(tree)


def fetch_public(folder: Path, *wanted: str) -> None:
    """Wheels for a machine like this one."""
    words = ("--quiet", "--dest", str(folder), "-c", "constraints.txt", *wanted)
    subprocess.run([sys.executable, "-m", "pip", "download", *words], check=True, cwd=ROOT)


def fetch_build_wheels(folder: Path) -> None:
    """What pip needs to build our own package, and is the same on every machine."""
    fetch_public(folder, "--no-deps", "--only-binary=:all:", "setuptools", "wheel", "packaging")


@pytest.mark.parametrize("architecture", ["arm64", "amd64"])
def test_device_image(
    store: Store, architecture: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wheels = tmp_path_factory.mktemp("wheels")
    fetch_build_wheels(wheels)
    if architecture == "arm64":
        fetch_wheels("bookworm", wheels)
    else:
        fetch_public(wheels, "--only-binary=:all:", "ai-edge-litert", "onnxruntime", "numpy")
    tags = (PYTHON, JETPACK) if architecture == "arm64" else (PYTHON,)
    make_stand_in(store, architecture, tmp_path, *tags)
    image = store.build("device", architecture, wheels)
    measures_as_a_plain_user(store, image, tmp_path / "work")
    layers = json.loads(store.buildah("inspect", "--type", "image", image))
    health = layers["Docker"]["config"]["Healthcheck"]["Test"]
    assert health == ["CMD", "device-runner", "info"]
    assert added_mb(store, image) < BIGGEST_MB
    if architecture == "arm64":
        # The public onnxruntime takes the place of NVIDIA's build, which is for a real Jetson.
        ort = next(path.name for path in wheels.glob("onnxruntime-*")).split("-")[1]
        jetson = store.build("jetson", "arm64", wheels, "--build-arg", f"ORT=onnxruntime=={ort}")
        measures_as_a_plain_user(store, jetson, tmp_path / "jetson")


def test_host_image(store: Store, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    wheels = tmp_path_factory.mktemp("wheels")
    fetch_build_wheels(wheels)
    fetch_public(wheels, ".[host]")
    make_stand_in(store, "amd64", tmp_path, PYTHON)
    image = store.build("host", "amd64", wheels)
    work = tmp_path / "work"
    work.mkdir()
    work.chmod(0o777)
    assert store.run(image, "id", "-u", work=work) == "1000"
    assert "Usage" in store.run(image, "edgeticket", "--help", work=work)  # the health check
    settings = ("train.epochs=1", "compress.0.train.epochs=1", "compress.1.train.epochs=1")
    words = [word for setting in settings for word in ("--set", setting)]
    store.run(image, "edgeticket", "run", "demo", *words, work=work)
    rows = json.loads((work / "runs/demo/summary.json").read_bytes())["rows"]
    assert {(row["runtime"], row["precision"]) for row in rows} == {
        *(("ort", "fp32"), ("ort", "int8"), ("tflite", "fp32"), ("tflite", "int8")),
    }
    assert (work / "runs/demo/bundle.zip").is_file()


def measures_as_a_plain_user(store: Store, image: str, work: Path) -> None:
    work.mkdir()
    work.chmod(0o777)
    write_tiny_bundle(work / "bundle")
    assert store.run(image, "id", "-u", work=work) == "1000"
    options = ("--min-seconds", "0.1", "--min-queries", "5", "--warmup-seconds", "0")
    store.run(image, "device-runner", "bench", "bundle", "-o", "reports", *options, work=work)
    reports = [json.loads(path.read_bytes()) for path in (work / "reports").glob("*.json")]
    assert {report["runtime"]["package"] for report in reports} == {
        "ai-edge-litert",
        "onnxruntime",
    }
    emulated = {str(report["machine"]["emulated"]) for report in reports}
    if image.endswith("arm64"):
        assert emulated == {"aarch64 programs on a kernel for x86_64"}
    store.run(image, "device-runner", "info", work=work)  # the health check


def added_mb(store: Store, image: str) -> float:
    """What the image adds to the one that it stands on."""
    sizes = json.loads(store.buildah("images", "--json"))
    by_name = {name: entry["size"] for entry in sizes for name in entry["names"] or ()}
    own = next(size for name, size in by_name.items() if name.endswith(image))
    base = next(size for name, size in by_name.items() if name.endswith(PYTHON))
    return megabytes(own) - megabytes(base)


def megabytes(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"KB": 1e-3, "MB": 1.0, "GB": 1e3}[unit.upper()]
