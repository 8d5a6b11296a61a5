"""What int8 costs layer by layer: each one alone is rounded, the others stay in float32."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from edgeticket.device_runner.atomic import make_folder
from edgeticket.device_runner.strict_json import format_json, to_json
from edgeticket.pipeline.output_folder import (
    check_output,
    check_replaceable,
    json_with,
    open_folder,
    write_output,
)
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.quantize import Quantized, fold_bn, quantize
from edgeticket.pipeline.quantize.placement import place
from edgeticket.pipeline.quantize.single_layer_ablation import alone
from edgeticket.pipeline.recipe import Ptq, Qat, Recipe
from edgeticket.pipeline.run.candidate import TRAINING_TOOLS, Candidate, Job
from edgeticket.pipeline.run.passes import apply_pass, dense_network
from edgeticket.pipeline.run.quantize_passes import calibration_batches
from edgeticket.pipeline.store import locked
from edgeticket.pipeline.train import Evaluation, evaluate

NAMES = {"top1": "top-1", "wer": "WER"}


@dataclass(frozen=True)
class Loss:
    """What int8 in one layer does on the validation set."""

    layer: str
    score: float  # share, by the measure of the sensitivity
    agreement: float  # share of the examples that float32 answers alike
    divergence: float  # mean KL divergence from the float32 probabilities, in nats


@dataclass(frozen=True)
class Sensitivity:
    """All layers that are rounded, the most costly first."""

    recipe: str
    examples: int
    measure: str  # top1, or wer
    score: float  # of float32
    losses: tuple[Loss, ...]

    def print(self, console: Console) -> None:
        """A table on a terminal."""
        table = Table(title=self.recipe, title_justify="left", box=SIMPLE_HEAD)
        table.add_column("int8 alone")
        sign = -1 if self.measure == "wer" else 1
        for label in (NAMES[self.measure], "lost points", "agree", "KL (nats)"):
            table.add_column(label, justify="right")
        for loss in self.losses:
            table.add_row(
                loss.layer,
                f"{loss.score:.2%}",
                f"{100 * sign * (self.score - loss.score):.2f}",
                f"{loss.agreement:.2%}",
                f"{loss.divergence:.2e}",
            )
        console.print(table)
        console.print(
            f"{self.examples} validation examples; float32 has {self.score:.2%}. "
            "keep_fp32: [names] in ptq or qat keeps layers in float32.",
            highlight=False,
        )


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
            if isinstance(step, Ptq | Qat):
                break
            candidate = apply_pass(job, candidate, position)
        result = _try_layers(job, candidate)
    open_folder(folder)
    write_output(file, format_json(to_json(result)), ours=ours)
    return result


def _try_layers(job: Job, candidate: Candidate) -> Sensitivity:
    cfg = _calibration(job.recipe)
    validation, preprocessing = job.data.validation, job.data.preprocessing

    @functools.cache
    def quantized() -> Quantized:
        return quantize(candidate.network.module(), calibration_batches(job.data), cfg)

    @functools.cache
    def real() -> Evaluation:
        return evaluate(candidate.network.module(), validation, preprocessing=preprocessing)

    def try_layer(layer: str, folder: Path, resume: Path) -> None:
        module = alone(quantized(), layer)
        found = evaluate(module, validation, preprocessing=preprocessing)
        loss = Loss(
            layer,
            next(iter(found.scores.values())),
            float((found.predictions == real().predictions).mean()),
            _divergence(real().outputs, found.outputs),
        )
        document = {"float32": real().scores, "loss": to_json(loss)}
        (folder / "loss.json").write_bytes(format_json(document))

    layers = place(fold_bn(candidate.network.module()), keep_fp32=cfg.keep_fp32).int8
    documents: list[Mapping[str, object]] = []
    with job.progress.task("int8 layer by layer", total=len(layers)) as advance:
        for layer in layers:
            result = job.store.stage(
                "sensitivity",
                functools.partial(try_layer, layer),
                config={"layer": layer, "calibration": cfg.model_dump()},
                inputs={"data": job.data.digest, "before": candidate.digest},
                code=[
                    "edgeticket.pipeline.quantize",
                    "edgeticket.pipeline.quantize.single_layer_ablation",
                    "edgeticket.pipeline.train.evaluation",
                ],
                glue=(__name__,),
                tools=TRAINING_TOOLS,
            )
            documents.append(json.loads((result.folder / "loss.json").read_bytes()))
            advance(1, layer)
    losses = [Loss(**document["loss"]) for document in documents]  # type: ignore[arg-type]
    losses.sort(key=lambda loss: (-loss.divergence, loss.layer))
    scores = real().scores if not documents else documents[0]["float32"]
    assert isinstance(scores, Mapping)
    measure, score = next(iter(scores.items()))
    return Sensitivity(job.recipe.name, len(validation), measure, score, tuple(losses))


def _calibration(recipe: Recipe) -> Ptq:
    """How the recipe finds its ranges; layers are judged with their weights where they are."""
    for step in recipe.compress:
        if isinstance(step, Ptq):
            return step.model_copy(update={"rounding": "nearest", "bias_correction": False})
        if isinstance(step, Qat):
            return Ptq(method="ptq", ranges="mse", keep_fp32=step.keep_fp32)
    raise AssertionError("a recipe ends with a pass that quantises")


def _divergence(expected: np.ndarray, found: np.ndarray) -> float:
    """Mean KL divergence between the softmax of logits [N, classes]."""

    def log_softmax(logits: np.ndarray) -> np.ndarray:
        shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))

    p, q = log_softmax(expected), log_softmax(found)
    return float((np.exp(p) * (p - q)).sum(1).mean())
