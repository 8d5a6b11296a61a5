"""Who made a bundle? A detached signature over its manifest, which lists the hash of every file.

The format is that of OpenSSF model-signing 1.x for one file, manifest.json: a Sigstore bundle
(v0.3, JSON) with a DSSE envelope around an in-toto statement. It is verified offline with public
keys that the device was given beforehand; nothing in the signature file is trusted to name a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.strict_json import parse_json

SIGNATURE = "manifest.json.sig"
TRUST = Path("/etc/edgeticket/trust")  # keys that a device trusts unless others are named
SIGNATURE_LIMIT_BYTES = 2**16
KEY_LIMIT_BYTES = 2**16

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"
# Beside what model-signing 1.0 knows, whose verifiers ignore it: path -> SHA-256 of each file, from
# which an error says what was changed.
LISTED = "edgeticket_files"
FEW = 3  # files that an error names


class SignatureError(InputError):
    """A bundle that is not from whom it should be."""


def verify_signature(
    signature: bytes, manifest: bytes, keys: Sequence[tuple[str, bytes]], *, place: str
) -> str:
    """Hold a signature against a manifest and trusted keys -> the fingerprint of the key.

    Args:
        signature: the whole file.
        manifest: the bytes of manifest.json.
        keys: public keys as PEM, with what errors call each.
        place: what errors call the bundle.

    Raises:
        SignatureError: by none of the keys; of another manifest; no signature of this format.
        InputError: the package `cryptography` is not installed; a file that is no key.
    """
    payload, claimed = _opened(signature, f"{place}: {SIGNATURE}")
    signed = b"DSSEv1 %d %s %d %s" % (
        len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload,
    )  # fmt: skip
    for title, pem in keys:
        fingerprint = _signer(pem, claimed, signed, title)
        if fingerprint is not None:
            break
    else:
        names = ", ".join(title for title, _ in keys) or "none"
        raise SignatureError(
            f"{place}: the signature is by none of the trusted keys ({names}): get the bundle, or "
            "the key, from whom you trust"
        )
    wanted = _digest(payload, f"{place}: {SIGNATURE}")
    if hashlib.sha256(manifest).hexdigest() != wanted:
        raise SignatureError(f"{place}: {_what_changed(payload, manifest, wanted)}")
    return fingerprint


def read_trust(path: Path) -> tuple[tuple[str, bytes], ...]:
    """A public key as a PEM file, or a folder of such files (*.pub, *.pem), by name.

    Raises:
        InputError: no such file, or a folder without any.
    """
    files = (
        sorted(f for f in path.iterdir() if f.suffix in (".pub", ".pem")) if path.is_dir() else []
    )
    if path.is_dir() and not files:
        raise InputError(f"--trust {path}: there is no .pub or .pem file in it")
    return tuple(
        (str(file), read_regular(file, limit_bytes=KEY_LIMIT_BYTES)) for file in files or [path]
    )


def _opened(signature: bytes, place: str) -> tuple[bytes, bytes]:
    """A signature file -> the statement's bytes, the signature over them."""
    if len(signature) > SIGNATURE_LIMIT_BYTES:
        raise SignatureError(f"{place} is larger than {SIGNATURE_LIMIT_BYTES} bytes")
    try:
        document = parse_json(signature, place=place)
    except InputError as error:
        raise SignatureError(str(error)) from None
    envelope = _entry(document, "dsseEnvelope", dict, place)
    if document.get("mediaType") != MEDIA_TYPE or envelope.get("payloadType") != PAYLOAD_TYPE:
        raise SignatureError(f"{place} is no Sigstore bundle of version 0.3 with a statement in it")
    signatures = _entry(envelope, "signatures", list, place)
    if len(signatures) != 1:
        raise SignatureError(f"{place} has {len(signatures)} signatures, and one is read")
    return _base64(envelope, "payload", place), _base64(signatures[0], "sig", place)


def _digest(payload: bytes, place: str) -> str:
    """The SHA-256 of manifest.json that a statement, whose signature is right, speaks of."""
    try:
        statement = parse_json(payload, place=f"{place}: statement")
    except InputError as error:
        raise SignatureError(str(error)) from None
    predicate = _entry(statement, "predicate", dict, place)
    if (statement.get("_type"), statement.get("predicateType")) != (STATEMENT, PREDICATE):
        raise SignatureError(f"{place} is signed, but is no statement of model-signing 1.0")
    serialization = _entry(predicate, "serialization", dict, place)
    resources = _entry(predicate, "resources", list, place)
    wanted = ("files", "sha256")
    if (serialization.get("method"), serialization.get("hash_type")) != wanted:
        raise SignatureError(f"{place}: files have to be signed whole, by SHA-256")
    if len(resources) != 1 or not isinstance(resources[0], Mapping):
        raise SignatureError(f"{place}: it speaks of {len(resources)} files, not of manifest.json")
    if (resources[0].get("name"), resources[0].get("algorithm")) != (".", "sha256"):
        raise SignatureError(
            f"{place}: it has to be manifest.json alone that is signed, by SHA-256"
        )
    digest: str = _entry(resources[0], "digest", str, place)
    return digest


def _what_changed(payload: bytes, manifest: bytes, wanted: str) -> str:
    """Why a manifest is not the one that was signed, by the files that its signer listed.

    The statement is of a trusted key; the manifest is of nobody, and only helps to tell.
    """
    otherwise = "manifest.json is not the one that was signed"
    signed = parse_json(payload, place=SIGNATURE)["predicate"].get(LISTED)
    document = parse_json(manifest, place="manifest.json")
    files, artifacts = _listed(document), _artifacts(document)
    if not isinstance(signed, Mapping) or not files:
        return (
            f"{otherwise} (SHA-256 {wanted[:12]}…): the bundle was changed, or made again, behind "
            "its signature"
        )
    changed = sorted(path for path in {*signed, *files} if signed.get(path) != files.get(path))
    if not changed:
        return (
            f"{otherwise}: all files are those that were signed, but what manifest.json says of "
            "them was changed afterwards"
        )
    if not any(signed.get(path) == files[path] for path in artifacts if path in files):
        return (
            f"{otherwise}: the signature is an older one, or of another bundle, for none of the "
            "model files here was signed: sign this bundle"
        )
    few = ", ".join(changed[:FEW]) + (f" and {len(changed) - FEW} more" * (len(changed) > FEW))
    return f"{otherwise}: changed after signing, and hashed anew: {few}"


def _listed(document: Any) -> dict[str, str]:
    """A manifest's files and their SHA-256."""
    files = document.get("files") if isinstance(document, Mapping) else None
    return {
        str(entry["path"]): str(entry["sha256"])
        for entry in (files if isinstance(files, list) else ())
        if isinstance(entry, Mapping) and {"path", "sha256"} <= set(entry)
    }


def _artifacts(document: Any) -> list[str]:
    """A manifest's model files."""
    artifacts = document.get("artifacts") if isinstance(document, Mapping) else None
    return [
        str(entry["file"])
        for entry in (artifacts if isinstance(artifacts, list) else ())
        if isinstance(entry, Mapping) and "file" in entry
    ]


def _entry(document: Any, key: str, kind: type, place: str) -> Any:
    if not isinstance(document, Mapping) or not isinstance(document.get(key), kind):
        raise SignatureError(f"{place} has no {key}: it is no signature by model-signing")
    return document[key]


def _base64(document: Any, key: str, place: str) -> bytes:
    text = _entry(document, key, str, place)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError(f"{place}: {key} is not base64") from None


def _signer(pem: bytes, claimed: bytes, signed: bytes, title: str) -> str | None:
    """The fingerprint of a key if it made the signature ``claimed`` over ``signed``."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise InputError(
            "signatures cannot be verified here: pip install 'edgeticket[signed]', or the "
            "package cryptography"
        ) from None
    try:
        key = serialization.load_pem_public_key(pem)
    except Exception:  # whatever it says may quote the file, which may be a private key
        raise InputError(
            f"{title} is no public key in PEM: give what the maker published"
        ) from None
    algorithms: dict[str, hashes.HashAlgorithm] = {
        "secp256r1": hashes.SHA256(),
        "secp384r1": hashes.SHA384(),
        "secp521r1": hashes.SHA512(),
    }
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in algorithms:
        raise InputError(
            f"{title} is no key on the curves P-256, P-384 and P-521: make one of these"
        )
    try:
        key.verify(claimed, signed, ec.ECDSA(algorithms[key.curve.name]))
    except InvalidSignature:
        return None
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(encoding, form)).hexdigest()
