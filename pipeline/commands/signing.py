"""The commands `edgeticket sign` and `edgeticket verify`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edgeticket.pipeline.text import open_console

PASSWORD = "EDGETICKET_KEY_PASSWORD"

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder or .zip.")]


def sign(
    bundle: BundleArgument,
    key: Annotated[
        Path, typer.Option(metavar="FILE", help="Private key in PEM: P-256, P-384 or P-521.")
    ],
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its certificate, in PEM.")
    ] = None,
) -> None:
    """Sign a bundle, so that devices can tell from whom it comes.

    The signature, in the format of OpenSSF model-signing, is over the manifest, which lists the
    hash of every file; it is put beside it. The password of a key, if it has one, is read from
    the variable EDGETICKET_KEY_PASSWORD. Needs `pip install 'edgeticket[sign]'`.

        openssl ecparam -name prime256v1 -genkey -noout -out key.pem

        openssl ec -in key.pem -pubout -out key.pub

        edgeticket sign bundle.zip --key key.pem
    """
    import edgeticket

    edgeticket.sign(bundle, key=key, certificate=certificate, password=os.environ.get(PASSWORD))
    open_console().print(f"{bundle}: signed", highlight=False, soft_wrap=True)


def verify(
    bundle: BundleArgument,
    trust: Annotated[
        Path, typer.Option(metavar="PATH", help="Public key in PEM, or a folder of them.")
    ],
) -> None:
    """Check every file of a bundle, and that a trusted key signed it.

    edgeticket verify bundle.zip --trust key.pub
    """
    import edgeticket

    fingerprint = edgeticket.verify(bundle, trust=trust)
    open_console().print(
        f"{bundle}: whole, and signed by the key {fingerprint}", highlight=False, soft_wrap=True
    )
