"""What is asked about: a model file, an artifact of a bundle, a network, or a report."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.layers.report import LayerReport, parse_layers
from edgeticket.device_runner.machine import Machine
from edgeticket.device_runner.manifest import Artifact, InputSpec
from edgeticket.device_runner.preprocess import prepare
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.report import Report, parse_report
from edgeticket.device_runner.selection import select
from edgeticket.device_runner.strict_json import parse_json
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.external.file import READERS, ExternalModel, read_external

Array = npt.NDArray[Any]

RECIPES = (".yaml", ".yml")
SIZE_LIMIT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Subject:
    """One side of the question.

    file: what can be run here; None of a report alone. described, stored: how a bundle's samples
    become inputs, and those. machine: where a report was made; None: this one.
    """

    title: str
    file: ExternalModel | None = None
    described: tuple[InputSpec, ...] = ()
    stored: tuple[Array, ...] = ()
    report: Report | None = None
    layers: LayerReport | None = None
    machine: Machine | None = None

    def inputs(self, stored: Sequence[Array], count: int) -> tuple[Array, ...]:
        """The first ``count`` samples of a bundle, as this artifact prepares them: real numbers
        [N, ...] with the axes of its file.

        Raises:
            InputError: they do not fit.
        """
        assert self.file is not None
        real = [
            replace(spec, dtype="float32", scale=None, zero_point=None)
            if spec.scale is not None
            else spec
            for spec in self.file.inputs
        ]
        some = [array[:count] for array in stored]
        return prepare(some, self.described, real, place=self.title)


def read_subject(text: str, *, bundle: Path | None = None, samples: int = 16) -> Subject:
    """What a word of the command line names.

    Args:
        text: FILE.onnx or FILE.tflite; BUNDLE:ID or RUN:ID, one of its artifacts; RUN, or a
            FILE.pt2, the float32 network of PyTorch; REPORT.json, of `bench` or of `layers`.
        bundle: where the artifact of a report lies, so that its layers can be looked at.
        samples: how many of a bundle's are read.

    Raises:
        InputError: it is none of these, or cannot be read.
    """
    path = Path(text)
    if path.suffix in READERS:
        return Subject(text, read_external(path))
    if path.suffix == ".json":
        return _of_report(path, bundle, samples)
    if path.suffix == ".pt2":
        return Subject(text, _of_program(path))
    if path.suffix in RECIPES:
        return _of_recipe(path, samples)
    if path.is_dir() and not (path / "manifest.json").is_file():
        return _of_run(path, samples)
    place, colon, name = text.rpartition(":")
    if not colon or not Path(place).exists():
        raise InputError(
            f"{text} is nothing to ask about: give a .onnx, .tflite, .pt2 or recipe file, a run's "
            "folder, BUNDLE:ID for an artifact of a bundle or run, or a report (.json)"
        )
    return _of_artifact(Path(place), name, samples)


def _of_artifact(path: Path, name: str, samples: int) -> Subject:
    path = path / "bundle" if (path / "bundle" / "manifest.json").is_file() else path
    with open_bundle(path) as bundle:
        (entry,) = select(bundle.manifest, artifact=name).chosen
        data = bundle.read(entry.file)
        stored = tuple(np.array(array[:samples]) for array in bundle.inputs())
        described = tuple(bundle.manifest.inputs)
    return Subject(f"{path}:{name}", _foreign(entry, data), described, stored)


def _foreign(entry: Artifact, data: bytes) -> ExternalModel:
    unknown = Unavailable("not counted")
    ends = entry.inputs, entry.outputs
    return ExternalModel(
        entry.id, data, entry.runtime, entry.precision, *ends, unknown, unknown, {}
    )


def _of_report(path: Path, bundle: Path | None, samples: int) -> Subject:
    data = read_regular(path, kind="report", limit_bytes=SIZE_LIMIT_BYTES)
    document = parse_json(data, place=str(path))
    if isinstance(document, dict) and "whole_ns" in document:
        layers = parse_layers(data, place=str(path))
        subject = Subject(str(path), layers=layers, machine=layers.machine)
        name, digest = layers.artifact.id, layers.artifact.sha256
    else:
        report = parse_report(data, place=str(path))
        subject = Subject(str(path), report=report, machine=report.machine)
        name, digest = report.artifact.id, report.artifact.sha256
    if bundle is None:
        return subject
    whole = bundle / "bundle" if (bundle / "bundle" / "manifest.json").is_file() else bundle
    with open_bundle(whole) as opened:
        digests = {file.path: file.sha256 for file in opened.manifest.files}
        files = {entry.id: digests[entry.file] for entry in opened.manifest.artifacts}
    if files.get(name) != digest:
        raise InputError(f"{bundle} does not hold the {name} that {path} measured")
    artifact = _of_artifact(whole, name, samples)
    return replace(
        subject, file=artifact.file, described=artifact.described, stored=artifact.stored
    )


def _of_program(path: Path) -> ExternalModel:
    import edgeticket

    made = edgeticket.convert(path, kinds=["onnx-fp32"])["onnx-fp32"]
    return _written(made.data, str(path))


def _of_recipe(path: Path, samples: int) -> Subject:
    import edgeticket

    recipe = edgeticket.read_recipe(path)
    run = Path("runs") / recipe.name
    if not run.is_dir():
        raise InputError(
            f"{path} has no results in {run}: `edgeticket run {path}` makes them, or give the "
            "run's folder"
        )
    return replace(_of_run(run, samples), title=str(path))


def _of_run(run: Path, samples: int) -> Subject:
    """The float32 network that a run deploys, as PyTorch has it."""
    from edgeticket.pipeline.convert.targets import TARGETS
    from edgeticket.pipeline.export import export
    from edgeticket.pipeline.network.file import load_network
    from edgeticket.pipeline.quantize import fold_bn

    if not (run / "bundle" / "manifest.json").is_file():
        raise InputError(f"{run} is no folder of a run: there is no bundle in it")
    with open_bundle(run / "bundle") as bundle:
        entries = bundle.manifest.artifacts
        network = next((e.network for e in entries if e.role == "deploy"), entries[0].network)
        stored = tuple(np.array(array[:samples]) for array in bundle.inputs())
        described = tuple(bundle.manifest.inputs)
    place = run / "reference" / f"fp32-{network}"
    if not place.is_dir():
        raise InputError(f"{place} is absent: `edgeticket run` leaves it; or name an artifact")
    loaded = load_network(place, trusted="")
    made = TARGETS["onnx-fp32"].convert(export(fold_bn(loaded.module(), loaded.input_shapes)))
    artifact = TARGETS["onnx-fp32"].artifact(made, id=f"{network}-torch", network=network)
    return Subject(str(run), _foreign(artifact, made.data), described, stored)


def _written(data: bytes, title: str) -> ExternalModel:
    with tempfile.TemporaryDirectory(prefix="edgeticket-why-") as folder:
        file = Path(folder) / "network.onnx"
        file.write_bytes(data)
        return replace(read_external(file), place=title)
