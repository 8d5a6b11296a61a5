"""Sign a bundle: model-signing's detached signature over manifest.json, put beside it.

The manifest lists the hash of every file, so its signature is that of the bundle.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeticket.device_runner.atomic import open_atomic, write_atomic
from edgeticket.device_runner.bundle import MANIFEST, open_bundle
from edgeticket.device_runner.check import check_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.signing import LISTED, SIGNATURE, read_trust

FILES = 200  # that a signature lists, so that it stays small


def sign_bundle(
    path: Path, *, key: Path, certificate: Path | None = None, password: str | None = None
) -> None:
    """Sign a bundle that is whole; an older signature is replaced.

    Args:
        path: a bundle folder, or a .zip of its contents.
        key: a private key in PEM, on the curve P-256, P-384 or P-521.
        certificate: in PEM, of that key; whoever verifies by certificates needs it.
        password: of the key.

    Raises:
        InputError: the bundle is not whole; the key cannot be used; model-signing is not
            installed. Errors say nothing of what is in the key.
    """
    check_bundle(path)
    with open_bundle(path) as bundle:
        files = {entry.path: entry.sha256 for entry in bundle.manifest.files}
        signature = _sign(bundle.manifest_bytes, files, key, certificate, password)
    if path.is_dir():
        write_atomic(path / SIGNATURE, signature)
    else:
        _put(path, signature)


def verify_bundle(path: Path, *, trust: Path) -> str:
    """Check every file and the signature of a bundle -> the fingerprint of the key.

    Raises:
        InputError: not whole, or a `SignatureError`.
    """
    with open_bundle(path) as bundle:
        fingerprint = bundle.verify_signature(read_trust(trust))
    check_bundle(path)
    return fingerprint


class _Listing:
    """A signer of model-signing that also states the hash of each file, where these are few."""

    def __init__(self, signer: Any, files: Mapping[str, str]) -> None:
        self._signer, self._files = signer, files

    def sign(self, payload: Any) -> Any:
        """Sign the statement with one field more, which other verifiers ignore."""
        if len(self._files) <= FILES:
            payload.statement.pb.predicate.update({LISTED: dict(self._files)})
        return self._signer.sign(payload)


def _sign(
    manifest: bytes,
    files: Mapping[str, str],
    key: Path,
    certificate: Path | None,
    password: str | None,
) -> bytes:
    try:
        from model_signing import signing
    except ImportError:
        raise InputError("signing needs its extra: pip install 'edgeticket[sign]'") from None
    with tempfile.TemporaryDirectory() as folder:
        file, signature = Path(folder) / MANIFEST, Path(folder) / SIGNATURE
        file.write_bytes(manifest)
        try:
            config = signing.Config()
            if certificate is None:
                secret = None if password is None else password.encode()
                config.use_elliptic_key_signer(private_key=key, password=secret)
            else:
                config.use_certificate_signer(
                    private_key=key, signing_certificate=certificate, certificate_chain=()
                )
            config._signer = _Listing(config._signer, files)
            config.sign(file, signature)
        except Exception as error:  # its text may quote the key
            raise InputError(
                f"{key} cannot be used to sign ({type(error).__name__}): give a private key in PEM "
                "on the curve P-256, P-384 or P-521, with its password if it has one"
            ) from None
        return signature.read_bytes()


def _put(path: Path, signature: bytes) -> None:
    """Rewrite a zip with the signature as its last entry, whole or not at all."""
    with (
        zipfile.ZipFile(path) as old,
        open_atomic(path) as file,
        zipfile.ZipFile(file, "w") as new,
    ):
        for entry in old.infolist():
            if entry.filename != SIGNATURE:
                new.writestr(entry, old.read(entry), entry.compress_type, 6)
        added = zipfile.ZipInfo(SIGNATURE, (1980, 1, 1, 0, 0, 0))
        added.external_attr = 0o644 << 16
        new.writestr(added, signature, zipfile.ZIP_DEFLATED, 6)
