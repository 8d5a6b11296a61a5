"""The passes that a recipe lists after its dense network: one entry each, at the foot."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.recipe import TICKET_METHODS, Finetune, Levels, PassConfig, Ptq, Qat
from edgeticket.pipeline.run import checks
from edgeticket.pipeline.run.candidate import Candidate, Job, PassResult, Step
from edgeticket.pipeline.run.levels import shared_levels
from edgeticket.pipeline.run.quantize_passes import quantize_after_training, quantize_while_training
from edgeticket.pipeline.run.teachers import with_teacher
from edgeticket.pipeline.run.ticket_passes import FindTicket, find_and_mask, find_and_shrink
from edgeticket.pipeline.run.training_passes import finetune
from edgeticket.pipeline.store.code import code_digest
from edgeticket.pipeline.task.own import loss_version
from edgeticket.pipeline.tickets import BLOCKS, CHANNELS, LEVELS, WEIGHTS


class Work(Protocol):
    """What a pass does: ``resume`` is a folder where a long training keeps its state."""

    def __call__(
        self,
        before: Candidate,
        data: Dataset,
        cfg: Any,
        *,
        seed: int,
        resume: Path,
        progress: Progress,
    ) -> PassResult: ...


def epochs_of_training(cfg: PassConfig, entry: Mapping[str, Any]) -> int:
    """Those that it trains."""
    return cfg.training.epochs if cfg.training else 0


def epochs_of_levels(cfg: Levels, entry: Mapping[str, Any]) -> int:
    """Those of all levels; an early-bird level counts as a whole one."""
    levels = len(entry["levels"]) if "levels" in entry else 0
    return levels * (cfg.train.epochs - cfg.rewind_to) + (cfg.rewind_to if levels else 0)


@dataclass(frozen=True)
class Pass:
    """All that a run has to know of a pass. The code that its result depends on is what ``work``
    can reach; what a recipe has to know of it, its config says."""

    config: type[PassConfig]
    work: Work
    check: Callable[[Network, PassConfig | None], str]  # what it finds to work on; see `run.checks`
    # Where training states are kept that outlive the stage; None: with the stage.
    states: Callable[[Job, Candidate, Any, int], AbstractContextManager[Path]] | None = None
    # Config, log entry -> passes over the training split, as experiments count them.
    epochs: Callable[[Any, Mapping[str, Any]], int] = epochs_of_training


def apply_pass(job: Job, before: Candidate, position: int) -> Candidate:
    """Apply the pass at ``position`` of the recipe's ``compress`` to what came before it."""
    cfg = job.recipe.compress[position]
    chosen = PASSES[cfg.method]
    seed = job.recipe.seed + 1 + position
    job = with_teacher(job, cfg.training, before=before)
    work = functools.partial(chosen.work, before, job.data, cfg, seed=seed, progress=job.progress)
    if chosen.states is not None:
        work = functools.partial(_work_in, chosen.states(job, before, cfg, seed), work)
    config = {"pass": cfg.model_dump(), "seed": seed, "loss": loss_version(cfg.training)}
    step = Step(job, cfg.method, work, config, before)
    return step.read(job.store.stage(step.name, step.make, **step.key))


def _work_in(
    states: AbstractContextManager[Path], work: Callable[..., PassResult], *, resume: Path
) -> PassResult:
    """``work`` with a folder for its states that outlives the stage's own."""
    with states as folder:
        return work(resume=folder)


def states_of_levels(
    job: Job, before: Candidate, cfg: Levels, seed: int
) -> AbstractContextManager[Path]:
    """Rewinding and its controls share the states of their levels, whatever the sparsity."""
    decides = {
        "levels": cfg.model_dump(include=set(Levels.model_fields) - {"method", "sparsity"}),
        "seed": seed,
        "threads": torch.get_num_threads(),
        "inputs": [job.data.digest, before.digest],
        "code": code_digest(LEVELS["rewinding"]),
    }
    return shared_levels(job.store.root, decides, user=job.recipe.name)


def _tickets(
    methods: Mapping[str, FindTicket],
    work: Callable[..., PassResult],
    check: Callable[[Network, PassConfig | None], str],
    **more: Any,
) -> dict[str, Pass]:
    """The entries of ways of finding a ticket that differ in that alone."""
    configs = {config.method_name(): config for config in TICKET_METHODS}
    return {
        name: Pass(configs[name], functools.partial(work, find), check, **more)
        for name, find in methods.items()
    }


# By method. A new way of finding a ticket is a line in `pipeline.tickets`.
PASSES: dict[str, Pass] = {
    **_tickets(CHANNELS, find_and_shrink, checks.channels_that_can_go),
    **_tickets(BLOCKS, find_and_shrink, checks.blocks_that_can_go),
    **_tickets(WEIGHTS, find_and_mask, checks.weights_that_can_go),
    **_tickets(
        LEVELS,
        find_and_mask,
        checks.weights_that_can_go,
        states=states_of_levels,
        epochs=epochs_of_levels,
    ),
    "finetune": Pass(Finetune, finetune, checks.weights_to_train),
    "ptq": Pass(Ptq, quantize_after_training, checks.layers_to_round),
    "qat": Pass(Qat, quantize_while_training, checks.layers_to_round),
}
