"""Architectures from elsewhere: torchvision's, timm's, and functions of the user's own.

They are named ``torchvision:mobilenet_v2``, ``timm:NAME`` and ``import:package.module:function``;
``onnx:FILE`` and ``pt2:FILE`` are written down in their argument ``graph``, which whoever knows
operators builds (`WRITTEN`). Arguments go to the function as they are; weights are never fetched,
and arguments that would do so are refused.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from edgeticket.models.bounds import TooLargeError
from edgeticket.models.copies import vacant_copy
from edgeticket.models.imported import find_function, source_digest, user_folders_first
from edgeticket.models.torchvision_cure import import_torchvision

Args = Mapping[str, bool | int | float | str]

MOST_SHOWN, MOST_LISTED = 400, 700  # letters in a sentence

# Arguments by which a library opens a file of weights, or fetches one; all of theirs begin so.
_BRINGS_WEIGHTS = re.compile(r"(weights|pretrained|checkpoint|cache)(_|$)")


def is_file(arch: str) -> bool:
    """Whether ``arch`` is a network that a file has whole."""
    return arch.partition(":")[0] in FILES


def is_own(arch: str) -> bool:
    """Whether ``arch`` names an architecture from elsewhere."""
    return arch.partition(":")[0] in SOURCES


def build_own(arch: str, args: Args) -> nn.Module:
    """A freshly initialised module in training mode.

    Raises:
        ValueError: there is no such architecture; its function raises, or returns something else.
    """
    source, _, name = arch.partition(":")
    make = SOURCES[source](name)
    bringing = [key for key in args if source in LIBRARIES and _BRINGS_WEIGHTS.match(key)]
    if bringing:
        raise ValueError(
            f"{arch}: {bringing[0]} would bring weights, which are never fetched: leave it out, "
            "and name a file of weights, as model.weights in a recipe"
        )
    try:
        with user_folders_first():
            module = make(**args)
    except TooLargeError:
        raise
    except Exception as error:
        # PyTorch's own errors end in the stack of its C++.
        told = " ".join(str(error).partition("\nException raised from")[0].split())[:MOST_SHOWN]
        told = told or "no reason given"
        raise ValueError(f"{arch} raised {type(error).__name__}: {told}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{arch} returned a {type(module).__name__}, not a torch.nn.Module")
    tensors = module.state_dict()
    strange = [n for n, t in tensors.items() if t.is_floating_point() and t.dtype != torch.float32]
    if strange:
        raise ValueError(
            f"{arch}: {strange[0]} is {tensors[strange[0]].dtype}: return the network in float32"
        )
    if not any(p.requires_grad for p in module.parameters()):
        raise ValueError(f"{arch} returned a network without parameters that can be trained")
    return module.train()


def prototype(arch: str, args: Args) -> nn.Module:
    """A module of its own, as it was built.

    Raises:
        ValueError: as `build_own`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_own(arch, args)


def vacant(arch: str, args: Args) -> nn.Module:
    """A module of its own to put weights into: zeros, but what its state does not hold is as it
    was built.

    Raises:
        ValueError: as `build_own`.
    """
    return vacant_copy(_vacant(arch, tuple(sorted(args.items()))))


@functools.lru_cache(maxsize=8)
def _vacant(arch: str, args: tuple[tuple[str, Any], ...]) -> nn.Module:
    return vacant_copy(prototype(arch, dict(args)))


def own_version(arch: str) -> str:
    """What decides, besides name and arguments, which network ``arch`` is.

    Raises:
        ValueError: a function of the user's own cannot be imported.
    """
    source, _, name = arch.partition(":")
    if source in FILES:  # its graph, an argument, says the rest
        return str(WRITTEN["version"]()) if "version" in WRITTEN else ""
    return source_digest(name) if source == "import" else importlib.metadata.version(source)


def _of_torchvision(name: str) -> Callable[..., Any]:
    models = import_torchvision().models
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name[:64], known, n=3) or known
        shown = reprlib.repr(name)
        raise ValueError(
            f"torchvision has no model {shown} (it has {', '.join(near)})"[:MOST_LISTED]
        )
    without = {"weights": None}
    # Of networks for other tasks, which would fetch a part.
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        without["weights_backbone"] = None
    return functools.partial(models.get_model, name, **without)


def _of_timm(name: str) -> Callable[..., Any]:
    if importlib.util.find_spec("timm") is None:
        raise ValueError("models of timm need the package: pip install 'edgeticket[timm]'")
    import_torchvision()  # timm imports it, and it may need the cure
    timm = importlib.import_module("timm")
    if name not in timm.list_models():
        near = difflib.get_close_matches(name[:64], timm.list_models(), n=3)
        raise ValueError(
            f"timm has no model {reprlib.repr(name)} (near: {', '.join(near) or 'none'})"
        )
    return functools.partial(timm.create_model, name, pretrained=False)


def _of_graph(name: str) -> Callable[..., Any]:
    if "graph" not in WRITTEN:
        raise ValueError(f"{name} is a graph: import edgeticket.pipeline.graph.network to build it")
    make: Callable[..., Any] = WRITTEN["graph"]
    return make


WRITTEN: dict[str, Callable[..., Any]] = {}
"""``graph`` builds a network of its graph, ``version`` says of which version that code is.

The table of operators is in `pipeline`, which puts both in.
"""

FILES = ("onnx", "pt2")  # kinds of files that a network can be, whole
LIBRARIES = ("torchvision", "timm")  # whose functions build networks and do nothing else

SOURCES: dict[str, Callable[[str], Callable[..., Any]]] = {
    "torchvision": _of_torchvision,
    "timm": _of_timm,
    "import": find_function,
    **dict.fromkeys(FILES, _of_graph),
}
