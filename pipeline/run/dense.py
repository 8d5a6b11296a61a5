"""The first candidate of a run: the dense network, trained, imported, or left at random."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeticket.models.network import Takes
from edgeticket.models.own import is_own, own_version
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.network.file import import_weights, new_network
from edgeticket.pipeline.network.finished import read_finished
from edgeticket.pipeline.network.initialise import initialise
from edgeticket.pipeline.network.weights import find_weights
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.recipe import ModelConfig, TrainConfig
from edgeticket.pipeline.run.candidate import Candidate, Job, PassResult, Step
from edgeticket.pipeline.run.teachers import with_teacher
from edgeticket.pipeline.run.training_passes import train_network
from edgeticket.pipeline.task.own import loss_version


def dense_network(job: Job) -> Candidate:
    """Train the dense network, import it from files, or leave it at random for a pass that wants
    it so."""
    model = job.recipe.model
    job = with_teacher(job, job.recipe.train, before=None)
    if model.file is not None:
        step = _imported_file(job, find_weights(model.file, folders=job.folders))
    elif model.weights is not None:
        step = _imported_weights(job, find_weights(model.weights, folders=job.folders))
    elif job.recipe.train is not None:
        step = _trained(job, job.recipe.train)
    else:
        step = _drawn(job)
    return step.read(job.store.stage(step.name, step.make, **step.key))


def _imported_file(job: Job, file: Path) -> Step:
    make = functools.partial(import_file, file=file)
    config = {"file": _sha256(file), "name": file.name}
    return Step(job, "import", make, config, None)


def import_file(resume: Path, *, file: Path) -> PassResult:
    """The network in a finished file."""
    network = read_finished(file)
    kind = network.arch.partition(":")[0]
    return PassResult(network, facts={kind: file.name})


def _imported_weights(job: Job, file: Path) -> Step:
    model, (takes, versions) = job.recipe.model, _of_users_code(job)
    make = functools.partial(import_weights_of, file=file, model=model, takes=takes)
    config = {"model": model.model_dump(exclude={"weights"}), "sha256": _sha256(file)} | versions
    return Step(job, "import", make, config, None)


def import_weights_of(resume: Path, *, file: Path, model: ModelConfig, takes: Takes) -> PassResult:
    """The network of a recipe, with weights from a file."""
    network = import_weights(file, model.architecture, model.args, rename=model.rename, takes=takes)
    return PassResult(network, facts={"weights": file.name})


def _drawn(job: Job) -> Step:
    model, seed, (takes, versions) = job.recipe.model, job.recipe.seed, _of_users_code(job)
    make = functools.partial(draw_network, model=model, seed=seed, takes=takes)
    config = {"model": model.model_dump(), "seed": seed} | versions
    return Step(job, "import" if model.trained else "random", make, config, None)


def draw_network(resume: Path, *, model: ModelConfig, seed: int, takes: Takes) -> PassResult:
    """A network as its architecture makes it: random, unless a user's function brings weights."""
    network = new_network(model.architecture, model.args, seed=seed, takes=takes)
    if model.init != "default":
        network = initialise(network, model.init, seed=seed, kept=model.init_kept)
    return PassResult(network)


def _trained(job: Job, training: TrainConfig) -> Step:
    model, seed, (takes, versions) = job.recipe.model, job.recipe.seed, _of_users_code(job)
    make = functools.partial(
        train_dense,
        model=model,
        seed=seed,
        takes=takes,
        data=job.data,
        training=training,
        progress=job.progress,
    )
    config = {"model": model.model_dump(), "seed": seed, "train": training.model_dump()} | versions
    config["loss"] = loss_version(training)
    return Step(job, "train", make, config, None)


def train_dense(
    resume: Path,
    *,
    model: ModelConfig,
    seed: int,
    takes: Takes,
    data: Dataset,
    training: TrainConfig,
    progress: Progress,
) -> PassResult:
    """A network as its architecture makes it, trained."""
    drawn = draw_network(resume, model=model, seed=seed, takes=takes)
    network = train_network(
        drawn.network,
        None,
        data,
        training,
        seed=seed,
        resume=resume,
        progress=progress,
        title="train the dense network",
    )
    return replace(drawn, network=network)


def _of_users_code(job: Job) -> tuple[Takes, dict[str, Any]]:
    """What a function of the user's is given, and what its network depends on besides."""
    arch = job.recipe.model.architecture
    if not is_own(arch):
        return (), {}
    takes = job.data.input_shape
    return takes, {"takes": takes, "version": own_version(arch)}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
