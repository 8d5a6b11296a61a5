"""Whose bundle is it? Each way of not being right has a sentence of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import runner_fixtures as tiny
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeticket.device_runner import signing
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.cli import main
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.signing import SIGNATURE, SignatureError, verify_signature
from edgeticket.pipeline.bundle import zip_bundle
from edgeticket.pipeline.signing import sign_bundle, verify_bundle

Key = ec.EllipticCurvePrivateKey


def public(key: Key) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def private(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def signature_of(manifest: bytes, key: Key, **changes: Any) -> bytes:
    """As model-signing writes it, written anew from its specification."""
    digest = hashlib.sha256(manifest)
    resource = {"name": ".", "algorithm": "sha256", "digest": digest.hexdigest()}
    root = hashlib.sha256(digest.digest()).hexdigest()
    statement = {
        "_type": signing.STATEMENT,
        "subject": [{"name": "manifest.json", "digest": {"sha256": root}}],
        "predicateType": signing.PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [resource],
        },
        **changes,
    }
    payload = json.dumps(statement).encode()
    kind = signing.PAYLOAD_TYPE.encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    sizes = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
    claimed = key.sign(signed, ec.ECDSA(sizes[key.curve.key_size]))
    document = {
        "mediaType": signing.MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": "none of this is believed"}},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": signing.PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(claimed).decode(), "keyid": ""}],
        },
    }
    return json.dumps(document).encode()


@pytest.fixture
def key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def bundle(tmp_path: Path, key: Key) -> Path:
    folder = tiny.write_tiny_bundle(tmp_path / "b")
    manifest = (folder / "manifest.json").read_bytes()
    (folder / SIGNATURE).write_bytes(signature_of(manifest, key))
    (tmp_path / "key.pub").write_bytes(public(key))
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = main([*map(str, arguments)])
    shown = capsys.readouterr()
    return status, shown.out + shown.err


def test_a_signed_bundle_is_proven(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trust = ["--require-signed", "--trust", bundle.parent / "key.pub"]
    status, shown = run(capsys, "prove", bundle, *trust, "--runtime", "tflite")
    assert status == 0, shown
    assert "signed by the key " in shown
    assert run(capsys, "check", bundle, *trust)[0] == 0
    zip_bundle(bundle, bundle.parent / "b.zip")
    assert run(capsys, "check", bundle.parent / "b.zip", *trust)[0] == 0


def test_each_wrong_signature_has_its_sentence(
    bundle: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, trust = bundle / "manifest.json", bundle.parent / "key.pub"
    asked = ["prove", bundle, "--require-signed", "--trust", trust]
    whole, right = manifest.read_bytes(), (bundle / SIGNATURE).read_bytes()

    manifest.write_bytes(whole.replace(b'"noise"', b'"other"'))  # rehashed after a change
    status, shown = run(capsys, *asked)
    assert status == 4
    assert "manifest.json is not the one that was signed" in shown
    manifest.write_bytes(whole)

    # An old signature, which was right for another manifest.
    (bundle / SIGNATURE).write_bytes(signature_of(b"{}", key))
    assert "is not the one that was signed" in run(capsys, *asked)[1]

    trust.write_bytes(public(ec.generate_private_key(ec.SECP256R1())))
    (bundle / SIGNATURE).write_bytes(right)
    status, shown = run(capsys, *asked)
    assert status == 4
    assert "by none of the trusted keys" in shown

    (bundle / SIGNATURE).unlink()
    status, shown = run(capsys, *asked)
    assert status == 4
    assert "is not signed, and has to be" in shown

    trust.write_bytes(public(key))
    (bundle / SIGNATURE).write_bytes(right)
    data = bytearray((bundle / "models/tflite-int8.tflite").read_bytes())
    data[100] ^= 1
    (bundle / "models/tflite-int8.tflite").write_bytes(bytes(data))
    status, shown = run(capsys, *asked)  # the signature is right, a file is not
    assert status == 3
    assert "SHA-256 differs" in shown


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.update(mediaType="x"), "no Sigstore bundle of version 0.3"),
        (lambda d: d.pop("dsseEnvelope"), "has no dsseEnvelope"),
        (lambda d: d["dsseEnvelope"].update(payloadType="x"), "no Sigstore bundle"),
        (lambda d: d["dsseEnvelope"]["signatures"].clear(), "has 0 signatures"),
        (lambda d: d["dsseEnvelope"]["signatures"].append({}), "has 2 signatures"),
        (lambda d: d["dsseEnvelope"].update(payload="%"), "payload is not base64"),
        (lambda d: d["dsseEnvelope"].update(payload="AAAA"), "by none of the trusted keys"),
        (lambda d: d["dsseEnvelope"]["signatures"][0].update(sig=""), "by none of the trusted"),
    ],
)
def test_what_is_no_signature(key: Key, change: Any, sentence: str) -> None:
    document = json.loads(signature_of(b"{}", key))
    change(document)
    with pytest.raises(SignatureError, match=sentence):
        verify_signature(
            json.dumps(document).encode(), b"{}", [("key", public(key))], place="bundle"
        )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"predicateType": "https://slsa.dev/provenance/v1"}, "no statement of model-signing"),
        ({"predicate": {}}, "has no serialization"),
        (
            {"predicate": {"serialization": {"method": "shards"}, "resources": []}},
            "files have to be signed whole",
        ),
    ],
)
def test_a_right_signature_of_something_else(
    key: Key, changes: dict[str, Any], sentence: str
) -> None:
    """The same key may sign other statements; none of them is taken for a manifest's."""
    signature = signature_of(b"{}", key, **changes)
    with pytest.raises(SignatureError, match=sentence):
        verify_signature(signature, b"{}", [("key", public(key))], place="bundle")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_curves(curve: Any) -> None:
    key = ec.generate_private_key(curve)
    keys = [("other", public(ec.generate_private_key(ec.SECP256R1()))), ("key", public(key))]
    fingerprint = verify_signature(signature_of(b"{}", key), b"{}", keys, place="bundle")
    assert fingerprint == hashlib.sha256(public(key)).hexdigest()


def test_keys_that_are_none(key: Key) -> None:
    small = ec.generate_private_key(ec.SECP256K1())
    for pem, sentence in ((private(key), "no public key"), (public(small), "no key on the curves")):
        with pytest.raises(InputError, match=sentence) as raised:
            verify_signature(signature_of(b"{}", key), b"{}", [("k.pem", pem)], place="bundle")
        assert "PRIVATE" not in str(raised.value)


def test_without_cryptography_it_is_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cryptography.exceptions", "cryptography.hazmat.primitives"):
        monkeypatch.setitem(sys.modules, name, None)
    trust = ["--require-signed", "--trust", bundle.parent / "key.pub"]
    status, shown = run(capsys, "check", bundle, *trust)
    assert status == 2
    assert "pip install 'edgeticket[signed]'" in shown


def test_trust_alone_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown = run(capsys, "check", bundle, "--trust", bundle.parent / "key.pub")
    assert status == 2
    assert "add --require-signed" in shown


@pytest.mark.parametrize("packed", [False, True])
def test_signing_and_the_upstream_tool_agree(bundle: Path, key: Key, packed: bool) -> None:
    pytest.importorskip("model_signing")
    folder = bundle.parent
    (folder / "key.pem").write_bytes(private(key))
    (bundle / SIGNATURE).unlink()
    place = bundle
    if packed:
        place = folder / "b.zip"
        zip_bundle(bundle, place)
    sign_bundle(place, key=folder / "key.pem")
    sign_bundle(place, key=folder / "key.pem")  # an older signature is replaced
    assert verify_bundle(place, trust=folder / "key.pub")
    if packed:
        shutil.rmtree(bundle)
        zipfile.ZipFile(place).extractall(bundle)
    upstream = [sys.executable, "-m", "model_signing"]
    files = [str(bundle / "manifest.json"), "--signature", str(bundle / SIGNATURE)]
    subprocess.run(
        [*upstream, "verify", "key", *files, "--public_key", str(folder / "key.pub")], check=True
    )
    (bundle / SIGNATURE).unlink()
    subprocess.run(
        [*upstream, "sign", "key", *files, "--private_key", str(folder / "key.pem")], check=True
    )
    assert verify_bundle(bundle, trust=folder / "key.pub")
    with open_bundle(bundle) as opened, pytest.raises(SignatureError):
        opened.verify_signature([])


def test_what_was_changed_behind_a_signature_is_told_apart(
    bundle: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three ways to have another manifest, three sentences; of a signature that lists no files, one
    that names the digest."""
    pytest.importorskip("model_signing")
    (bundle.parent / "key.pem").write_bytes(private(key))
    sign_bundle(bundle, key=bundle.parent / "key.pem")
    manifest = bundle / "manifest.json"
    whole = manifest.read_bytes()
    asked = ["check", bundle, "--require-signed", "--trust", bundle.parent / "key.pub"]
    assert run(capsys, *asked)[0] == 0

    manifest.write_bytes(whole.replace(b'"noise"', b'"other"'))
    assert "what manifest.json says of them was changed afterwards" in run(capsys, *asked)[1]

    document = json.loads(whole)
    models = {entry["file"] for entry in document["artifacts"]}
    for count in (1, len(models)):
        for path in sorted(models)[:count]:
            data = (bundle / path).read_bytes() + b"\0"
            (bundle / path).write_bytes(data)
            entry = next(e for e in document["files"] if e["path"] == path)
            entry.update(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        manifest.write_text(json.dumps(document))
        status, shown = run(capsys, *asked)
        assert status != 0
        if count == 1:
            assert f"changed after signing, and hashed anew: {sorted(models)[0]}" in shown
        else:
            assert "none of the model files here was signed: sign this bundle" in shown

    (bundle / SIGNATURE).write_bytes(signature_of(b"{}", key))
    shown = run(capsys, *asked)[1]
    assert f"(SHA-256 {hashlib.sha256(b'{}').hexdigest()[:12]}…)" in shown


def test_errors_of_signing_say_nothing_of_the_key(bundle: Path) -> None:
    pytest.importorskip("model_signing")
    broken = bundle.parent / "broken.pem"
    broken.write_text("-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n")
    with pytest.raises(InputError, match="cannot be used to sign") as raised:
        sign_bundle(bundle, key=broken)
    assert "SECRET" not in str(raised.value)
    assert raised.value.__suppress_context__
