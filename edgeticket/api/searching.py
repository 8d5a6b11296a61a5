"""What a cut brings on a device, before anything is trained; and the cut that is looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeticket.api.paths import StrPath, optional_path
from edgeticket.device_runner.errors import InputError

if TYPE_CHECKING:
    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.progress import Progress
    from edgeticket.pipeline.recipe import Recipe
    from edgeticket.pipeline.search.candidates import Precision
    from edgeticket.pipeline.search.front import Aim, Front
    from edgeticket.pipeline.search.predict import Prediction
    from edgeticket.pipeline.search.structure import Structure

RUNTIMES = ("ort", "tflite")
PRECISIONS: tuple[Precision, ...] = ("int8", "fp32")
AIMS = ("p90", "bytes", "drop")


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


def search(
    recipe: StrPath | Recipe,
    *,
    on: str | Sequence[str],
    max_p90_ms: float | None = None,
    max_drop: float | str | None = None,
    max_kb: float | None = None,
    minimise: Aim = "p90",
    out: StrPath = "runs",
    overrides: Sequence[str] = (),
    epochs: int | None = None,
    seconds: float | None = None,
    quantum: int = 8,
    runtimes: Sequence[str] = RUNTIMES,
    precisions: Sequence[str] = ("int8",),
    data: StrPath | None = None,
    times: StrPath = "runs/.probes",
    threads: int = 1,
    amx: bool = True,
    allow_invalid: bool = False,
    remeasure: bool = False,
    python: str | None = None,
    offline: bool = False,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Front:
    """Find the networks that no other beats in the task's metric, p90 on a target, and bytes.

    Args:
        recipe: the network, how it is trained or where its weights are, data, task, and how it is
            rounded; a file, a ready recipe's name, or a recipe.
        on: a target, as for `bench`, or several: the slowest decides.
        max_p90_ms, max_kb: what a point may take at most, in milliseconds and 1000 bytes.
        max_drop: how much worse than the dense network it may be: 0.5 in percentage points (or the
            metric's unit), "1%" of the score.
        minimise: what is to be least within the bounds: p90, bytes or drop.
        out: the results are in ``out/NAME-search``, what was done so far in ``out/.stages``.
        overrides: as for `run`.
        epochs: that a network on the front is fine-tuned for; None: as many as the recipe's passes.
        seconds: for everything; training ends at three quarters of it.
        quantum: channels come in multiples of it.
        runtimes, precisions: that targets may use.
        data, progress: as for `run`.
        times, threads, amx, allow_invalid, python, offline, patience: as for `predict`.
        remeasure: choose and measure anew, even if that was done before.

    Returns:
        All points, the largest first; ``chosen`` names the one that was asked for.

    Raises:
        DeviceError: no target can be reached and measured.
        RecipeError: the recipe cannot be read, or says something that a recipe cannot.
        InputError: data, bounds or a name cannot be used; the network loses no channels.
    """
    from edgeticket.api.recipes import whole_recipe

    targets = [on] if isinstance(on, str) else list(on)
    _known(runtimes, RUNTIMES, "runtime")
    _known(precisions, PRECISIONS, "precision")
    _known([minimise], AIMS, "aim")
    for name, bound in (("max_p90_ms", max_p90_ms), ("max_kb", max_kb), ("seconds", seconds)):
        if bound is not None and not bound > 0:
            raise InputError(f"{name} {bound:g}: it is above 0")
    if not targets or len(set(targets)) < len(targets):
        raise InputError("on: name one target, or several that differ")

    from edgeticket.pipeline.compare.limits import parse_drop
    from edgeticket.pipeline.data import data_folder
    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.devices.fleet import make_device
    from edgeticket.pipeline.progress import QUIET
    from edgeticket.pipeline.search.front import Bounds
    from edgeticket.pipeline.search.probing import Asked
    from edgeticket.pipeline.search.search import Effort
    from edgeticket.pipeline.search.search import search as find

    whole, beside = whole_recipe(recipe, overrides)
    drop = {} if max_drop is None else parse_drop(str(max_drop), place="max_drop")
    return find(
        whole,
        [make_device(target, python=python) for target in targets],
        Asked(
            store=Path(times),
            threads=threads,
            amx=amx,
            allow_invalid=allow_invalid,
            patience=patience or Patience(),
            offline=offline,
        ),
        Bounds(
            max_p90_ms=max_p90_ms,
            max_bytes=None if max_kb is None else 1000 * max_kb,
            minimise=minimise,
            **drop,
        ),
        Effort(epochs=epochs, seconds=seconds, quantum=quantum, remeasure=remeasure),
        recipe_folder=beside,
        out=Path(out),
        data_folder=data_folder(optional_path(data)),
        runtimes=runtimes,
        precisions=[name for name in PRECISIONS if name in precisions],
        progress=progress or QUIET,
    )


def _known(names: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"unknown {what} {name!r} (known: {', '.join(known)})")
