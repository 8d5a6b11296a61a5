"""Torch space: the dense network, and the passes that a recipe lists after it."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from edgeticket.models.network import Network
from edgeticket.models.own import is_own, own_version
from edgeticket.pipeline.network.file import import_weights, new_network
from edgeticket.pipeline.network.initialise import initialise
from edgeticket.pipeline.network.weights import find_weights
from edgeticket.pipeline.onnx_import import read_onnx_network
from edgeticket.pipeline.prune.shrink import slim
from edgeticket.pipeline.recipe import (
    ChannelTicket,
    Config,
    Finetune,
    Levels,
    Ptq,
    Qat,
    ResidualBlocks,
    TrainConfig,
    WeightTicket,
)
from edgeticket.pipeline.run.candidate import Candidate, Job, Made, stage
from edgeticket.pipeline.run.levels import shared_levels
from edgeticket.pipeline.run.quantize_passes import aware_training, post_training
from edgeticket.pipeline.run.teachers import with_teacher
from edgeticket.pipeline.store import code_digest
from edgeticket.pipeline.tickets import TICKETS
from edgeticket.pipeline.train import train


def dense_network(job: Job) -> Candidate:
    """Train the dense network, import it from files, or leave it at random for a pass that wants
    it so."""
    model = job.recipe.model
    job = with_teacher(job, job.recipe.train, before=None)
    if model.onnx is not None:
        return _read_onnx(job, find_weights(model.onnx, folders=job.folders))
    if model.weights is not None:
        return _import_weights(job, find_weights(model.weights, folders=job.folders))
    return _train_dense(job)


def _read_onnx(job: Job, file: Path) -> Candidate:
    def make(resume: Path) -> Made:
        return Made(read_onnx_network(file), facts={"onnx": file.name})

    config = {"onnx": _sha256(file), "name": file.name}
    code = ["edgeticket.pipeline.onnx_import", "edgeticket.models"]
    return stage(job, "import", make, config=config, code=code, glue=__name__, before=None)


def _import_weights(job: Job, file: Path) -> Candidate:
    model, (takes, own) = job.recipe.model, _of_own_code(job)

    def make(resume: Path) -> Made:
        network = import_weights(
            file, model.architecture, model.args, rename=model.rename, takes=takes
        )
        return Made(network, facts={"weights": file.name})

    config = {"model": model.model_dump(exclude={"weights"}), "sha256": _sha256(file)} | own
    return stage(
        job, "import", make, config=config, code=["edgeticket.models"], glue=__name__, before=None
    )


def _train_dense(job: Job) -> Candidate:
    model, training, seed = job.recipe.model, job.recipe.train, job.recipe.seed
    takes, own = _of_own_code(job)

    def make(resume: Path) -> Made:
        start = new_network(model.architecture, model.args, seed=seed, takes=takes)
        if model.init != "default":
            start = initialise(start, model.init, seed=seed, kept=model.init_kept)
        if training is None:
            return Made(start)
        title = "train the dense network"
        return Made(_trained(job, Made(start), training, seed=seed, resume=resume, title=title))

    config = {"model": model.model_dump(), "seed": seed} | own
    code = ["edgeticket.pipeline.network.initialise", "edgeticket.models"]
    name = "import" if model.trained else "random"
    if training is not None:
        name = "train"
        config |= {"train": training.model_dump()}
        code += ["edgeticket.pipeline.train"]
    return stage(job, name, make, config=config, code=code, glue=__name__, before=None)


def _of_own_code(job: Job) -> tuple[tuple[int, ...], dict[str, Any]]:
    """What a function of the user's must be told, and what its network depends on besides."""
    arch = job.recipe.model.architecture
    if not is_own(arch):
        return (), {}
    takes = job.data.input_shape
    return takes, {"takes": takes, "version": own_version(arch)}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def apply_pass(job: Job, before: Candidate, position: int) -> Candidate:
    """Apply the pass at ``position`` of the recipe's ``compress`` to what came before it."""
    step = job.recipe.compress[position]
    seed = job.recipe.seed + 1 + position
    job = with_teacher(job, getattr(step, "train", None), before=before)

    def find_ticket(cfg: ChannelTicket | ResidualBlocks | WeightTicket, resume: Path) -> Made:
        with _states_folder(job, cfg, before, seed=seed, otherwise=resume) as folder:
            ticket = TICKETS[cfg.method](
                before.network,
                job.data,
                cfg,
                seed=seed,
                resume=folder / "training.pt",
                progress=job.progress,
            )
        if isinstance(cfg, ChannelTicket | ResidualBlocks):
            return Made(slim(ticket.start, ticket.mask), facts=ticket.log)
        if layers := ticket.log["last_weight_layers"]:
            job.progress.say(f"{cfg.method}: one weight alone is left of {', '.join(layers)}")
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
            code = ["edgeticket.pipeline.train"]
        case Ptq() | Qat():
            code = ["edgeticket.pipeline.run.quantize_passes"]
        case _:
            code = [TICKETS[step.method].__module__, "edgeticket.pipeline.prune.shrink"]
    config = {"pass": step.model_dump(), "seed": seed}
    return stage(job, step.method, make, config=config, code=code, glue=__name__, before=before)


def _states_folder(
    job: Job, cfg: Config, before: Candidate, *, seed: int, otherwise: Path
) -> AbstractContextManager[Path]:
    """The folder for training states: rewinding and its controls share theirs."""
    if not isinstance(cfg, Levels):
        return nullcontext(otherwise)
    decides = {
        "levels": cfg.model_dump(include=set(Levels.model_fields) - {"method", "sparsity"}),
        "seed": seed,
        "threads": torch.get_num_threads(),
        "inputs": [job.data.digest, before.digest],
        "code": code_digest((TICKETS["rewinding"].__module__,), (__name__,)),
    }
    return shared_levels(job.store.root, decides, user=job.recipe.name)


def _trained(
    job: Job,
    before: Candidate | Made,
    cfg: TrainConfig,
    *,
    seed: int,
    resume: Path,
    title: str,
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
