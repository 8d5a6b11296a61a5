"""Which weights can be pruned, and which of them stay when the best of them do."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.network.layers import Convolution, Recurrent
from edgeticket.pipeline.prune.mask import Mask


def prunable(module: nn.Module, exclude: Sequence[str] = ()) -> dict[str, nn.Parameter]:
    """The weights of convolutions, linear and recurrent layers by name, but not of layers in
    ``exclude``.

    Weights that an architecture fixes (they require no gradient) are none of them.

    Raises:
        InputError: ``exclude`` names something else than such a layer; nothing is left.
    """
    layers = {
        name: weights for name, layer in module.named_modules() if (weights := _weights_of(layer))
    }
    for name in exclude:
        if name not in layers:
            near = difflib.get_close_matches(name, layers, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"exclude: no layer {name!r} ({hint}known: {', '.join(layers)})")
    kept = [name for name in layers if name not in exclude]
    if not kept:
        raise InputError("exclude: no layer is left that could be pruned")
    names = [f"{name}.{weight}".lstrip(".") for name in kept for weight in layers[name]]
    return {name: module.get_parameter(name) for name in names}


def _weights_of(layer: nn.Module) -> list[str]:
    """The names of a layer's matrices, if it is one whose weights can go."""
    if isinstance(layer, Convolution | nn.Linear):
        return ["weight"] if layer.weight.requires_grad else []
    if not isinstance(layer, Recurrent):
        return []
    return [
        name
        for name, weight in layer.named_parameters(recurse=False)
        if name.startswith("weight_") and weight.requires_grad
    ]


def keep_largest(scores: Mapping[str, Tensor], *, sparsity: float, scope: str) -> Mask:
    """Keep the weights with the largest scores, and at least the best one of every tensor.

    Args:
        scores: a score for each weight, by tensor name.
        sparsity: share of the weights that go; met exactly, up to rounding to whole weights.
        scope: "global" compares all weights with each other, "layer" those of each tensor.

    Raises:
        InputError: there are more tensors than weights to keep.
    """
    flat = {name: score.detach().flatten() for name, score in scores.items()}
    if scope == "layer":
        parts = [_largest(s, max(1, kept_count(len(s), sparsity))) for s in flat.values()]
    else:
        sizes = [len(score) for score in flat.values()]
        count = kept_count(sum(sizes), sparsity, layers=len(sizes))
        together = torch.cat(list(flat.values()))
        kept = spare_last_weights(_largest(together, count), together, sizes=sizes)
        parts = list(torch.split(kept, sizes))
    named = zip(scores.items(), parts, strict=True)
    return Mask({name: part.view(score.shape).clone() for (name, score), part in named})


@torch.no_grad()
def keep_best(scores: Tensor, count: int, *, sizes: Sequence[int]) -> Tensor:
    """The ``count`` largest of flat scores, at least one of each layer: bool, the same shape.

    Faster than `keep_largest`, which sorts, so that of equal scores the first stay.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    kept[scores.topk(count, sorted=False).indices] = True
    return spare_last_weights(kept, scores, sizes=sizes)


def kept_count(size: int, sparsity: float, *, layers: int = 0) -> int:
    """How many of ``size`` weights stay.

    Raises:
        InputError: fewer than one for each of ``layers``.
    """
    count = size - round(sparsity * size)
    if count < layers:
        raise InputError(
            f"sparsity: {sparsity:g} leaves {count} of {size:,} weights, fewer than one for each "
            f"of the {layers} layers: lower it to {1 - layers / size:.6g} or less"
        )
    return count


def spare_last_weights(kept: Tensor, scores: Tensor, *, sizes: Sequence[int]) -> Tensor:
    """Give every layer that would lose all its weights its best one back.

    A network with an empty layer answers the same to everything. The places come from the least
    of what the others keep.

    Args:
        kept: what a choice over all layers together keeps: bool [sum of ``sizes``]; changed.
        scores: what it was chosen by, the same shape.
        sizes: weights of each layer, at most as many layers as weights are kept.

    Returns:
        ``kept``, with as many weights as before.
    """
    sizes = list(sizes)
    layers = list(zip(torch.split(kept, sizes), torch.split(scores, sizes), strict=True))
    empty = [(part, score) for part, score in layers if not part.any()]
    if not empty:
        return kept
    last = torch.full_like(scores, torch.inf)  # what each layer may not lose stays infinite
    for (part, score), rest in zip(layers, torch.split(last, sizes), strict=True):
        if part.any():
            rest[part] = score[part]
            rest[score.masked_fill(~part, -torch.inf).argmax()] = torch.inf
    kept[last.topk(len(empty), largest=False, sorted=False).indices] = False
    for part, score in empty:
        part[score.argmax()] = True
    return kept


def _largest(scores: Tensor, count: int) -> Tensor:
    """Scores [n] -> bool [n] with ``count`` times True; of equal scores the first stay."""
    kept = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    kept[scores.argsort(descending=True, stable=True)[:count]] = True
    return kept


def cubic(share_done: float, *, first: float, last: float) -> float:
    """A sparsity that rises fast at first and slowly at last (Zhu and Gupta 2017, equation 1)."""
    return last + (first - last) * (1 - min(1.0, share_done)) ** 3
