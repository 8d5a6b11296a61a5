"""The search from end to end: read `search` from top to bottom.

Long steps are stages of the store, as those of a run: importance by group, what is worth training,
each rung of each candidate, and all that makes a bundle. Stopped at any moment, the same command
loses what was under way.
"""

from __future__ import annotations

import functools
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.strict_json import format_json, to_json
from edgeticket.pipeline.convert.targets import EXPORT_TOOLS
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.output_folder import check_replaceable, put_in_place, scratch_folder
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.recipe import Recipe, TrainConfig
from edgeticket.pipeline.run.candidate import Candidate, Job
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.search.boards import Proposal, Whole
from edgeticket.pipeline.search.candidates import Candidates, Precision
from edgeticket.pipeline.search.deadline import Deadline
from edgeticket.pipeline.search.finishing import finish_all
from edgeticket.pipeline.search.front import Bounds, Front, front_of
from edgeticket.pipeline.search.front_file import write_front
from edgeticket.pipeline.search.halving import (
    Entrant,
    epochs_of,
    halve,
    recipe_of,
    rungs_of,
    training_of,
)
from edgeticket.pipeline.search.importance import opinions
from edgeticket.pipeline.search.page import write_front_page
from edgeticket.pipeline.search.points import dense_score
from edgeticket.pipeline.search.prices import levels_of
from edgeticket.pipeline.search.probing import Asked
from edgeticket.pipeline.search.proposals import Proposals, propose
from edgeticket.pipeline.search.structure import QUANTUM, Structure
from edgeticket.pipeline.store import locked

FILE = "proposals.json"


@dataclass(frozen=True)
class Effort:
    """How much a search may do.

    epochs: that a network on the front gets; None: as many as the recipe's own passes train.
    seconds: after which nothing is begun, and no training after three quarters; None: no end.
    remeasure: choose and measure again, even if that was done before.
    """

    epochs: int | None = None
    seconds: float | None = None
    quantum: int = QUANTUM
    remeasure: bool = False


def search(
    recipe: Recipe,
    devices: Sequence[Device],
    asked: Asked,
    bounds: Bounds,
    effort: Effort,
    *,
    recipe_folder: Path,
    out: Path,
    data_folder: Path,
    runtimes: Sequence[str],
    precisions: Sequence[Precision],
    progress: Progress,
) -> Front:
    """Find the networks that no other beats, train and measure them; they land in ``out``.

    Args:
        recipe: the network, its data and task, and how it is trained and rounded.
        devices: where it is to be fast; the slowest decides.
        asked: how probes are measured.
        bounds: what the chosen point must keep to, and what of it is to be least.
        effort: how much may be done.
        recipe_folder, data_folder: as for `run`.
        out: results are in ``out / NAME-search``.
        runtimes, precisions: that a target may use.
        progress: shows how far it is.

    Raises:
        DeviceError: no target can be measured.
        InputError: something that was given cannot be used.
    """
    deadline = Deadline.after(effort.seconds)
    job = Job.open(
        recipe,
        recipe_folder=recipe_folder,
        store=out / ".stages",
        data_folder=data_folder,
        progress=progress,
    )
    make_folder(out)
    folder = out / f"{recipe.name}-search"
    with locked(out / f".{recipe.name}-search.lock"):
        check_replaceable(folder)
        dense = dense_network(job)
        score = dense_score(job, dense)
        chosen = _proposals(
            job, dense, devices, asked, bounds, effort, deadline, runtimes, precisions
        )
        progress.say(f"{len(chosen.proposals)} structures are worth training")
        train = training_of(recipe)
        rungs = [] if train is None else rungs_of(effort.epochs or epochs_of(recipe))
        entrants = halve(job, dense, chosen.proposals, train, rungs, deadline)

        scratch = scratch_folder(folder)
        finished = finish_all(
            job, _recipes(recipe, entrants, train, rungs, asked), devices, asked, bounds, deadline,
            dense=score, recipe_folder=recipe_folder, data_folder=data_folder, folder=scratch,
            left_out=chosen.left_out, runtimes=runtimes, remeasure=effort.remeasure,
        )  # fmt: skip
        front = front_of(
            finished.points, dense=score, dense_ms=chosen.dense_ns / 1e6, bounds=bounds,
            name=recipe.name, targets=[d.target for d in devices], left_out=finished.left_out,
            doubts=chosen.doubts, unfinished=finished.unfinished,
        )  # fmt: skip
        write_front(front, scratch)
        write_front_page(scratch, scratch / "report.html")
        put_in_place(scratch, folder)
    return front


def _recipes(
    recipe: Recipe,
    entrants: Sequence[Entrant],
    train: TrainConfig | None,
    rungs: Sequence[int],
    asked: Asked,
) -> list[tuple[Recipe, Entrant]]:
    """What makes each point, the largest first; measured as its probes were."""
    bench = recipe.bench.model_copy(update={"threads": asked.threads, "amx": asked.amx})
    return [
        (
            recipe_of(recipe, one, train, rungs).model_copy(
                update={"name": f"{recipe.name}-{number}", "bench": bench}
            ),
            one,
        )
        for number, one in enumerate(sorted(entrants, key=lambda e: -e.proposal.time_ns))
    ]


def _proposals(
    job: Job,
    dense: Candidate,
    devices: Sequence[Device],
    asked: Asked,
    bounds: Bounds,
    effort: Effort,
    deadline: Deadline,
    runtimes: Sequence[str],
    precisions: Sequence[Precision],
) -> Proposals:
    """What is worth training; a stage, so that what was trained is found again."""
    work = functools.partial(
        write_proposals, job=job, dense=dense, devices=devices, asked=asked, bounds=bounds,
        quantum=effort.quantum, runtimes=runtimes, precisions=precisions, deadline=deadline,
    )  # fmt: skip
    result = job.store.stage(
        "proposals",
        work,
        config={
            "targets": [device.target for device in devices],
            "machine": [platform.node(), platform.machine()],
            "options": asked.options,
            "bounds": [bounds.max_p90_ms, bounds.max_bytes],
            "quantum": effort.quantum,
            "runtimes": list(runtimes),
            "precisions": list(precisions),
        },
        inputs={"data": job.data.digest, "dense": dense.digest},
        tools=(*EXPORT_TOOLS, "scipy"),
        fresh=effort.remeasure,
    )
    return read_proposals(json.loads((result.folder / FILE).read_bytes()))


def write_proposals(
    folder: Path,
    resume: Path,
    *,
    job: Job,
    dense: Candidate,
    devices: Sequence[Device],
    asked: Asked,
    bounds: Bounds,
    quantum: int,
    runtimes: Sequence[str],
    precisions: Sequence[Precision],
    deadline: Deadline,
) -> None:
    """Choose and measure, and write what came of it to ``folder``."""
    deadline.check("the dense network was made")
    candidates = Candidates.of(dense.network)
    levels = levels_of(candidates.widths, quantum=quantum)
    if not levels:
        raise InputError(f"{dense.network.arch} has no channels that can be removed")
    chosen = propose(
        candidates,
        opinions(job, dense, levels),
        devices,
        replace(asked, doubtful=resume) if asked.allow_invalid else asked,
        runtimes=runtimes,
        precisions=precisions,
        quantum=quantum,
        most_ns=None if bounds.max_p90_ms is None else 1e6 * bounds.max_p90_ms,
        most_bytes=bounds.max_bytes,
        deadline=deadline,
        progress=job.progress,
    )
    document = {
        "proposals": [_proposal_json(one) for one in chosen.proposals],
        "dense_ns": chosen.dense_ns,
        "doubts": list(chosen.doubts),
        "left_out": dict(chosen.left_out),
    }
    write_atomic(folder / FILE, format_json(document))


def _proposal_json(one: Proposal) -> dict[str, Any]:
    return {
        "keep": dict(one.structure.keep),
        "bypass": sorted(one.structure.bypass),
        "precision": one.precision,
        "slot": one.slot,
        "opinion": one.opinion,
        "wholes": to_json(one.wholes),
    }


def read_proposals(document: Mapping[str, Any]) -> Proposals:
    """What `write_proposals` wrote."""
    return Proposals(
        proposals=tuple(
            Proposal(
                Structure(one["keep"], frozenset(one["bypass"])),
                one["precision"],
                one["slot"],
                one["opinion"],
                {label: Whole(**whole) for label, whole in one["wholes"].items()},
            )
            for one in document["proposals"]
        ),
        dense_ns=document["dense_ns"],
        doubts=tuple(document["doubts"]),
        left_out=document["left_out"],
    )
