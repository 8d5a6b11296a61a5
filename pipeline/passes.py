"""Torch space: the dense network, and the passes that a recipe lists after it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from device_runner.preprocess import preprocess
from device_runner.strict_json import format_json
from models.network import Network
from pipeline.cost import count
from pipeline.data import Dataset, find_file
from pipeline.network_file import import_weights, load_network, new_network, save_network
from pipeline.progress import Progress
from pipeline.quantize import Scales, calibrate
from pipeline.recipe import Finetune, Ptq, Recipe, StochasticGates, TrainConfig
from pipeline.slim import slim
from pipeline.store import Store
from pipeline.tickets import TICKETS
from pipeline.train import evaluate, train

TRAINING_TOOLS = ("torch", "numpy", "lightning-fabric", "torch-pruning", "mlxtend")


@dataclass(frozen=True)
class Job:
    """What every step of a run needs."""

    recipe: Recipe
    data: Dataset
    store: Store
    progress: Progress


@dataclass(frozen=True)
class Candidate:
    """What one pass hands to the next: a network, and its scales once they are decided."""

    network: Network
    scales: Scales | None
    log: tuple[Mapping[str, Any], ...]  # one entry for each step so far
    digest: str


Made = tuple[Network, Scales | None, dict[str, Any]]
"""A network, its scales if they are decided, and what the log should say."""


def dense_network(job: Job, folders: Sequence[Path]) -> Candidate:
    """Train the dense network, or import its weights from a file in one of ``folders``."""
    model, training, seed = job.recipe.model, job.recipe.train, job.recipe.seed
    if model.weights is not None:
        file = find_file(model.weights, folders=folders)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()

        def import_(resume: Path) -> Made:
            return import_weights(file, model.arch, model.args), None, {"weights": file.name}

        config: dict[str, Any] = {"model": model.model_dump(exclude={"weights"}), "sha256": digest}
        return _stage(job, "import", import_, config=config, code=["models"], before=None)

    assert training is not None  # a recipe has exactly one of the two

    def make(resume: Path) -> Made:
        start = new_network(model.arch, model.args, seed=seed)
        title = "train the dense network"
        return _trained(job, start, training, seed=seed, resume=resume, title=title), None, {}

    config = {"model": model.model_dump(), "train": training.model_dump(), "seed": seed}
    code = ["pipeline.train", "models"]
    return _stage(job, "train", make, config=config, code=code, before=None)


def apply_pass(job: Job, before: Candidate, position: int) -> Candidate:
    """Apply the pass at ``position`` of the recipe's ``compress`` to what came before it."""
    step = job.recipe.compress[position]
    seed = job.recipe.seed + 1 + position

    def find_ticket(cfg: StochasticGates, resume: Path) -> Made:
        ticket = TICKETS[cfg.method](
            before.network,
            job.data,
            cfg,
            seed=seed,
            resume=resume / "training.pt",
            progress=job.progress,
        )
        return slim(ticket.start, ticket.mask), None, dict(ticket.log)

    def finetune(cfg: Finetune, resume: Path) -> Made:
        title = "fine-tune the ticket"
        network = _trained(job, before.network, cfg.train, seed=seed, resume=resume, title=title)
        return network, None, {}

    def quantize(cfg: Ptq) -> Made:
        calibration = to_torch(job, job.data.calibration.inputs)
        scales = calibrate(before.network.module(), torch.split(calibration, 100), cfg)
        return before.network, scales, {"calibration_examples": len(calibration)}

    def make(resume: Path) -> Made:
        match step:
            case StochasticGates():
                return find_ticket(step, resume)
            case Finetune():
                return finetune(step, resume)
            case Ptq():
                return quantize(step)

    code = {
        StochasticGates: ["pipeline.tickets", "pipeline.slim"],
        Finetune: ["pipeline.train"],
        Ptq: ["pipeline.quantize"],
    }[type(step)]
    config = {"pass": step.model_dump(), "seed": seed}
    return _stage(job, step.method, make, config=config, code=code, before=before)


def to_torch(job: Job, inputs: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 [N, H, W, C] as stored -> float32 [N, C, H, W] as networks take it."""
    values = preprocess(inputs, job.data.preprocessing)
    return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()


def _trained(
    job: Job, network: Network, cfg: TrainConfig, *, seed: int, resume: Path, title: str
) -> Network:
    module = network.module()
    train(
        module,
        job.data.train,
        cfg,
        preprocessing=job.data.preprocessing,
        seed=seed,
        resume=resume / "training.pt",
        progress=job.progress,
        title=title,
    )
    return network.with_weights(module)


def _stage(
    job: Job,
    name: str,
    make: Callable[[Path], Made],
    *,
    config: Mapping[str, Any],
    code: Sequence[str],
    before: Candidate | None,
) -> Candidate:
    """A stage whose result is a candidate: make it or find it, and read it back."""

    def write(folder: Path, resume: Path) -> None:
        network, scales, facts = make(resume)
        module = network.module()
        parameters, macs = count(module, network.input_shape)
        checked = evaluate(module, job.data.validation, preprocessing=job.data.preprocessing)
        entry = {
            "step": name,
            **facts,
            "parameters": parameters,
            "macs": macs,
            "validation_top1": checked.top1,
        }
        save_network(network, folder)
        if scales is not None:
            (folder / "scales.json").write_bytes(format_json(scales.to_json()))
        (folder / "log.json").write_bytes(format_json(entry))

    # The last bits of a training run depend on these too.
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    result = job.store.stage(
        name,
        write,
        config={**config, "device": device, "threads": torch.get_num_threads()},
        inputs={"data": job.data.digest, "before": before.digest if before else ""},
        code=[*code, "pipeline.network_file", "pipeline.cost"],
        glue=__name__,
        tools=TRAINING_TOOLS,
    )
    entry = json.loads((result.folder / "log.json").read_bytes())
    job.progress.say(
        f"{name:18} {entry['parameters']:>10,} parameters  {entry['macs']:>12,} MACs  "
        f"{entry['validation_top1']:7.2%} on validation{'  (done before)' * result.reused}"
    )
    scales_file = result.folder / "scales.json"
    return Candidate(
        load_network(result.folder),
        Scales.from_json(json.loads(scales_file.read_bytes())) if scales_file.exists() else None,
        (*(before.log if before else ()), entry),
        result.digest,
    )
