"""The wheel works outside of the checkout, and in folders with packages of the user's own."""

from __future__ import annotations

import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from package_fixtures import ROOT, build, copy_sources, install, run

TINY = (
    *("--set", "data.train=300", "--set", "data.validation=60"),
    *("--set", "data.calibration=20", "--set", "data.test=60", "--set", "train.epochs=1"),
    *("--set", "compress.0.train.epochs=1", "--set", "compress.1.train.epochs=1"),
    *("--set", "bench.min_seconds=0", "--set", "bench.min_queries=1"),
)
NET = """
from torch import nn

from models.blocks import WIDTH

def build(num_classes=10):
    from layers import activation  # only now, and still from this folder
    return nn.Sequential(
        nn.Conv2d(1, WIDTH, 3, stride=4), activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(WIDTH, num_classes))
"""
RECIPE = """
name: mine
data: {name: digits, train: 200, validation: 40, calibration: 20, test: 40}
model: {import: "models.mynet:build"}
train: {epochs: 1}
compress: [{method: ptq}]
bench: {min_seconds: 0, min_queries: 1}
"""
EXPERIMENT = """
name: grid
data: {name: digits, train: 200, validation: 40, calibration: 20, test: 40}
model: {import: "models.mynet:build"}
train: {epochs: 1}
sparsities: [0.5]
seeds: [0]
variants: {dense: {compress: []}}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return build(copy_sources(folder / "sources"), "build_wheel", folder)


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose names are ours, Python's and of packages that we use."""
    folder = tmp_path_factory.mktemp("crowded")
    for name in ("models", "pipeline", "device_runner", "edgeticket"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"USERS = {name!r}\n")
    (folder / "models" / "blocks.py").write_text("WIDTH = 8\n")
    (folder / "models" / "mynet.py").write_text(NET)
    (folder / "layers.py").write_text("from torch.nn import ReLU as activation\n")
    for name in ("onnx", "random", "yaml", "lightning_fabric", "typer"):
        (folder / f"{name}.py").write_text("raise SystemExit('a file alone never runs code')\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "grid.yaml").write_text(EXPERIMENT)
    return folder


def contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_nothing_but_edgeticket_lands_at_top_level(wheel: Path) -> None:
    names = contents(wheel)
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"edgeticket"}
    for path in ("py.typed", "api/recipes.py", "models/own.py", "pipeline/recipes/demo.yaml"):
        assert f"edgeticket/{path}" in names
    tracked = [p for p in (ROOT / "device_runner").rglob("*") if p.suffix in (".py", ".json")]
    assert all(f"edgeticket/{path.relative_to(ROOT)}" in names for path in tracked)


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build(copy_sources(tmp_path / "sources"), "build_sdist", tmp_path)
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path / "sdist", filter="data")
    (unpacked,) = (tmp_path / "sdist").iterdir()
    assert not (unpacked / "tests").exists()
    again = contents(build(unpacked, "build_wheel", tmp_path))
    assert again == contents(wheel)


@pytest.mark.parametrize(
    "file", sorted((ROOT / "docker").glob("*.Dockerfile")), ids=lambda f: f.stem
)
def test_what_an_image_copies_is_in_the_context_and_builds(file: Path, tmp_path: Path) -> None:
    copied = [word for line in re.findall(r"^COPY (?!--)(.*) \S+$", file.read_text(), re.MULTILINE)
              for word in line.split()]  # fmt: skip
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert set(copied) <= allowed
    packages = tuple(name for name in copied if (ROOT / name).is_dir() and "/" not in name)
    names = contents(
        build(copy_sources(tmp_path / "c", packages=packages), "build_wheel", tmp_path)
    )
    assert "edgeticket/device_runner/cli.py" in names
    assert ("edgeticket/pipeline/cli.py" in names) == ("pipeline" in packages)


def test_the_demo_runs_from_the_wheel(programs: Path, tmp_path: Path) -> None:
    done = run(programs / "edgeticket", "run", "demo", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "runs/demo/summary.json").read_text())
    assert len(summary["rows"]) == 6
    source = "import edgeticket.pipeline as p; print(p.__file__)"
    place = run(programs / "python", "-c", source, cwd=tmp_path).stdout
    assert str(programs.parent) in place


def test_in_a_folder_with_packages_of_the_same_names(programs: Path, crowded: Path) -> None:
    looked = run(
        programs / "edgeticket", "inspect", "import:models.mynet:build", "--size", "1x28x28",
        cwd=crowded,
    )  # fmt: skip
    assert looked.returncode == 0, looked.stderr
    ran = run(programs / "edgeticket", "run", "recipe.yaml", cwd=crowded)
    assert ran.returncode == 0, ran.stderr
    tried = run(programs / "edgeticket", "experiment", "grid.yaml", cwd=crowded)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert len((crowded / "results/grid.jsonl").read_text().splitlines()) == 1


def test_the_import_costs_nothing_and_needs_numpy_only(wheel: Path, tmp_path: Path) -> None:
    """As on a device: neither torch nor pydantic."""
    program = (
        "import sys, edgeticket\n"
        "before = {m.partition('.')[0] for m in sys.modules}\n"
        "assert 'numpy' not in before, before\n"
        "edgeticket.read_report, edgeticket.DeviceError, edgeticket.__version__\n"
        "try: edgeticket.run\n"
        "except ImportError as error: print(error)\n"
        "try: edgeticket.nonsense\n"
        "except AttributeError as error: print(error)\n"
    )
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path)
    import numpy as np

    (tmp_path / "numpy").symlink_to(Path(np.__file__).parent)
    (tmp_path / "numpy.libs").symlink_to(Path(np.__file__).parents[1] / "numpy.libs")
    done = run(Path(sys.executable), "-S", "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "pip install 'edgeticket[host]'" in first
    assert second == "module 'edgeticket' has no attribute 'nonsense'"
