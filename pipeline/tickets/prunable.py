"""Which weights can be pruned, and which of them stay when the best of them do."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from device_runner.errors import InputError
from pipeline.mask import Mask


def prunable(module: nn.Module, exclude: Sequence[str] = ()) -> dict[str, nn.Parameter]:
    """The weights of convolutions and linear layers by name, but not of layers in ``exclude``.

    Weights that an architecture fixes (they require no gradient) are none of them.

    Raises:
        InputError: ``exclude`` names something else than such a layer; nothing is left.
    """
    layers = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.requires_grad
    }
    for name in exclude:
        if name not in layers:
            near = difflib.get_close_matches(name, layers, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"exclude: no layer {name!r} ({hint}known: {', '.join(layers)})")
    kept = [name for name in layers if name not in exclude]
    if not kept:
        raise InputError("exclude: no layer is left that could be pruned")
    names = [f"{name}.weight" for name in kept]
    return {name: module.get_parameter(name) for name in names}


def keep_largest(scores: Mapping[str, Tensor], *, sparsity: float, scope: str) -> Mask:
    """Keep the weights with the largest scores.

    Args:
        scores: a score for each weight, by tensor name.
        sparsity: share of the weights that go; met exactly, up to rounding to whole weights.
        scope: "global" compares all weights with each other, "layer" those of each tensor.
    """
    if scope == "layer":
        return Mask(
            {n: _largest(s.detach().flatten(), sparsity).view(s.shape) for n, s in scores.items()}
        )
    kept = _largest(torch.cat([s.detach().flatten() for s in scores.values()]), sparsity)
    parts = torch.split(kept, [s.numel() for s in scores.values()])
    named = zip(scores.items(), parts, strict=True)
    return Mask({name: part.view(s.shape).clone() for (name, s), part in named})


def _largest(scores: Tensor, sparsity: float) -> Tensor:
    """Scores [n] -> bool [n]; of equal scores the first stay."""
    gone = round(sparsity * len(scores))
    kept = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    order = scores.argsort(descending=True, stable=True)
    kept[order[len(scores) - gone :]] = False
    return kept


def cubic(share_done: float, *, first: float, last: float) -> float:
    """A sparsity that rises fast at first and slowly at last (Zhu and Gupta 2017, equation 1)."""
    return last + (first - last) * (1 - min(1.0, share_done)) ** 3
