"""What documents and commands print as the next step is taken, as it is printed.

Every command of README.md and docs/ is parsed by the program it calls; those that need neither a
device nor a data set are carried out on small data. A new command in a document must be in one of
the two lists here.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from onnx_fixtures import export_onnx
from picture_fixtures import write_pictures
from torch import nn

from edgeticket.device_runner.cli import _parser
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.convert.targets import TARGETS

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PROGRAMS = {"edgeticket": "edgeticket.pipeline", "device-runner": "edgeticket.device_runner"}

# What a command needs that a test has not, by how the command begins.
NOT_HERE = {
    "edgeticket report results": "lines of experiments; tests/page carry it out",
    "edgeticket report runs/demo-search": "a search takes minutes; tests/page carry it out",
    "edgeticket sign": "a private key; tests/signing carry it out",
    "edgeticket verify": "the same",
    "device-runner prove bundle.zip --require-signed": "the same",
    "device-runner bench bundle": "what `bundle` prints, below",
    "device-runner bench bundle.zip": "minutes; below with -o and short times",
    "edgeticket compare device-reports/local/pose-tflite-fp32.json": "a metric of one's own; "
    "tests/devices/test_devices_own_metric.py carries it out",
    "edgeticket convert": "a file that another tool quantised; tests/convert carry it out",
    "edgeticket fetch": "a data set from the network",
    "edgeticket run cifar10_": "CIFAR-10 and published weights",
    "edgeticket run fashion_": "Fashion-MNIST",
    "edgeticket run keywords_": "Speech Commands",
    "edgeticket run speakers_": "LibriSpeech",
    "edgeticket run librispeech_": "LibriSpeech",
    "edgeticket run imagenet_": "ImageNet's pictures, and weights of a package",
    "edgeticket sensitivity cifar10_": "CIFAR-10 and published weights",
    "edgeticket diff runs/cifar10_": "CIFAR-10 and published weights",
    "edgeticket experiment": "minutes; tests/experiment carries out small ones",
    "edgeticket pack": "a strong ticket of Fashion-MNIST; tests/tickets carry out small ones",
    "edgeticket unpack": "a strong ticket of Fashion-MNIST; tests/tickets carry out small ones",
    "edgeticket bundle detector.onnx": "a detector; tests/external carry it out",
    "edgeticket bundle text_and_image.onnx": "two inputs; tests/external carry it out",
    "edgeticket init detector.onnx": "a detector; test_own_models carries out a smaller network",
    "edgeticket init import:nets:detector": "the same",
    "edgeticket run detector.yaml": "the same",
    "edgeticket bundle pose.onnx": "heat maps; tests/external carry out bundles of tasks",
    "edgeticket bundle ssd.onnx": "the same, boxes",
    "edgeticket bundle unet.onnx": "the same, masks",
    "edgeticket bundle unet.tflite": "the same",
    "edgeticket init import:nets:Detector": "test_init_tasks has smaller ones",
    "edgeticket init import:nets:GRU": "the same",
    "edgeticket init import:nets:TwoInputs": "the same",
    "edgeticket init import:nets:UNet": "the same",
    "edgeticket bundle version-RFB-320_": "a public face detector",
    "device-runner bench faces": "the same",
    "edgeticket run face.yaml": "the same",
    "edgeticket why": "files of several tools; tests/why carry it out",
    "edgeticket predict": "a device; tests/search carry it out here",
    "edgeticket search": "a device, and minutes; tests/search carry out a small one",
    "device-runner layers": "a minute; tests/device_runner carry it out",
    "edgeticket layers": "a device; tests/diff carry it out here",
    "device-runner bench bundle.zip --sustain": "half an hour; tests/device_runner have a clock",
    "edgeticket report runs/demo device-reports": "reports of a device; tests/page carry it out",
    "edgeticket report pi5.json": "the same",
    "edgeticket report layers.json": "a report of layers; tests/diff carry it out",
    "edgeticket history reports/": "reports of many days; tests/history carry it out",
    "edgeticket compare reports/ new/": "the same",
    "edgeticket bench": "a device, or emulation as root; tests/devices carry it out",
    "edgeticket device": "a device; tests/devices carry it out",
    "edgeticket diff runs/demo --on": "a device; tests/devices carry it out",
    "edgeticket run mine.yaml": "minutes of training; tests/run carry out a smaller network",
    "edgeticket run demo": "minutes; `make demo` is the same",
    "device-runner energy": "a meter's log",
    "device-runner bench bundle.zip -o reports/ --strict": "four quiet cores",
}
# Carried out in this order, each in the folder where the ones before were.
TAKEN = (
    "edgeticket init mobilenet_v2 photos -o mine.yaml",
    "edgeticket inspect mine.yaml",
    "edgeticket bundle model.tflite model.onnx --samples",
    "device-runner check bundle.zip",
    "device-runner prove bundle.zip",
    "device-runner bench bundle.zip -o reports/",
    "device-runner tap bundle.zip --artifact",
    "device-runner info",
    "edgeticket diff runs/demo",
    "edgeticket report runs/demo -o page.html",
    "edgeticket diff bundle.zip --alone",
    "edgeticket diff runs/demo --taps taps.npz",
    "edgeticket compare host.json device.json --max-drop 0.5 --max-p90-ms 20",
    "edgeticket compare known-good/ reports/",
    "edgeticket results results",
)
QUICKLY = " --min-seconds 0.02 --min-queries 11 --warmup-seconds 0 --windows 1"
QUICK = """
name: demo
data: {name: digits, train: 100, validation: 50, calibration: 20, test: 50}
model: {arch: lenet5}
train: {epochs: 1, batch_size: 50, lr: 0.01}
compress: [{method: ptq}]
bench: {min_seconds: 0, min_queries: 1}
"""
PLACEHOLDERS = {"NAME": "demo", "ID": "dense-tflite-int8", "FOLDER": "data"}


def commands_of(document: Path) -> list[str]:
    """The commands in the indented blocks of a document, without what follows #."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    commands = []
    for line in text.splitlines():
        match = re.match(r" {4}(?:sudo )?(?:\.venv/bin/)?((?:edgeticket|device-runner) .*)", line)
        if match:
            words = shlex.split(match[1], comments=True)
            words = [
                re.sub(r"\b(NAME|ID|FOLDER)\b", lambda m: PLACEHOLDERS[m[0]], w) for w in words
            ]
            commands.append(shlex.join(words))
    return commands


def excuse(command: str) -> str | None:
    """Why a command is not carried out here."""
    for start, reason in NOT_HERE.items():
        if command.startswith(start) and (start.endswith("_") or f"{command} "[len(start)] == " "):
            return reason
    return None


ALL = sorted({command for document in DOCUMENTS for command in commands_of(document)})


@pytest.mark.parametrize("command", ALL)
def test_a_documented_command_is_one(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "device-runner":
        _parser().parse_args(words)
    else:
        typer.main.get_command(app).make_context(program, words)
        name, *rest = words
        found = typer.main.get_command(app).commands[name]
        if name == "device":
            name, *rest = rest
            found = found.commands[name]
        found.make_context(name, rest)


def test_each_documented_command_is_taken_or_says_why_not() -> None:
    for command in ALL:
        taken = command.startswith(TAKEN)
        assert taken or excuse(command), f"{command}: neither carried out nor excused"
    for start in TAKEN:
        assert any(command.startswith(start) for command in ALL), f"{start}: no document has it"


def take(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *words = shlex.split(command)
    return subprocess.run(
        [sys.executable, "-m", PROGRAMS[program], *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a reader of the documents has: pictures, models, a run named demo."""
    folder = tmp_path_factory.mktemp("reader")
    write_pictures(folder / "photos", per_class=12, side=32)
    (folder / "demo.yaml").write_text(QUICK)
    done = take("edgeticket run demo.yaml --data data", folder)
    assert done.returncode == 0, done.stderr
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))
    source = export_onnx(module.eval(), torch.zeros(1, 3, 8, 8))
    (folder / "model.onnx").write_bytes(source)
    (folder / "model.tflite").write_bytes(TARGETS["tflite-fp32"].convert(source).data)
    np.savez(folder / "test.npz", inputs=np.zeros((6, 8, 8, 3), np.uint8))
    (folder / "labels.txt").write_text("0\n1\n2\n0\n1\n2\n")
    for reports in ("known-good", "reports"):
        shutil.copytree(folder / "runs" / "demo" / "reports", folder / reports)
    report = folder / "known-good" / "dense-tflite-int8.json"
    for name in ("host.json", "device.json"):
        shutil.copyfile(report, folder / name)
    shutil.copytree(ROOT / "results", folder / "results")
    (folder / "docs").mkdir()
    return folder


@pytest.mark.timeout(900)
def test_what_documents_print_is_taken(place: Path) -> None:
    for start in TAKEN:
        for command in [command for command in ALL if command.startswith(start)]:
            if excuse(command):
                continue
            if start == "device-runner check bundle.zip":  # of the run, for what follows
                shutil.copyfile(place / "runs" / "demo" / "bundle.zip", place / "bundle.zip")
            done = take(command, place)
            # 1: a limit is broken, or a machine under test is not quiet.
            assert done.returncode in (0, 1), f"{command}\n{done.stdout}{done.stderr}"
            assert "Traceback" not in done.stderr, f"{command}\n{done.stderr}"


def steps(text: str) -> list[str]:
    """The commands in backquotes after `next,`."""
    return re.findall(r"`((?:edgeticket|device-runner) [^`]+)`", text.partition("next, ")[2])


def test_what_init_prints_is_taken(place: Path) -> None:
    folder = "with a space"
    done = take(f"edgeticket init model.onnx photos -o '{folder}/own.yaml'", place)
    # The file takes pictures of 8 pixels, and is not trained: seconds.
    assert done.returncode == 0, done.stderr
    commands = steps(done.stdout)
    assert [command.split()[1] for command in commands] == ["inspect", "run"]
    for command in commands:
        taken = take(f"{command} --data data", place)
        assert taken.returncode == 0, taken.stdout + taken.stderr
    assert (place / "runs" / "own" / "summary.md").exists()


def test_what_bundle_prints_is_taken(place: Path) -> None:
    done = take(
        "edgeticket bundle model.onnx --samples test.npz --labels labels.txt -o 'a bundle'", place
    )
    assert done.returncode == 0, done.stderr
    (command,) = steps(done.stdout)
    assert command == "device-runner bench 'a bundle'"
    taken = take(f"{command}{QUICKLY}", place)
    assert taken.returncode in (0, 1), taken.stderr


def test_the_commands_that_a_tflite_file_is_sent_to_take_it(place: Path) -> None:
    told = take("edgeticket init model.tflite photos -o no.yaml", place).stderr
    commands = re.findall(r"`(edgeticket [^`]+)`", told)
    assert [command.split()[1] for command in commands] == ["bundle", "inspect"]
    (place / "bundle.zip").unlink(missing_ok=True)  # of the run, from a test before
    for command in commands:
        done = take(command, place)
        assert done.returncode == 0, done.stderr
