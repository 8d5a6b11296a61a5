"""Verify a whole bundle without running anything of it."""

from __future__ import annotations

from pathlib import Path

from edgeticket.device_runner.bundle import Bundle, open_bundle
from edgeticket.device_runner.manifest import Manifest
from edgeticket.device_runner.preprocess import prepare
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.signing import read_trust
from edgeticket.device_runner.unavailable import Unavailable


def check_bundle(path: Path, *, trust: Path | None = None) -> Manifest:
    """Read every listed file, and fit the samples to every artifact -> the manifest.

    An artifact that would have its runtime read other files is refused.

    Args:
        path: the bundle.
        trust: keys, one of which has to have signed it (`signing.read_trust`); None: nobody has to.

    Raises:
        InputError: the first thing that is not as it should be.
    """
    with open_bundle(path) as bundle:
        if trust is not None:
            bundle.verify_signature(read_trust(trust))
        return check_opened(bundle, place=str(path))


def check_opened(bundle: Bundle, *, place: str) -> Manifest:
    """`check_bundle` of a bundle that is open; ``place`` is what errors call it."""
    manifest = bundle.manifest
    for file in manifest.files:
        data = bundle.read(file.path)
        for artifact in manifest.artifacts:
            if artifact.file == file.path:
                get_runtime(artifact.runtime).check(data, place=f"{place}: {file.path}")
    inputs = bundle.inputs()
    for network in manifest.networks:
        bundle.references(network)
    for name, proof in ({} if manifest.proof is None else manifest.proof.artifacts).items():
        if not isinstance(proof, Unavailable):
            bundle.golden(name)
    first = [stored[:1] for stored in inputs]
    for artifact in manifest.artifacts:
        prepare(first, manifest.inputs, artifact.inputs, place=f"{place}: artifact {artifact.id}")
    return manifest
