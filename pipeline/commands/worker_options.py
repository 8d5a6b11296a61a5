"""What commands take whose work can go to other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Work on the workers of this Dask scheduler, such as tls://10.0.0.1:8786. Whoever "
        "reaches a scheduler can run programs on its workers: loopback, or TLS.",
    ),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        metavar="FILE",
        help="Certificate (PEM) of who signed the scheduler's; default: Dask's configuration.",
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option("--tls-cert", metavar="FILE", help="This machine's certificate (PEM)."),
]
TlsKey = Annotated[
    Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key (PEM).")
]
Needs = Annotated[
    list[str] | None,
    typer.Option(
        "--needs",
        metavar="NAME[=N]",
        help="What a run holds while it is worked on, of the resources that workers were started "
        "with: `--needs gpu` goes to `dask worker --resources gpu=1`, one at a time. Repeatable.",
    ),
]
