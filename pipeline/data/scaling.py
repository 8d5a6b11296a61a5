"""Pictures to inputs: the steps that a recipe asks for, and what makes numbers of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.recipe import DataConfig
from edgeticket.pipeline.recipe.layouts import LetterboxConfig

# Of ImageNet's training pixels, what published weights were trained with.
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def capture_steps(cfg: DataConfig) -> tuple[Mapping[str, Any], ...]:
    """The steps of `device_runner.preprocess.capture` that ``cfg`` asks for."""
    steps: list[Mapping[str, Any]] = [{"op": "grey"}] if cfg.grey else []
    crop = cfg.crop
    if isinstance(cfg.resize, int):
        steps.append({"op": "resize", "shorter": cfg.resize, "filter": cfg.filter})
        crop = crop or cfg.resize
    elif cfg.resize is not None:
        steps.append({"op": "resize", "size": list(cfg.resize), "filter": cfg.filter})
    if cfg.letterbox is not None:
        steps.append(letterbox_step(cfg.letterbox, weigh=cfg.filter))
    if crop is not None:
        sides = [crop, crop] if isinstance(crop, int) else list(crop)
        steps.append({"op": "center_crop", "size": sides})
    return tuple(steps)


def letterbox_step(box: LetterboxConfig, *, weigh: str = "bilinear") -> Mapping[str, Any]:
    """The step that puts a picture into a letterbox; ``weigh`` is its filter."""
    return {
        "op": "letterbox",
        "size": list(box.sides),
        "filter": weigh,
        "place": box.place,
        "fill": box.fill,
    }


def scaling(cfg: DataConfig, channels: int) -> Mapping[str, Any]:
    """The step that makes numbers of pixels.

    Raises:
        InputError: mean and std are not one number per channel.
    """
    mean, std = cfg.mean, cfg.std
    if mean is None or std is None:
        imagenet = channels == 3
        mean = IMAGENET_MEAN if imagenet else (127.5,) * channels
        std = IMAGENET_STD if imagenet else (127.5,) * channels
    if {len(mean), len(std)} != {channels}:
        raise InputError(
            f"data.mean and data.std: {cfg.title} has {channels} channels, so give {channels} "
            f"numbers each, in 0..255; not {list(mean)} and {list(std)}"
        )
    return {"op": "normalize", "mean": list(mean), "std": list(std)}
