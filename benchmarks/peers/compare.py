"""Int8 by this project and by its peers, on the same network, images and machine, in one run.

    python benchmarks/peers/compare.py runs/cifar10_resnet20_ptq [--only ORT] [--venvs DIR]

The argument is the folder of a finished run whose recipe ends in `ptq`. Every tool gets that run's
float32 network and calibration images, in an environment of its own that is made when it is missing
(about 5 GB in all; `--installed` makes none). A tool that cannot be had is left out, in one
sentence. Then all files are timed side by side, one thread, by the device runner's own
loop, and answer all samples of the bundle. × is the ratio of medians to the same runtime's float32
file, s what quantising and writing took.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from edgeticket.device_runner.accuracy import classify, infer_all
from edgeticket.device_runner.amx import withhold_amx
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.latency import Latency, measure
from edgeticket.device_runner.manifest import Artifact, Manifest, TensorSpec
from edgeticket.device_runner.preprocess import preprocess, to_tensor
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.runtimes.session import Port, Session
from edgeticket.pipeline.data import data_folder
from edgeticket.pipeline.recipe import Recipe, check
from edgeticket.pipeline.run.dataset import load_recipe_data

HERE = Path(__file__).parent
CYCLED = 32


@dataclass(frozen=True)
class Peer:
    """One way to int8; ``venv`` None is the environment that this runs in."""

    name: str
    runtime: str
    script: str
    argument: str | None
    venv: str | None


PEERS = (
    Peer("ORT static U8S8", "ort", "ort_static.py", "u8", None),
    Peer("ORT static S8S8", "ort", "ort_static.py", "s8", None),
    Peer("Olive static", "ort", "olive_static.py", None, "olive"),
    Peer("NNCF", "ort", "nncf_ptq.py", None, "nncf"),
    Peer("edgeticket, ORT U8", "ort", "ours.py", "onnx-int8-u8", None),
    Peer("ai-edge-quantizer", "tflite", "ai_edge_quantizer_static.py", None, "litert"),
    Peer("litert-torch PT2E", "tflite", "litert_pt2e.py", None, "litert"),
    Peer("edgeticket, LiteRT", "tflite", "ours.py", "tflite-int8", None),
)
SUFFIXES = {"ort": "onnx", "tflite": "tflite"}


@dataclass(frozen=True)
class Made:
    """A model file, and how long its tool took; None: it was there before."""

    name: str
    runtime: str
    file: Path
    seconds: float | None
    kind: str | None = None  # ours: what the artifact's id in the bundle ends with


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--only", help="peers whose name contains this")
    parser.add_argument("--venvs", type=Path, default=Path(".venv-peers"))
    parser.add_argument("--installed", action="store_true", help="make no environment")
    parser.add_argument("--data", type=Path, help="where data sets lie")
    parser.add_argument("--seconds", type=float, default=3.0, help="timed, for each file")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        compare(given)
    except InputError as error:
        sys.exit(f"compare: error: {error}")


class AbsentError(Exception):
    """A peer cannot be had here; the message says why."""


def compare(given: argparse.Namespace) -> None:
    """Make all files, time them, judge them, print."""
    with open_bundle(given.run / "bundle") as bundle, tempfile.TemporaryDirectory() as scratch:
        manifest = bundle.manifest
        recipe = check(Recipe, manifest.provenance["recipe"], place=str(given.run))
        if not recipe.bench.amx:
            withhold_amx()
        inputs, labels = bundle.samples()
        if not (isinstance(inputs, np.ndarray) and isinstance(labels, np.ndarray)):
            raise InputError(f"{given.run}: peers are compared on pictures and their classes")
        folder = Path(scratch)
        prepare(folder, given, recipe)
        files = [
            Made(f"float32, {runtime}", runtime, given.run / "bundle" / file.file, None)
            for runtime in SUFFIXES
            for file in manifest.artifacts
            if (file.network, file.runtime, file.precision) == ("dense", runtime, "fp32")
        ]
        peers = [peer for peer in PEERS if (given.only or "").lower() in peer.name.lower()]
        for peer in peers:
            try:
                files.append(carry_out(peer, folder, given.venvs, installed=given.installed))
            except AbsentError as error:
                print(f"{peer.name} is left out: {error}")
        show(files, manifest, inputs, labels, seconds=given.seconds)


def prepare(folder: Path, given: argparse.Namespace, recipe: Recipe) -> None:
    """Lay out what `work.py` describes."""
    data = load_recipe_data(recipe, folder=data_folder(given.data))
    images = data.calibration.queries(len(data.calibration))
    assert isinstance(images, np.ndarray)
    values = preprocess(images, data.preprocessing)
    np.save(folder / "calibration.npy", np.ascontiguousarray(values.transpose(0, 3, 1, 2)))
    bundle, reference = given.run / "bundle", given.run / "reference"
    shutil.copyfile(bundle / "artifacts/dense-onnx-fp32.onnx", folder / "fp32.onnx")
    shutil.copytree(reference / "fp32-dense", folder / "network")
    (folder / "ptq.json").write_text(recipe.compress[-1].model_dump_json())


def carry_out(peer: Peer, folder: Path, venvs: Path, *, installed: bool) -> Made:
    """Run a peer's script in its environment.

    Raises:
        AbsentError: there is none, and none can be made.
        InputError: the script failed.
    """
    print(f"{peer.name} ...", file=sys.stderr, flush=True)
    python = Path(sys.executable)
    if peer.venv:
        python = environment(peer.venv, venvs, installed=installed)
    file = folder / f"{peer.name.replace(' ', '_')}.{SUFFIXES[peer.runtime]}"
    command = [str(python), str(HERE / peer.script), str(folder), str(file)]
    answer = subprocess.run(
        [*command, *([peer.argument] if peer.argument else [])],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"OLIVE_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(HERE.parents[1])},
    )
    if answer.returncode != 0:
        last = (answer.stderr.strip() or "no message").rpartition("\n")[2]
        raise InputError(f"{peer.name}: {peer.script} ended with {answer.returncode}: {last}")
    seconds: float = json.loads(answer.stdout.splitlines()[-1])["seconds"]
    kind = peer.argument if peer.script == "ours.py" else None
    return Made(peer.name, peer.runtime, file, seconds, kind)


def environment(name: str, venvs: Path, *, installed: bool) -> Path:
    """The Python of a peer's environment, made with its pinned packages if it is not there.

    Raises:
        AbsentError: it is not there and not to be made, or its packages cannot be had.
    """
    folder = (venvs / name).absolute()
    stamp = folder / "complete"
    if not stamp.exists():
        if installed:
            raise AbsentError(f"{folder} is not there; without --installed it is made")
        print(f"installing {name} in {folder} ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        wanted = str(HERE / "requirements" / f"{name}.txt")
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "-r", wanted]
        if subprocess.run(pip, check=False).returncode != 0:
            raise AbsentError(f"pip cannot install what {wanted} lists, see above")
        stamp.touch()
    return folder / "bin/python"


def show(
    files: list[Made],
    manifest: Manifest,
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    *,
    seconds: float,
) -> None:
    """Time all side by side, judge each on all samples, print a table."""
    sessions = [
        get_runtime(made.runtime).load(made.file.read_bytes(), threads=1, place=made.name)
        for made in files
    ]
    artifacts = [
        replace(described(manifest, made.kind), id=made.name)
        if made.kind
        else describe(made, session, channels_first=network_input(manifest))
        for made, session in zip(files, sessions, strict=True)
    ]
    first = preprocess(inputs[:CYCLED], manifest.preprocessing)
    queries = []
    for artifact, session in zip(artifacts, sessions, strict=True):
        tensor = to_tensor(first, artifact.input, place=artifact.id)
        queries.append((session.run, [tensor[i : i + 1] for i in range(len(tensor))]))
    latencies = measure(queries, min_seconds=seconds, min_queries=200, warmup_seconds=0.5)
    table = Table(title=f"{manifest.name}: {len(labels):,} images, one thread")
    for column in ("", "top-1 %", "agreement %", "p50 ms", "× fp32", "kB", "s"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    judged = [
        classify(
            infer_all(session.run, inputs, steps=manifest.preprocessing, artifact=artifact),
            inputs,
            labels,
        )
        for artifact, session in zip(artifacts, sessions, strict=True)
    ]
    p50_ns = [median_ns(latency) for latency in latencies]
    floats = {made.runtime: i for i, made in enumerate(files) if made.seconds is None}
    for i, made in enumerate(files):
        own = floats[made.runtime]
        same = np.equal(judged[i].predictions, judged[own].predictions).mean()
        table.add_row(
            made.name,
            f"{100 * judged[i].top1:.2f}",
            f"{100 * same:.2f}",
            f"{p50_ns[i] / 1e6:.3f}",
            f"{p50_ns[own] / p50_ns[i]:.2f}",
            f"{made.file.stat().st_size / 1000:.0f}",
            "" if made.seconds is None else f"{made.seconds:.1f}",
        )
    Console(width=90).print(table)


def median_ns(latency: Latency) -> int:
    """The median of queries that are enough for one."""
    assert isinstance(latency.p50_ns, int)
    return latency.p50_ns


def network_input(manifest: Manifest) -> tuple[int, ...]:
    """[C, H, W] of what the network takes."""
    return described(manifest, "dense-onnx-fp32").input.shape[1:]


def described(manifest: Manifest, kind: str) -> Artifact:
    """Our own file of this kind: an ONNX file does not say the scales of its int8 input."""
    return next(file for file in manifest.artifacts if file.id.endswith(kind))


def describe(made: Made, session: Session, *, channels_first: tuple[int, ...]) -> Artifact:
    """What the runner needs to know of a file that no bundle describes."""
    layout = "NCHW" if tuple(session.input.shape[1:]) == channels_first else "NHWC"
    return Artifact(
        id=made.name,
        file=made.file.name,
        network="dense",
        role="deploy",
        runtime=made.runtime,
        precision="fp32" if made.seconds is None else "int8",
        architectures=(),
        exact_with=(),
        inputs=(tensor(session.input, layout=layout),),
        outputs=(tensor(session.output, layout="NC"),),
    )


def tensor(port: Port, *, layout: str) -> TensorSpec:
    """A port of a loaded model as the manifest would describe it."""
    shape = tuple(size if isinstance(size, int) else 1 for size in port.shape)
    return TensorSpec("", shape, port.dtype, layout, port.scale, port.zero_point)


if __name__ == "__main__":
    main()
