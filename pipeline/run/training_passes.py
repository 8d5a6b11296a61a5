"""The pass that trains whatever the passes before it left."""

from __future__ import annotations

from pathlib import Path

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.recipe import Finetune, TrainConfig
from edgeticket.pipeline.run.candidate import Candidate, PassResult
from edgeticket.pipeline.train import train


def finetune(
    before: Candidate,
    data: Dataset,
    cfg: Finetune,
    *,
    seed: int,
    resume: Path,
    progress: Progress,
) -> PassResult:
    """Train on, with the weights that are pruned kept at zero."""
    network = train_network(
        before.network,
        before.mask,
        data,
        cfg.train,
        seed=seed,
        resume=resume,
        progress=progress,
        title="fine-tune the ticket",
    )
    return PassResult(network, before.mask)


def train_network(
    network: Network,
    mask: Mask | None,
    data: Dataset,
    cfg: TrainConfig,
    *,
    seed: int,
    resume: Path,
    progress: Progress,
    title: str,
) -> Network:
    """``network`` after a training on the training split.

    Args:
        mask: of weights that stay zero.
        resume: a folder for the state file of an interrupted run.
    """
    module = network.module()
    train(
        module,
        data.train,
        cfg,
        preprocessing=data.preprocessing,
        seed=seed,
        mask=mask,
        resume=resume / "training.pt",
        progress=progress,
        title=title,
    )
    return network.with_weights(module)
