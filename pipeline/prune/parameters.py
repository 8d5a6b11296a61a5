"""Where the constants of a captured graph come from: which axis of which parameter."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeticket.pipeline.graph.channel_flow import Origin
from edgeticket.pipeline.graph.graph import Constant

# Bit patterns of float32 from about 1e-19 up: finite numbers, each once.
FIRST, LAST = 0x20000000, 0x7F7FFFFF


def marked(module: nn.Module) -> nn.Module:
    """A copy of ``module`` in which every weight is a number of its own.

    So a constant that was made of a parameter by moving its numbers shows which. Statistics of
    batch norms are as at the start.
    """
    twin = copy.deepcopy(module).eval()
    with torch.no_grad():
        for parameter, first in _starts(twin):
            bits = np.arange(first, first + parameter.numel(), dtype=np.int32)
            parameter.copy_(torch.from_numpy(bits.view(np.float32)).reshape(parameter.shape))
        for buffer, start in _statistics(twin):
            buffer.fill_(start)
    return twin


def overwritten(module: nn.Module) -> list[Tensor]:
    """The tensors of ``module`` whose numbers make no difference to what is `marked`."""
    return [tensor for tensor, _ in (*_starts(module), *_statistics(module))]


def _starts(module: nn.Module) -> list[tuple[Tensor, int]]:
    """Parameters that are marked, each with the bit pattern of its first number."""
    starts: list[tuple[Tensor, int]] = []
    first = FIRST
    for parameter in module.parameters():
        if parameter.dtype == torch.float32 and first + parameter.numel() <= LAST:
            starts.append((parameter, first))
            first += parameter.numel()
    return starts


def _statistics(module: nn.Module) -> list[tuple[Tensor, float]]:
    """Those of batch norms, each with what it is at the start."""
    starts = {"running_mean": 0.0, "running_var": 1.0}
    return [
        (buffer, start)
        for name, buffer in module.named_buffers()
        for ending, start in starts.items()
        if name.endswith(ending)
    ]


class MarkedParameters:
    """What a module that was `marked` says of the constants of its graph."""

    def __init__(
        self, module: nn.Module, constants: Mapping[str, Constant], heads: Collection[str]
    ) -> None:
        """``heads``: layers of attention whose channels are its heads'."""
        self.constants, self._heads = constants, heads
        self.names: dict[int, list[str]] = {}  # of a tensor, all that it has
        self.tensors: dict[str, Tensor] = {}  # by the first of them
        first_names: dict[str, str] = {}
        for name, tensor in module.state_dict(keep_vars=True).items():
            names = self.names.setdefault(id(tensor), [])
            names.append(name)
            first_names[name] = names[0]
            self.tensors.setdefault(names[0], tensor)
        self._first_names = first_names
        self._starts: list[int] = []
        self._marked: list[str] = []
        for name, parameter in module.named_parameters():
            if parameter.dtype == torch.float32 and parameter.numel():
                self._starts.append(int(_bits(parameter.detach().numpy()).flat[0]))
                self._marked.append(first_names.get(name, name))
        self._origins: dict[str, dict[int, Origin]] = {}
        self._recurrent = {
            f"{path}.{name}".lstrip(".")
            for path, layer in module.named_modules()
            if isinstance(layer, nn.RNNBase)
            for name, _ in layer.named_parameters(recurse=False)
        }

    def aliases(self, tensor: str) -> list[str]:
        """All names of a tensor in the module's state."""
        return self.names[id(self.tensors[tensor])]

    def size(self, tensor: str, axis: int) -> int:
        """Of an axis of a parameter."""
        return int(self.tensors[tensor].shape[axis])

    def fixed(self, tensor: str, axis: int) -> str:
        """Why nothing can be removed along an axis; "" where it can."""
        if tensor.rpartition(".")[0] in self._heads:
            return "is part of a head, and heads go whole"
        if tensor not in self._recurrent:
            return ""
        name = tensor.rpartition(".")[2]
        if name.startswith("weight_ih_l0") and axis == 1:
            return ""
        return f"is a hidden unit of {tensor.rpartition('.')[0] or 'the network'}: those stay"

    def origin(self, constant: str, axis: int) -> Origin | None:
        """Where a constant comes from, or None where that is no single axis of a parameter."""
        if constant not in self._origins:
            self._origins[constant] = self._trace(constant)
        return self._origins[constant].get(axis)

    def _is_followed(self, tensor: str) -> bool:
        """Parameters, and the statistics of batch norms; other buffers mean their places."""
        is_statistic = tensor.endswith(("running_mean", "running_var"))
        return is_statistic or isinstance(self.tensors[tensor], nn.Parameter)

    def _trace(self, constant: str) -> dict[int, Origin]:
        data = self.constants[constant].data
        name = self._first_names.get(constant)
        if (
            name is not None
            and self._is_followed(name)
            and tuple(self.tensors[name].shape) == data.shape
        ):
            return {axis: Origin(name, axis, np.arange(n)) for axis, n in enumerate(data.shape)}
        if data.dtype != np.float32 or not data.size or not self._starts:
            return {}
        bits = _bits(data).astype(np.int64)
        at = int(np.searchsorted(self._starts, bits.flat[0], side="right")) - 1
        if at < 0:
            return {}
        name, places = self._marked[at], bits - self._starts[at]
        shape = tuple(self.tensors[name].shape)
        if places.min() < 0 or places.max() >= np.prod(shape, dtype=np.int64):
            return {}
        origins: dict[int, Origin] = {}
        several: set[int] = set()
        for source, indices in enumerate(np.unravel_index(places, shape)):
            axes = [i for i in range(data.ndim) if (indices != indices.take([0], i)).any()]
            if len(axes) != 1:
                continue
            (axis,) = axes
            if axis in origins:
                several.add(axis)
            along = np.moveaxis(indices, axis, 0).reshape(data.shape[axis], -1)
            origins[axis] = Origin(name, source, along[:, 0].astype(np.int64))
        return {axis: found for axis, found in origins.items() if axis not in several}


def _bits(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(numbers).view(np.int32)
