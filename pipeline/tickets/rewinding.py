"""Iterative magnitude pruning with rewinding.

Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", 2020: train to early
epoch k and remember the weights W_k; train to the end; zero the share p of the smallest |w|; put
the others back to W_k; and again. Renda et al., "Comparing Rewinding and Fine-tuning", 2020, rewind
the learning rate only. You et al., "Drawing Early-Bird Tickets", 2020, end a level's training as
soon as the mask that it would give has settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.recipe import Levels
from edgeticket.pipeline.tickets.prunable import keep_largest, prunable
from edgeticket.pipeline.tickets.ticket import Ticket, facts_of
from edgeticket.pipeline.train import evaluate, train

SETTLED = 0.1  # share of weights in which two masks may differ
SETTLED_EPOCHS = 5  # that a mask is compared with


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: Levels,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """Prune ``network``, level by level.

    Args:
        network: the weights before any training, usually.
        resume: a state file; each level keeps one of its own beside it, under its number. They
            do not depend on the sparsity, so a sparser ticket goes on from those of another.

    Returns:
        The last mask. The start is the weights at ``cfg.rewind_to``, or, when the learning rate
        alone is rewound, those that the last training ended with; training on is up to the user.

    Raises:
        InputError: ``cfg.exclude`` does not fit; a training diverged.
    """
    names = list(prunable(network.module(), cfg.exclude))
    mask = Mask({name: torch.ones_like(network.weights[name], dtype=torch.bool) for name in names})

    def trained(start: Network, epochs: range, level: str, *, may_end: bool) -> Network:
        module = start.module()
        watched = EarlyBird(module, mask, cfg) if may_end else None
        prefix = "module." if watched else ""
        train(
            watched or module,
            data.train,
            cfg.train,
            preprocessing=data.preprocessing,
            seed=seed,
            mask=Mask({prefix + name: tensor for name, tensor in mask.tensors.items()}),
            epochs=epochs,
            after_epoch=watched.settled if watched else None,
            resume=resume and resume.with_name(f"{resume.stem}-{level}{resume.suffix}"),
            progress=progress,
            title=f"{level}, {mask.density:.1%} of the weights",
        )
        counts.append(int(watched.epochs) if watched else len(epochs))
        return start.with_weights(module)

    counts: list[int] = []
    early = network
    if cfg.rewind_to:
        early = trained(network, range(cfg.rewind_to), "early", may_end=False)
    levels: list[dict[str, float]] = []
    start, wanted = early, 1 - cfg.sparsity
    while mask.density > wanted + 0.5 / sum(t.numel() for t in mask.tensors.values()):
        span = range(cfg.rewind_to, cfg.train.epochs)
        end = trained(start, span, f"level {len(levels)}", may_end=cfg.early_bird)
        checked = evaluate(end.module(), data.validation, preprocessing=data.preprocessing)
        levels.append({"density": mask.density, **checked.logged()})
        density = max(mask.density * (1 - cfg.share), wanted)
        mask = _pruned(end.weights, mask, sparsity=1 - density, scope=cfg.scope)
        start = early if cfg.rewind == "weights" else end
    log = {
        **facts_of(mask),
        "levels": levels,
        "epochs": sum(counts),
    }
    return Ticket(mask, start, log)


class EarlyBird(nn.Module):
    """``module`` and the masks that its weights would have given after its last epochs."""

    def __init__(self, module: nn.Module, mask: Mask, cfg: Levels) -> None:
        super().__init__()
        self.module = module
        self.mask = mask
        self.scope = cfg.scope
        # That of a whole level, also before the last: a level is the same for every sparsity.
        self.sparsity = 1 - mask.density * (1 - cfg.share)
        size = sum(tensor.numel() for tensor in mask.tensors.values())
        self.epochs: Tensor
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))
        self.seen: Tensor  # [epochs, weights], the newest first
        self.register_buffer("seen", torch.zeros(SETTLED_EPOCHS, size, dtype=torch.bool))

    def forward(self, *inputs: Tensor) -> Any:
        return self.module(*inputs)

    def settled(self) -> bool:
        """To be called once an epoch: whether the mask hardly differs from any seen lately."""
        weights = {name: self.module.get_parameter(name).cpu() for name in self.mask.tensors}
        mask = _pruned(weights, self.mask, sparsity=self.sparsity, scope=self.scope)
        now = torch.cat([tensor.flatten() for tensor in mask.tensors.values()]).to(self.seen.device)
        full = int(self.epochs) >= SETTLED_EPOCHS
        self.epochs += 1
        distances = (self.seen != now).float().mean(1)
        self.seen.copy_(torch.cat([now[None], self.seen[:-1]]))
        return full and bool((distances < SETTLED).all())


def _pruned(weights: Mapping[str, Tensor], mask: Mask, *, sparsity: float, scope: str) -> Mask:
    """The largest of the weights that are left."""
    # What is gone already comes last, so it stays gone.
    scores = {name: weights[name].abs().where(kept, -1) for name, kept in mask.tensors.items()}
    return keep_largest(scores, sparsity=sparsity, scope=scope)
