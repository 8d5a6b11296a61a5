"""Torch space: the dense network, and the passes that a recipe lists after it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from device_runner.atomic import make_folder
from device_runner.preprocess import preprocess
from device_runner.strict_json import format_json
from models.network import Network
from pipeline.cost import count
from pipeline.data import Dataset, find_file
from pipeline.initialise import initialise
from pipeline.mask import Mask
from pipeline.mask_file import load_mask, save_mask
from pipeline.network_file import import_weights, load_network, new_network, save_network
from pipeline.progress import Progress
from pipeline.quantize import Scales
from pipeline.quantize_passes import aware_training, post_training
from pipeline.recipe import (
    ChannelTicket,
    Config,
    Finetune,
    Levels,
    Ptq,
    Qat,
    Recipe,
    TrainConfig,
    WeightTicket,
)
from pipeline.slim import slim
from pipeline.store import Store, canonical_json, code_digest, locked
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
    """What one pass hands to the next: a network, its mask if single weights of it were pruned,
    and its scales once they are decided."""

    network: Network  # what the mask zeroes is zero
    mask: Mask | None
    scales: Scales | None
    log: tuple[Mapping[str, Any], ...]  # one entry for each step so far
    digest: str


@dataclass(frozen=True)
class Made:
    """What a pass makes, and what the log should say of it; see `Candidate`."""

    network: Network
    mask: Mask | None = None
    scales: Scales | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def dense_network(job: Job, folders: Sequence[Path]) -> Candidate:
    """Train the dense network, import its weights from a file in one of ``folders``, or leave it
    at random for a pass that wants it so."""
    model, training, seed = job.recipe.model, job.recipe.train, job.recipe.seed
    if model.weights is not None:
        file = find_file(model.weights, folders=folders)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()

        def import_(resume: Path) -> Made:
            network = import_weights(file, model.arch, model.args)
            return Made(network, facts={"weights": file.name})

        config: dict[str, Any] = {"model": model.model_dump(exclude={"weights"}), "sha256": digest}
        return _stage(job, "import", import_, config=config, code=["models"], before=None)

    def make(resume: Path) -> Made:
        start = new_network(model.arch, model.args, seed=seed)
        if model.init != "default":
            start = initialise(start, model.init, seed=seed, kept=model.init_kept)
        if training is None:
            return Made(start)
        title = "train the dense network"
        trained = _trained(job, Made(start), training, seed=seed, resume=resume, title=title)
        return Made(trained)

    config = {"model": model.model_dump(), "seed": seed}
    code = ["pipeline.initialise", "models"]
    if training is None:
        return _stage(job, "random", make, config=config, code=code, before=None)
    config |= {"train": training.model_dump()}
    code += ["pipeline.train"]
    return _stage(job, "train", make, config=config, code=code, before=None)


def apply_pass(job: Job, before: Candidate, position: int) -> Candidate:
    """Apply the pass at ``position`` of the recipe's ``compress`` to what came before it."""
    step = job.recipe.compress[position]
    seed = job.recipe.seed + 1 + position

    def find_ticket(cfg: ChannelTicket | WeightTicket, resume: Path) -> Made:
        with _shared_levels(job, cfg, before, seed=seed, otherwise=resume) as folder:
            ticket = TICKETS[cfg.method](
                before.network,
                job.data,
                cfg,
                seed=seed,
                resume=folder / "training.pt",
                progress=job.progress,
            )
        if isinstance(cfg, ChannelTicket):
            return Made(slim(ticket.start, ticket.mask), facts=ticket.log)
        return Made(ticket.mask.apply(ticket.start), ticket.mask, facts=ticket.log)

    def finetune(cfg: Finetune, resume: Path) -> Made:
        title = "fine-tune the ticket"
        network = _trained(job, before, cfg.train, seed=seed, resume=resume, title=title)
        return Made(network, before.mask)

    def quantize(cfg: Ptq) -> Made:
        int8 = post_training(before.network, job.data, cfg, job.progress)
        return Made(int8.network, before.mask, int8.scales, int8.facts)

    def train_quantized(cfg: Qat, resume: Path) -> Made:
        int8 = aware_training(
            before.network,
            before.mask,
            before.scales,
            job.data,
            cfg,
            seed=seed,
            resume=resume,
            progress=job.progress,
        )
        return Made(int8.network, before.mask, int8.scales, int8.facts)

    def make(resume: Path) -> Made:
        match step:
            case Finetune():
                return finetune(step, resume)
            case Ptq():
                return quantize(step)
            case Qat():
                return train_quantized(step, resume)
            case _:
                return find_ticket(step, resume)

    match step:
        case Finetune():
            code = ["pipeline.train"]
        case Ptq() | Qat():
            code = ["pipeline.quantize_passes"]
        case _:
            code = [TICKETS[step.method].__module__, "pipeline.slim"]
    config = {"pass": step.model_dump(), "seed": seed}
    return _stage(job, step.method, make, config=config, code=code, before=before)


@contextmanager
def _shared_levels(
    job: Job, cfg: Config, before: Candidate, *, seed: int, otherwise: Path
) -> Iterator[Path]:
    """The folder for training states: rewinding and its controls share theirs.

    Their levels do not depend on the sparsity that is wanted, nor on what a control does with the
    ticket, and they are what takes so long.
    """
    if not isinstance(cfg, Levels):
        yield otherwise
        return
    decides = {
        "levels": cfg.model_dump(include=set(Levels.model_fields) - {"method", "sparsity"}),
        "seed": seed,
        "threads": torch.get_num_threads(),
        "inputs": [job.data.digest, before.digest],
        "code": code_digest((TICKETS["rewinding"].__module__,), __name__),
    }
    name = f"levels-{hashlib.sha256(canonical_json(decides)).hexdigest()[:32]}"
    folder = job.store.root / name
    make_folder(folder)
    with locked(job.store.root / f"{name}.lock"):
        yield folder


def to_torch(job: Job, inputs: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 [N, H, W, C] as stored -> float32 [N, C, H, W] as networks take it."""
    values = preprocess(inputs, job.data.preprocessing)
    return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()


def _trained(
    job: Job, before: Candidate | Made, cfg: TrainConfig, *, seed: int, resume: Path, title: str
) -> Network:
    module = before.network.module()
    train(
        module,
        job.data.train,
        cfg,
        preprocessing=job.data.preprocessing,
        seed=seed,
        mask=before.mask,
        resume=resume / "training.pt",
        progress=job.progress,
        title=title,
    )
    return before.network.with_weights(module)


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
        made = make(resume)
        module = made.network.module()
        parameters, macs = count(module, made.network.input_shape)
        checked = evaluate(module, job.data.validation, preprocessing=job.data.preprocessing)
        entry = {
            "step": name,
            **made.facts,
            "parameters": parameters,
            "macs": macs,
            "validation_top1": checked.top1,
        }
        save_network(made.network, folder)
        if made.mask is not None:
            save_mask(made.mask, folder / "mask.safetensors")
        if made.scales is not None:
            (folder / "scales.json").write_bytes(format_json(made.scales.to_json()))
        (folder / "log.json").write_bytes(format_json(entry))

    # The last bits of a training run depend on these too.
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    result = job.store.stage(
        name,
        write,
        config={**config, "device": device, "threads": torch.get_num_threads()},
        inputs={"data": job.data.digest, "before": before.digest if before else ""},
        code=[*code, "pipeline.network_file", "pipeline.mask_file", "pipeline.cost"],
        glue=__name__,
        tools=TRAINING_TOOLS,
    )
    entry = json.loads((result.folder / "log.json").read_bytes())
    job.progress.say(
        f"{name:18} {entry['parameters']:>10,} parameters  {entry['macs']:>12,} MACs  "
        f"{entry['validation_top1']:7.2%} on validation{'  (done before)' * result.reused}"
    )
    network = load_network(result.folder)
    mask_file, scales_file = result.folder / "mask.safetensors", result.folder / "scales.json"
    return Candidate(
        network,
        load_mask(mask_file, network) if mask_file.exists() else None,
        Scales.from_json(json.loads(scales_file.read_bytes())) if scales_file.exists() else None,
        (*(before.log if before else ()), entry),
        result.digest,
    )
