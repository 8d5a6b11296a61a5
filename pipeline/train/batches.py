"""Batches: drawn examples as stored, but changed as was drawn, and what is right for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data import Recordings, Rows, Split
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.graph.batches import Batch
from edgeticket.pipeline.task import transcripts
from edgeticket.pipeline.task.kind import MakeTargets
from edgeticket.pipeline.train.augment import Draw, check_augment
from edgeticket.pipeline.train.augment_speech import SPEECH
from edgeticket.pipeline.train.augment_targets import check_targets_move, move_targets
from edgeticket.pipeline.train.evaluation import check_as_they_are, normalize

MakeBatch = Callable[[Draw], tuple[Batch, Any]]
"""Drawn examples -> those as stored, but changed as was drawn; and what is to be learnt of them."""


def stored_of(split: Split) -> Batch:
    """All examples of a small split as they are stored."""
    if isinstance(split.inputs, Tensors):
        return tuple(torch.from_numpy(array) for array in split.inputs.arrays)
    return torch.from_numpy(split.inputs[:])


def batches_of(split: Split, right: MakeTargets, device: torch.device) -> MakeBatch:
    """How batches are made of ``split``; what is in memory moves to the device once.

    Args:
        split: the examples.
        right: their targets, by their numbers.
        device: where batches are wanted.
    """
    if isinstance(split.inputs, Recordings):
        return _of_recordings(split.inputs, right, device)
    if isinstance(split.inputs, Tensors):
        return _of_tensors(split.inputs, right, device)
    return _of_pictures(split, right, device)


def check_moves(augment: str, split: Split, *, views: int | None = None) -> None:
    """
    Raises:
        InputError: the augmentation is for another kind of examples, or cannot be repeated, or
            their targets would not move along.
    """
    if views is not None and augment in SPEECH:
        raise InputError(
            f"train.views: {views} changes that repeat are of pictures; {augment} changes "
            "recordings anew each time; leave views out"
        )
    if augment != "none" and isinstance(split.inputs, Tensors):
        raise InputError(
            f"train.augment: {augment} is not for inputs that are no uint8 pictures; give none"
        )
    if split.targets is not None:
        check_targets_move(augment, split.targets.task)
    check_augment(augment, split.inputs.dtype, whole=split.spoken is not None)


def as_taken(
    stored: Batch, preprocessing: Sequence[Mapping[str, Any]], part: Draw | None = None
) -> Batch:
    """A batch as it is stored -> as the network takes it: float32 [N, C, ...], or a tensor for each
    input; ``part`` says what of it is hidden.

    Raises:
        InputError: steps for arrays, which go in as they are, or steps that cannot be trained with.
    """
    if isinstance(stored, Tensor):
        values = normalize(stored, preprocessing)
        return values if part is None else part.mask(values)
    check_as_they_are(preprocessing)
    return tuple(tensor.movedim(-1, 1) if tensor.ndim > 2 else tensor for tensor in stored)


def _of_pictures(split: Split, right: MakeTargets, device: torch.device) -> MakeBatch:
    """Images stay uint8, recordings int16."""
    stored, targets = split.inputs, split.targets
    assert not isinstance(stored, Recordings | Tensors)
    inputs = stored if isinstance(stored, Rows) else torch.from_numpy(stored).to(device)

    def batch(part: Draw) -> tuple[Tensor, Any]:
        if isinstance(inputs, Rows):
            examples = torch.from_numpy(inputs[part.order.numpy()]).to(device)
            part = part.to(device)
        else:
            part = part.to(device)
            examples = inputs[part.order]
        wanted = right(part.order)
        if targets is not None and examples.ndim == 4 and part.moves:
            size = (examples.shape[1], examples.shape[2])
            wanted = move_targets(wanted, part, targets.task, size, targets.swap)
        return part.apply(examples), wanted

    return batch


def _of_tensors(stored: Tensors, right: MakeTargets, device: torch.device) -> MakeBatch:
    """What networks with any inputs take, as it is."""
    inputs = tuple(torch.from_numpy(array).to(device) for array in stored.arrays)

    def batch(part: Draw) -> tuple[Batch, Any]:
        order = part.order.to(device)
        return tuple(tensor[order] for tensor in inputs), right(order)

    return batch


def _of_recordings(recordings: Recordings, right: MakeTargets, device: torch.device) -> MakeBatch:
    """Recordings are padded to the longest of their batch."""

    def batch(part: Draw) -> tuple[Tensor, Any]:
        some = recordings.take(part.order.numpy())
        lengths = torch.from_numpy(some.lengths).to(device)
        stored, lengths = part.to(device).stretch(torch.from_numpy(some[:]).to(device), lengths)
        symbols, counts = right(part.order)
        return stored, transcripts.Targets(symbols, counts, lengths / stored.shape[1])

    return batch
