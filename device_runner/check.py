"""Verify a whole bundle without running anything of it."""

from __future__ import annotations

from pathlib import Path

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.manifest import Manifest
from edgeticket.device_runner.preprocess import prepare
from edgeticket.device_runner.runtimes import get_runtime


def check_bundle(path: Path) -> Manifest:
    """Read every listed file, and fit the samples to every artifact -> the manifest.

    An artifact that would have its runtime read other files is refused.

    Raises:
        InputError: the first thing that is not as it should be.
    """
    with open_bundle(path) as bundle:
        manifest = bundle.manifest
        for file in manifest.files:
            data = bundle.read(file.path)
            for artifact in manifest.artifacts:
                if artifact.file == file.path:
                    get_runtime(artifact.runtime).check(data, place=f"{path}: {file.path}")
        inputs = bundle.inputs()
        for network in manifest.networks:
            bundle.references(network)
    first = [stored[:1] for stored in inputs]
    for artifact in manifest.artifacts:
        prepare(first, manifest.inputs, artifact.inputs, place=f"{path}: artifact {artifact.id}")
    return manifest
