"""Who made a bundle? Signatures over its manifest."""

from __future__ import annotations

from pathlib import Path

from edgeticket.api.paths import StrPath


def sign(
    bundle: StrPath,
    *,
    key: StrPath,
    certificate: StrPath | None = None,
    password: str | None = None,
) -> None:
    """Sign a bundle, a folder or a .zip, in the format of OpenSSF model-signing.

    The signature lies beside the manifest, as manifest.json.sig; an older one is replaced.

    Args:
        bundle: the bundle; every file of it is checked first.
        key: a private key in PEM, on the curve P-256, P-384 or P-521.
        certificate: of that key, in PEM.
        password: of the key.

    Raises:
        InputError: the bundle is not whole, or the key cannot be used.
    """
    from edgeticket.pipeline.signing import sign_bundle

    sign_bundle(
        Path(bundle),
        key=Path(key),
        certificate=None if certificate is None else Path(certificate),
        password=password,
    )


def verify(bundle: StrPath, *, trust: StrPath) -> str:
    """Check every file of a bundle, and that a trusted key signed it -> that key's fingerprint.

    Args:
        bundle: a folder or a .zip.
        trust: a public key in PEM, or a folder of them.

    Raises:
        InputError: not whole, unsigned, changed behind its signature, or signed by another key.
    """
    from edgeticket.pipeline.signing import verify_bundle

    return verify_bundle(Path(bundle), trust=Path(trust))
