"""The loss of a training: the task's, or a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.models.imported import find_function, source_digest, user_folders_first
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.task import task_of
from edgeticket.pipeline.task.kind import Loss
from edgeticket.pipeline.task.transcripts import Targets


def loss_for(cfg: TrainConfig, split: Split) -> Loss:
    """What a training makes small.

    Raises:
        InputError: a function of the user's is not there.
    """
    if cfg.loss is None or ":" not in cfg.loss:
        return task_of(split).loss(cfg, split)
    try:
        function = find_function(cfg.loss)
    except ValueError as error:
        raise InputError(f"train.loss: {error}") from error
    return _called(function, cfg.loss)


def loss_version(cfg: TrainConfig | None) -> str:
    """What decides, besides its name, what a loss of the user's computes; "" for all others.

    Raises:
        InputError: it is not there.
    """
    if cfg is None or cfg.loss is None or ":" not in cfg.loss:
        return ""
    try:
        return source_digest(cfg.loss)
    except ValueError as error:
        raise InputError(f"train.loss: {error}") from error


def _called(function: Callable[..., Any], name: str) -> Loss:
    def loss(outputs: Any, targets: Any) -> Tensor:
        try:
            with user_folders_first():
                value = function(outputs, named(targets))
        except Exception as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"train.loss: {name} raised {type(error).__name__}: {reason}"
            ) from error
        if not isinstance(value, Tensor) or value.ndim != 0 or not value.requires_grad:
            given = (
                f"a tensor of shape {list(value.shape)}{' without a gradient' * (value.ndim == 0)}"
                if isinstance(value, Tensor)
                else f"a {type(value).__name__}"
            )
            raise InputError(
                f"train.loss: {name} returned {given}: it should return one number that depends on "
                "the outputs, e.g. ((outputs - targets['values']) ** 2).mean()"
            )
        return value

    return loss


def named(targets: Any) -> Mapping[str, Tensor]:
    """Targets of a batch by name, whatever the task."""
    if isinstance(targets, Tensor):
        return {"label": targets}
    if isinstance(targets, Targets):
        return targets._asdict()
    assert isinstance(targets, Mapping)
    return targets
