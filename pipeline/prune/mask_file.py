"""Masks on disk: one safetensors file of bool tensors."""

from __future__ import annotations

from pathlib import Path

import safetensors
from safetensors.torch import load, save

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular
from edgeticket.models.network import Network
from edgeticket.pipeline.prune.mask import Mask


def save_mask(mask: Mask, file: Path) -> None:
    """Write ``mask``; equal masks give equal bytes.

    Raises:
        InputError: the file cannot be written.
    """
    write_atomic(file, save({name: t.contiguous() for name, t in mask.tensors.items()}))


def load_mask(file: Path, network: Network) -> Mask:
    """Read what `save_mask` wrote, for the ``network`` whose masked weights are zero.

    Raises:
        InputError: the file is missing or damaged, or ``network`` is not zero where it says.
    """
    data = read_regular(file, kind="mask")
    try:
        mask = Mask(load(data))
        masked = mask.apply(network)
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{file} is no mask of this {network.arch}: {error}") from None
    for name in mask.tensors:
        if not network.weights[name].equal(masked.weights[name]):
            raise InputError(f"{file}: {name} is not zero where the mask says so; make both anew")
    return mask
