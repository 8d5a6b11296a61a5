"""What int8 costs layer by layer: each one alone is rounded, the others stay in float32."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import nn

from edgeticket.device_runner.atomic import make_folder
from edgeticket.device_runner.strict_json import flat_fields, format_json, to_json
from edgeticket.device_runner.task import Metric
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.output_folder import (
    check_output,
    check_replaceable,
    json_with,
    open_folder,
    write_output,
)
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.quantize import Quantized, fold_bn, quantize
from edgeticket.pipeline.quantize.single_layer_ablation import alone, units
from edgeticket.pipeline.recipe import Ptq, Recipe
from edgeticket.pipeline.run.candidate import TRAINING_TOOLS, Candidate, Job
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.passes import apply_pass
from edgeticket.pipeline.run.quantize_passes import calibration_batches
from edgeticket.pipeline.store import locked
from edgeticket.pipeline.task import task_of
from edgeticket.pipeline.task.shown import lost, metric_name, metric_text
from edgeticket.pipeline.train import Evaluation, compare, evaluate


@dataclass(frozen=True)
class Loss:
    """What int8 in one layer does on the validation set."""

    layer: str
    score: float | Unavailable | None  # by the measure; None: nothing says what is right
    agreement: float | None  # share of the examples that float32 answers alike
    divergence: float | None  # mean KL divergence from the float32 probabilities, in nats
    sqnr_db: float | None  # of outputs that are no probabilities; None: there is no noise

    @property
    def cost(self) -> float:
        """What layers are put in order by, the largest first."""
        if self.divergence is not None:
            return self.divergence
        return -math.inf if self.sqnr_db is None else -self.sqnr_db


@dataclass(frozen=True)
class Sensitivity:
    """All layers that are rounded, the most costly first."""

    recipe: str
    examples: int
    measure: Metric | None  # the task's headline; None: SQNR alone, nothing says what is right
    score: float | Unavailable | None  # of float32
    losses: tuple[Loss, ...]

    def print(self, console: Console) -> None:
        """A table on a terminal."""
        table = Table(title=self.recipe, title_justify="left", box=SIMPLE_HEAD)
        table.add_column("int8 alone")
        for label in self._labels():
            table.add_column(label, justify="right")
        for loss in self.losses:
            table.add_row(escape(loss.layer), *self._cells(loss))
        console.print(table)
        real = ""
        if self.measure is not None and self.score is not None:
            real = f"; float32 has {metric_text(self.measure, self.score)}"
        console.print(
            f"{self.examples} validation examples{real}. keep_fp32: [names] in ptq or qat keeps "
            "layers in float32.",
            highlight=False,
            markup=False,
        )

    def _labels(self) -> list[str]:
        if self.measure is None:
            return ["SQNR (dB)"]
        points = "lost points" if self.measure.unit == "share" else "lost"
        in_nats = any(loss.divergence is not None for loss in self.losses)
        apart = "KL (nats)" if in_nats else "SQNR (dB)"
        return [metric_name(self.measure), points, "agree", apart]

    def _cells(self, loss: Loss) -> list[str]:
        apart = "equal" if loss.sqnr_db is None else f"{loss.sqnr_db:.1f}"
        if loss.divergence is not None:
            apart = f"{loss.divergence:.2e}"
        if self.measure is None or loss.score is None:
            return [apart]
        agree = "" if loss.agreement is None else f"{loss.agreement:.2%}"
        return [metric_text(self.measure, loss.score), self._lost(loss.score), agree, apart]

    def _lost(self, score: float | Unavailable) -> str:
        """In points of a share, else as the measure is."""
        if self.measure is None or not isinstance(score, float | int):
            return ""
        if not isinstance(self.score, float | int):
            return ""
        worse = lost(self.measure, self.score, score)
        return f"{100 * worse:.2f}" if self.measure.unit == "share" else f"{worse:.3g}"


def measure_sensitivity(
    recipe: Recipe, *, recipe_folder: Path, out: Path, data_folder: Path, progress: Progress
) -> Sensitivity:
    """Carry out the recipe up to its quantisation, then try layer by layer.

    Each layer is a stage of the store in ``out``: what was tried is not tried again. The result
    is also written to ``out / recipe.name / "sensitivity.json"``.

    Raises:
        InputError: something that was given cannot be used.
    """
    job = Job.open(
        recipe,
        recipe_folder=recipe_folder,
        store=out / ".stages",
        data_folder=data_folder,
        progress=progress,
    )
    make_folder(out)
    folder = out / recipe.name
    file, ours = folder / "sensitivity.json", json_with("losses")
    with locked(out / f".{recipe.name}.sensitivity.lock"):
        check_replaceable(folder)
        check_output(file, ours=ours)
        candidate = dense_network(job)
        for position, step in enumerate(recipe.compress):
            if step.decides_scales:
                break
            candidate = apply_pass(job, candidate, position)
        result = _try_layers(job, candidate)
    open_folder(folder)
    write_output(file, format_json(to_json(result)), ours=ours)
    return result


@dataclass(frozen=True)
class Ablation:
    """What trying one layer needs; made once, and only if a layer is tried."""

    network: Network
    data: Dataset
    cfg: Ptq

    @functools.cached_property
    def quantized(self) -> Quantized:
        """The network with all its layers rounded."""
        return quantize(self.network.module(), calibration_batches(self.data), self.cfg)

    @functools.cached_property
    def float32(self) -> Evaluation:
        """What the network says without any rounding."""
        return self.judge(self.network.module())

    def judge(self, module: nn.Module) -> Evaluation:
        """What a module says on validation."""
        return evaluate(module, self.data.validation, preprocessing=self.data.preprocessing)


def try_layer(
    folder: Path, resume: Path, *, unit: str, layers: tuple[str, ...], ablation: Ablation
) -> None:
    """Round one layer alone, or those of one module, and write to ``folder`` what that costs."""
    rounded = alone(ablation.quantized, layers)
    data = ablation.data
    if data.validation.labels is not None or data.validation.spoken is not None:
        judged, float32 = ablation.judge(rounded), ablation.float32
        agreement = float((judged.predictions == float32.predictions).mean())
        divergence = _divergence(float32.outputs, judged.outputs)
        loss = Loss(unit, judged.score, agreement, divergence, None)
    else:
        # Outputs may be large: none are kept, and float32 is asked each time.
        compared = compare(
            rounded,
            ablation.network.module(),
            data.validation,
            preprocessing=data.preprocessing,
        )
        judged, float32 = compared.first, compared.second
        score = judged.score if judged.scores else None
        loss = Loss(unit, score, compared.agreement, None, compared.sqnr_db)
    real = float32.score if float32.scores else None
    (folder / "loss.json").write_bytes(
        format_json({"float32": to_json(real), "loss": to_json(loss)})
    )


def _try_layers(job: Job, candidate: Candidate) -> Sensitivity:
    cfg = _calibration(job.recipe)
    ablation = Ablation(candidate.network, job.data, cfg)
    folded = fold_bn(candidate.network.module(), candidate.network.input_shapes)
    parts = units(folded, keep_fp32=cfg.keep_fp32)
    documents: list[dict[str, Any]] = []
    with job.progress.task("int8 layer by layer", total=len(parts)) as advance:
        for unit, layers in parts.items():
            result = job.store.stage(
                "sensitivity",
                functools.partial(try_layer, unit=unit, layers=layers, ablation=ablation),
                config={"layer": unit, "calibration": cfg.model_dump()},
                inputs={"data": job.data.digest, "before": candidate.digest},
                tools=TRAINING_TOOLS,
            )
            documents.append(json.loads((result.folder / "loss.json").read_bytes()))
            advance(1, unit)
    losses = [Loss(**flat_fields(document["loss"])) for document in documents]
    losses.sort(key=lambda loss: (-loss.cost, loss.layer))
    score = flat_fields(documents[0])["float32"] if documents else None
    measure = task_of(job.data.validation).headline
    return Sensitivity(job.recipe.name, len(job.data.validation), measure, score, tuple(losses))


def _calibration(recipe: Recipe) -> Ptq:
    """How the recipe finds its ranges; layers are judged with their weights where they are."""
    return next(cfg for step in recipe.compress if (cfg := step.calibration()) is not None)


def _divergence(expected: np.ndarray, outputs: np.ndarray) -> float:
    """Mean KL divergence between the softmax of logits [N, classes]."""

    def log_softmax(logits: np.ndarray) -> np.ndarray:
        shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))

    p, q = log_softmax(expected), log_softmax(outputs)
    return float((np.exp(p) * (p - q)).sum(1).mean())
