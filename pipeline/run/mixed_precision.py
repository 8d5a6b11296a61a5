"""Layers that `ptq: {max_drop: …}` keeps in float32: as few as hold the bound on validation."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.strict_json import format_json
from edgeticket.device_runner.task import Metric
from edgeticket.models.network import Takes
from edgeticket.pipeline.compare.limits import parse_drop
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.graph.batches import Batch, leaves_of, tensors_of
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.prune.cost import layer_macs
from edgeticket.pipeline.quantize import Quantized, fake_quantized, quantize
from edgeticket.pipeline.quantize.fewest_kept import Choice, Kept, fewest_kept
from edgeticket.pipeline.quantize.single_layer_ablation import alone, units
from edgeticket.pipeline.recipe import Ptq
from edgeticket.pipeline.run.candidate import Candidate
from edgeticket.pipeline.task import task_of
from edgeticket.pipeline.task.nothing import Noise
from edgeticket.pipeline.task.shown import lost, metric_name, metric_text
from edgeticket.pipeline.train import evaluate
from edgeticket.pipeline.train.evaluation import Evaluation


@dataclass(frozen=True)
class Bound:
    """How much worse than float32 the task's headline may be."""

    metric: Metric
    float32: float
    most: float  # of the metric, in its own unit

    @classmethod
    def of(cls, cfg: Ptq, metric: Metric | None, judged: Evaluation) -> Bound:
        """What ``max_drop`` allows a network whose float32 outputs were judged.

        Raises:
            InputError: the data do not say what is right, or float32 has no score.
        """
        if metric is None:
            raise InputError(
                "ptq.max_drop: nothing says what is right for these data, so no drop can be "
                "measured: give data with labels, or name layers in keep_fp32 "
                "(edgeticket sensitivity orders them by noise)"
            )
        score = judged.score
        if not isinstance(score, float | int):
            raise InputError(f"ptq.max_drop: float32 has no {metric.name} to drop: {score.reason}")
        limit = parse_drop(str(cfg.max_drop), place="ptq.max_drop")
        points = limit.get("max_drop_points", 0.0)
        most = points / 100 if metric.unit == "share" else points
        most += limit.get("max_drop_relative", 0.0) * abs(score)
        return cls(metric, float(score), most)

    def drop(self, judged: Evaluation) -> float:
        """How much worse than float32, in the metric's unit; infinite without a score."""
        score = judged.score
        return (
            lost(self.metric, self.float32, score) if isinstance(score, float | int) else math.inf
        )

    def holds(self, drop: float) -> bool:
        """Whether a drop is within the bound, but for the rounding of its difference."""
        return drop <= self.most + 1e-9 * max(1.0, abs(self.float32))

    def tell(self, drop: float) -> str:
        """A drop for people: points of shares, else the metric's own unit."""
        if self.metric.unit == "share":
            return f"{100 * drop:.2f} points"
        return metric_text(self.metric, drop)


@dataclass(frozen=True)
class Mixed:
    """What was decided, and what the log says of it."""

    done: Quantized
    facts: Mapping[str, Any]


def keep_fewest(
    before: Candidate,
    data: Dataset,
    batches: Sequence[Batch],
    cfg: Ptq,
    *,
    frozen: Collection[str],
    resume: Path,
    progress: Progress,
) -> Mixed:
    """Quantise so that ``cfg.max_drop`` holds on validation, with the fewest layers in float32.

    Every set of layers that is tried is calibrated, rounded and judged as a whole, as the pass
    itself would do it; what was tried is kept in ``resume`` until the pass is done.

    Args:
        batches: the calibration set.
        frozen: layers whose weights stay, as of `quantize`.

    Raises:
        InputError: no drop can be measured, or the bound does not hold with all layers in float32.
    """
    validation, preprocessing = data.validation, data.preprocessing
    judge = functools.partial(evaluate, split=validation, preprocessing=preprocessing)
    metric = task_of(validation).headline
    module = before.network.module()
    decide = functools.partial(quantize, module, batches, frozen=frozen)
    bound = Bound.of(cfg, metric, judge(module))
    whole = decide(cfg)
    layers = units(whole.folded, keep_fp32=cfg.keep_fp32)
    trials = _Trials.read(resume / "tried.json")

    def holds(kept: Kept) -> bool:
        names = [step for step in layers if step in kept]
        drop = trials.known(names)
        if drop is None:
            done = decide(_with(cfg, names)) if names else whole
            drop = bound.drop(judge(fake_quantized(done.folded, done.scales)))
            trials.add(names, drop)
        progress.say(f"  {_tell(names)} in float32: {bound.tell(drop)} lost of {allowed} allowed")
        return bound.holds(drop)

    allowed = bound.tell(bound.most)
    noise = dict.fromkeys(layers, 0.0)
    if not holds(frozenset()):
        noise = noise_alone(whole, layers, batches[0], progress)
    choice = fewest_kept(
        tuple(layers),
        noise=noise,
        costs=_macs(whole.folded, layers, before.network.input_shapes),
        holds=holds,
        most_tries=cfg.max_tries,
    )
    if choice is None:
        drop = trials.known(list(layers))
        raise InputError(
            f"ptq.max_drop {cfg.max_drop}: {metric_name(bound.metric)} drops by "
            f"{bound.tell(drop if drop is not None else math.inf)} even with every layer in "
            "float32 (inputs and the steps between layers are rounded all the same): allow more, "
            "or calibrate otherwise (ranges: mse)"
        )
    drop = trials.known(choice.kept)
    assert drop is not None
    line = f"{sentence(choice, len(layers))}: {bound.tell(drop)} lost of {allowed} allowed"
    progress.say(f"  {line}")
    facts = {
        "keep_fp32": list(_with(cfg, choice.kept).keep_fp32),
        "max_drop": cfg.max_drop,
        "drop": drop,
        "layers": len(layers),
        "tries": choice.tries,
        "at_least": choice.at_least,
        "cheapest": choice.cheapest,
        "steady": choice.steady,
        "summary": line,
    }
    return Mixed(decide(_with(cfg, choice.kept)), {"mixed_precision": facts})


def sentence(choice: Choice, layers: int) -> str:
    """What was chosen, and what is known of fewer and cheaper ones."""
    count = len(choice.kept)
    if not count:
        return f"all {layers} layers can be int8"
    names = ", ".join(choice.kept)
    if not choice.fewest:
        known = f"at least {choice.at_least} are needed"
    elif not choice.steady:
        known = "the fewest of those tried"
    else:
        known = "the fewest that do" + ", and of these the cheapest" * choice.cheapest
    return f"{count} of {layers} layers stay in float32 ({names}; {known}; {choice.tries} tries)"


def noise_alone(
    whole: Quantized, layers: Mapping[str, Sequence[str]], batch: Batch, progress: Progress
) -> dict[str, float]:
    """What int8 in each layer alone does to the outputs: noise per signal, of all outputs the most.

    Args:
        batch: a few inputs; the order of what is tried is all that hangs on them.
    """
    inputs = tensors_of(batch)
    powers = {}
    with torch.inference_mode(), progress.task("noise of each layer", total=len(layers)) as advance:
        expected = [answer.numpy() for answer in leaves_of(whole.folded(*inputs))]
        for unit, steps in layers.items():
            measured = Noise()
            rounded = leaves_of(alone(whole, steps)(*inputs))
            measured.add([answer.numpy() for answer in rounded], expected)
            decibels = measured.decibels
            powers[unit] = 0.0 if decibels is None else 10 ** (-decibels / 10)
            advance(1, unit)
    return powers


def _macs(
    folded: fx.GraphModule, layers: Mapping[str, Sequence[str]], takes: Takes
) -> dict[str, float]:
    """What float32 costs: the multiply-accumulates of each."""
    macs = layer_macs(folded, takes)
    return {unit: float(sum(macs.get(step, 0) for step in steps)) for unit, steps in layers.items()}


def _with(cfg: Ptq, names: Sequence[str]) -> Ptq:
    return cfg.model_copy(update={"keep_fp32": (*cfg.keep_fp32, *names), "max_drop": None})


def _tell(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} layers"
    return ", ".join(names) or "nothing"


class _Trials:
    """Drops of the sets that were tried; the file has them whenever the run is stopped."""

    def __init__(self, file: Path, drops: dict[tuple[str, ...], float]) -> None:
        self._file, self._drops = file, drops

    @classmethod
    def read(cls, file: Path) -> _Trials:
        entries = json.loads(file.read_bytes()) if file.exists() else []
        return cls(file, {tuple(e["keep_fp32"]): _drop(e["drop"]) for e in entries})

    def known(self, names: Sequence[str]) -> float | None:
        return self._drops.get(tuple(names))

    def add(self, names: Sequence[str], drop: float) -> None:
        self._drops[tuple(names)] = drop
        entries = [
            {"keep_fp32": list(n), "drop": d if math.isfinite(d) else None}
            for n, d in self._drops.items()
        ]
        write_atomic(self._file, format_json(entries))


def _drop(stored: float | None) -> float:
    return math.inf if stored is None else stored
