"""Train only what may end on the front: successive halving, a few epochs at a time."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeticket.device_runner.strict_json import flat_fields
from edgeticket.device_runner.task import Metric
from edgeticket.device_runner.task.kind import LOWER
from edgeticket.pipeline.progress import Hushed
from edgeticket.pipeline.recipe import Finetune, Recipe, TrainConfig
from edgeticket.pipeline.recipe import Structure as StructurePass
from edgeticket.pipeline.recipe.distil import Distil, Outputs, SoftTargets
from edgeticket.pipeline.run.candidate import Candidate, Job
from edgeticket.pipeline.run.passes import apply_pass
from edgeticket.pipeline.search.boards import Proposal
from edgeticket.pipeline.search.deadline import Deadline
from edgeticket.pipeline.task import task_of

SHARES = (0.1, 0.2, 0.7)  # of all epochs that a network on the front gets, rung by rung
LR = 0.3  # of the rate of a training from scratch, where a recipe has no fine-tuning


@dataclass(frozen=True)
class Entrant:
    """A proposal and how it did: ``score`` is on validation, in float32."""

    proposal: Proposal
    rungs: int = 0
    score: float | None = None


def training_of(recipe: Recipe) -> TrainConfig | None:
    """How structures are fine-tuned: as the recipe does it, the dense network teaching.

    None: the network is a finished file, or nobody knows what is right.
    """
    if recipe.model.file is not None or recipe.data.random is not None or not recipe.data.labels:
        return None
    plain = [step for step in recipe.compress if step.removes == "nothing"]
    tunings = [s.training for s in plain if s.training is not None and not s.decides_scales]
    if tunings:
        train = tunings[-1]
    elif recipe.train is not None:
        train = recipe.train.model_copy(update={"lr": LR * recipe.train.lr})
    else:
        train = TrainConfig(epochs=10, lr=0.02)
    if train.distil is None:
        train = train.model_copy(update={"distil": _teaching(recipe)})
    return train


def _teaching(recipe: Recipe) -> Distil:
    if recipe.task is None:
        return Distil(soft_targets=SoftTargets())
    return Distil(outputs=Outputs())


def epochs_of(recipe: Recipe) -> int:
    """As many as the recipe's own passes train before they round."""
    trainings = [s.training for s in recipe.compress if s.training and not s.decides_scales]
    if trainings:
        return sum(training.epochs for training in trainings)
    return recipe.train.epochs if recipe.train is not None else 10


def rungs_of(epochs: int) -> list[int]:
    """Epochs of each rung; a few epochs are one rung."""
    if epochs < len(SHARES):
        return [epochs]
    rungs = [max(1, round(share * epochs)) for share in SHARES[:-1]]
    return [*rungs, epochs - sum(rungs)]


def recipe_of(
    recipe: Recipe, one: Entrant, train: TrainConfig | None, rungs: Sequence[int]
) -> Recipe:
    """The recipe that makes a point: it can be read, changed, and run by itself."""
    structure = StructurePass(
        method="structure",
        keep=dict(sorted(one.proposal.structure.keep.items())),
        bypass=tuple(sorted(one.proposal.structure.bypass)),
    )
    tunings = [
        Finetune(method="finetune", train=train.model_copy(update={"epochs": epochs}))
        for epochs in rungs[: one.rungs]
        if train is not None
    ]
    rounding = [step for step in recipe.compress if step.decides_scales]
    bundle = recipe.bundle.model_copy(update={"baseline": False})
    return recipe.model_copy(
        update={"compress": (structure, *tunings, *rounding), "bundle": bundle}
    )


def halve(
    job: Job,
    dense: Candidate,
    proposals: Sequence[Proposal],
    train: TrainConfig | None,
    rungs: Sequence[int],
    deadline: Deadline,
) -> list[Entrant]:
    """Train all for a rung, keep the better half of each slot, and so on.

    Where there is a deadline, each rung has an equal part of the time; once it is over no other
    training of that rung is begun.
    """
    metric = task_of(job.data.validation).headline
    alive = [Entrant(one) for one in proposals]
    if train is None or metric is None:
        return _apart(alive)
    begun = time.monotonic()
    for rung in range(len(rungs)):
        until = deadline.training_until(begun, (rung + 1) / len(rungs))
        alive = _in_turns(alive)
        trained: list[Entrant] = []
        with job.progress.task(f"rung {rung + 1} of {len(rungs)}", len(alive)) as advance:
            for one in alive:
                if time.monotonic() >= until and (trained or rung):
                    left = len(alive) - len(trained)
                    job.progress.say(f"the time of this rung is over: {left} were not trained")
                    break
                longer = replace(one, rungs=rung + 1)
                trained.append(
                    replace(longer, score=_score(job, dense, longer, train, rungs, metric))
                )
                advance(1, "")
        alive = [*trained, *(alive[len(trained) :] if rung else [])]
        if rung < len(rungs) - 1:
            alive = survivors(alive, metric)
    return alive


def _in_turns(entrants: Sequence[Entrant]) -> list[Entrant]:
    """One of each slot, then a second one: wherever the time ends, each slot has some."""
    seen: Counter[int] = Counter()
    turns: list[tuple[int, int, Entrant]] = []
    for one in entrants:
        turns.append((seen[one.proposal.slot], one.proposal.slot, one))
        seen[one.proposal.slot] += 1
    return [one for *_, one in sorted(turns, key=lambda turn: turn[:2])]


def _score(
    job: Job,
    dense: Candidate,
    one: Entrant,
    train: TrainConfig,
    rungs: Sequence[int],
    metric: Metric,
) -> float:
    """On validation, after as many rungs as the entrant has."""
    recipe = recipe_of(job.recipe, one, train, rungs)
    of_point = replace(job, recipe=recipe, progress=Hushed(job.progress))
    candidate = dense
    for position in range(1 + one.rungs):
        candidate = apply_pass(of_point, candidate, position)
    value = flat_fields(candidate.log[-1])[f"validation_{metric.name}"]
    if isinstance(value, int | float):
        return float(value)
    return math.inf if metric.direction == LOWER else -math.inf


def better(metric: Metric, score: float) -> float:
    """A score so that higher is better."""
    return -score if metric.direction == LOWER else score


def survivors(entrants: Sequence[Entrant], metric: Metric) -> list[Entrant]:
    """The better half of each slot, of those that no other beats in everything."""

    def key(one: Entrant) -> float:
        return -math.inf if one.score is None else better(metric, one.score)

    def beaten(one: Entrant) -> bool:
        return any(
            key(other) > key(one)
            and other.proposal.time_ns <= one.proposal.time_ns
            and other.proposal.size_bytes <= one.proposal.size_bytes
            for other in entrants
        )

    kept = []
    for slot in sorted({one.proposal.slot for one in entrants}):
        of_slot = [one for one in entrants if one.proposal.slot == slot]
        unbeaten = [one for one in of_slot if not beaten(one)]
        half = max(1, math.ceil(len(of_slot) / 2))
        kept += sorted(unbeaten, key=key, reverse=True)[:half]
    return kept


def _apart(entrants: Sequence[Entrant]) -> list[Entrant]:
    """Where nothing is trained: the first of each slot."""
    firsts: dict[int, Entrant] = {}
    for one in entrants:
        firsts.setdefault(one.proposal.slot, one)
    return list(firsts.values())
