"""What a network takes, as the arrays of an .npz say it, and what it gives."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data.named import POOL, TEST
from edgeticket.pipeline.graph.batches import leaves_of, zeros_for

Shapes = tuple[tuple[int, ...], ...]


def input_shapes(
    arrays: Mapping[str, npt.NDArray[Any]], *, leave: Collection[str] = ()
) -> tuple[Shapes, int]:
    """The shape of each input without the batch, and how many examples there are.

    Pictures, uint8 [N, H, W, C] called ``inputs``, go in channels first.

    Args:
        arrays: by name, in the order of the file.
        leave: names of what is no input.
    """
    pool = {k.removeprefix(POOL): v for k, v in arrays.items() if not k.startswith(TEST)}
    inputs = {name: array for name, array in pool.items() if name not in leave}
    count = max((len(array) for array in inputs.values() if array.ndim), default=0)
    if len(inputs) == 1:
        array = next(iter(inputs.values()))
        if array.ndim == 4 and array.dtype == "uint8":
            height, width, channels = array.shape[1:]
            return ((channels, height, width),), count
    return tuple(tuple(array.shape[1:]) for array in inputs.values()), count


def output_shapes(network: Network, *, way_out: str) -> list[tuple[int, ...]]:
    """The shape of each output for one example, with the batch.

    Raises:
        InputError: it does not run; ``way_out`` says what to do then.
    """
    module = network.module().eval()
    try:
        with torch.no_grad():
            outputs = leaves_of(module(*zeros_for(module, network.input_shapes)))
    except Exception as error:  # whatever a network that somebody wrote raises
        told = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{network.arch} does not run on an input of {shown(network.input_shapes)}: {told}; "
            f"{way_out}"
        ) from None
    return [tuple(output.shape) for output in outputs]


def shown(shapes: Sequence[Sequence[int]]) -> str:
    """``3x64x64 and 10``."""
    return " and ".join("x".join(map(str, shape)) for shape in shapes)
