"""Networks that were captured and folded a moment ago are not captured again.

A run folds one network for calibration, for every kind of file and for its reference. What decides
the result is all in the module, so its key is a digest of everything in it.
"""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgeticket.pipeline.graph.graph import Graph

KEPT = 4  # graphs
LARGEST = 2**26  # numbers of all graphs that are kept: 256 MiB

_graphs: OrderedDict[object, Graph] = OrderedDict()


def remembered(module: nn.Module, takes: object, make: Callable[[], Graph]) -> Graph:
    """What ``make`` gives, or gave for an equal module and ``takes``; to be read only.

    A module with something in it that has no digest, such as a function without a name, is never
    remembered.
    """
    digest = digest_of(module)
    if digest is None:
        return make()
    # Classes by identity: a file that was loaded anew may have changed.
    key = digest, tuple(type(part) for part in module.modules()), str(takes)
    if key not in _graphs:
        graph = make()
        if _numbers(graph) > LARGEST:
            return graph
        _graphs[key] = graph
        while len(_graphs) > KEPT or sum(map(_numbers, _graphs.values())) > LARGEST:
            _graphs.popitem(last=False)
    _graphs.move_to_end(key)
    return _graphs[key]


def _numbers(graph: Graph) -> int:
    return sum(constant.data.size for constant in graph.constants.values())


def digest_of(module: nn.Module, *, ignoring: Iterable[Tensor] = ()) -> str | None:
    """A digest of everything in a module; None where something in it has none.

    Args:
        ignoring: tensors of which only shape and type count, and where they are one.
    """
    sink = _Hashed()
    pickler = _Pickler(sink, protocol=5)
    pickler.ignored = {id(tensor): place for place, tensor in enumerate(ignoring)}
    try:
        pickler.dump(module)
    except Exception:  # whatever an object says that is not to be pickled
        return None
    return sink.digest.hexdigest()


class _Hashed:
    """A file that is not kept."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=20)

    def write(self, data: Any) -> int:
        """Take bytes in."""
        self.digest.update(data)
        return len(data)


class _Pickler(pickle.Pickler):
    """Tensors by their numbers: pickled, they have addresses in them."""

    ignored: Mapping[int, int]  # tensors by identity -> a number of each that stands for its own

    def persistent_id(self, obj: Any) -> Any:
        """A description that is the same for equal tensors; None for what is pickled as it is."""
        if not isinstance(obj, Tensor):
            return None
        described = type(obj).__name__, str(obj.dtype), tuple(obj.shape)
        if id(obj) in self.ignored:
            return *described, obj.stride(), obj.requires_grad, self.ignored[id(obj)]
        numbers = obj.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest = hashlib.blake2b(numbers.data, digest_size=20).hexdigest()
        return *described, digest
