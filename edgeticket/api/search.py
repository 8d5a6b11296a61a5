"""What a cut brings on a device, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeticket.api.paths import StrPath, optional_path
from edgeticket.device_runner.errors import InputError

if TYPE_CHECKING:
    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.progress import Progress
    from edgeticket.pipeline.search.predict import Prediction
    from edgeticket.pipeline.search.structure import Structure

RUNTIMES, PRECISIONS = ("ort", "tflite"), ("int8", "fp32")


def predict(
    subject: str,
    *,
    on: str,
    keep: float | None = None,
    structure: StrPath | Structure | None = None,
    quantum: int = 8,
    runtimes: Sequence[str] = RUNTIMES,
    precisions: Sequence[str] = PRECISIONS,
    size: tuple[int, ...] | tuple[tuple[int, ...], ...] = (3, 224, 224),
    args: Mapping[str, bool | int | float | str] | None = None,
    data: StrPath | None = None,
    times: StrPath = "runs/.probes",
    threads: int = 1,
    amx: bool = True,
    allow_invalid: bool = False,
    python: str | None = None,
    offline: bool = False,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Prediction:
    """Measure the steps of a network and of what is left of it on a device, and add them up.

    Args:
        subject: a recipe or a network, as for `inspect`; weights do not matter.
        on: a target, as for `bench`.
        keep: the share of every group of channels that stays; None: see ``structure``.
        structure: what stays, or a file of it; None, and no ``keep``: everything.
        quantum: with ``keep``, channels come in multiples of it.
        runtimes, precisions: of which; each a key of what a summary names.
        size: what a network from elsewhere takes, without the batch.
        args: of the network.
        data: as for `run`.
        times: the folder where times of probes are kept.
        threads: within one inference.
        amx: let runtimes use it.
        allow_invalid: go on with the fastest queries where the machine is not quiet; none are kept.
        python: one on the device that has numpy and a runtime; None: an environment of our own.
        offline: this machine fetches the packages and brings them.
        patience: how long to wait for what; None: as the command does.
        progress: as for `run`.

    Returns:
        Every layer before and after, with both networks as wholes beside the sums.

    Raises:
        DeviceError: the device cannot be reached, or measures nothing that can be believed.
        InputError: the network, the structure or a name cannot be used.
    """
    from edgeticket.pipeline.data import data_folder
    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.devices.fleet import make_device
    from edgeticket.pipeline.inspect.subject import network_of
    from edgeticket.pipeline.progress import QUIET
    from edgeticket.pipeline.search.candidates import Candidates
    from edgeticket.pipeline.search.predict import predict as foretell
    from edgeticket.pipeline.search.probing import Asked
    from edgeticket.pipeline.search.structure import Structure, read_structure, uniform

    _known(runtimes, RUNTIMES, "runtime")
    _known(precisions, PRECISIONS, "precision")
    if keep is not None and structure is not None:
        raise InputError("keep is a share of all groups, structure says what stays of each: one")
    device = make_device(on, python=python)
    given = structure if isinstance(structure, Structure) else None
    if structure is not None and given is None:
        given = read_structure(Path(structure))  # type: ignore[arg-type]
    network = network_of(
        subject,
        size=size,
        args=args or {},
        data_folder=data_folder(optional_path(data)),
        progress=progress or QUIET,
    )
    candidates = Candidates.of(network)
    if given is None:
        given = Structure() if keep is None else uniform(candidates.widths, keep, quantum=quantum)
        if keep is not None and not candidates.widths:
            raise InputError(f"{network.arch} has no channels that can be removed: leave out keep")
    return foretell(
        candidates,
        given,
        device,
        Asked(
            store=Path(times),
            threads=threads,
            amx=amx,
            allow_invalid=allow_invalid,
            patience=patience or Patience(),
            offline=offline,
        ),
        runtimes=runtimes,
        precisions=precisions,
        progress=progress or QUIET,
    )


def _known(names: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"unknown {what} {name!r} (known: {', '.join(known)})")
