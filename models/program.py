"""A network that is written down: a list of steps as JSON, which needs no code of anyone's.

``{"takes": [3, 32, 32], "steps": [[name, operator, [inputs], {settings}], ...], "output": name}``;
the input is called ``x``, and names are identifiers. `pipeline.onnx_import` writes such programs.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

INPUT = "x"

Settings = Mapping[str, Any]


def build_program(program: str) -> nn.Module:
    """A program -> a module [N, *takes] -> the last step's output, with random weights.

    Raises:
        ValueError: it is no program; the message names the step.
    """
    graph, root = fx.Graph(), nn.Module()
    try:
        document = json.loads(program)
        steps, output = document["steps"], document["output"]
        values = {INPUT: graph.placeholder(INPUT)}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"this is no program of steps: {error!r}") from None
    for step in steps:
        try:
            name, what, inputs, settings = step
            if not name.isidentifier() or name in values:
                raise ValueError("its name is no identifier, or taken")
            sources = [values[source] for source in inputs]
            if what == "constant":
                root.register_parameter(name, nn.Parameter(torch.zeros(settings["shape"])))
                values[name] = graph.get_attr(name)
            elif what in MODULES:
                root.add_module(name, MODULES[what](_tuples(settings)))
                values[name] = graph.call_module(name, tuple(sources))
            else:
                values[name] = FUNCTIONS[what](graph, sources, _tuples(settings))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"step {step!r} of the program: {error!r}") from None
    if output not in values:
        raise ValueError(f"the program has no step {output!r}, which is its output")
    graph.output(values[output])
    return fx.GraphModule(root, graph, class_name="Program")


def takes_of(program: str) -> tuple[int, ...]:
    """The shape of one input, without the batch."""
    return tuple(json.loads(program)["takes"])


def _tuples(settings: Settings) -> dict[str, Any]:
    """JSON has lists where PyTorch wants tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


def _convolution(settings: Settings) -> nn.Module:
    return (nn.Conv1d if len(settings["kernel_size"]) == 1 else nn.Conv2d)(**settings)


def _batch_norm(settings: Settings) -> nn.Module:
    norms = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    return norms[settings["axes"]](settings["channels"], eps=settings["eps"])


def _two(function: Callable[..., Any]) -> Callable[[fx.Graph, list[fx.Node], Settings], fx.Node]:
    """Of two values, or of one and ``number``."""

    def append(graph: fx.Graph, sources: list[fx.Node], settings: Settings) -> fx.Node:
        return graph.call_function(function, (*sources, *settings.values()))

    return append


def _call(function: Callable[..., Any]) -> Callable[[fx.Graph, list[fx.Node], Settings], fx.Node]:
    """Of one value, with the settings as keywords."""

    def append(graph: fx.Graph, sources: list[fx.Node], settings: Settings) -> fx.Node:
        return graph.call_function(function, tuple(sources), dict(settings))

    return append


def _join(graph: fx.Graph, sources: list[fx.Node], settings: Settings) -> fx.Node:
    return graph.call_function(torch.cat, (sources, settings["dim"]))


def _repeat(graph: fx.Graph, sources: list[fx.Node], settings: Settings) -> fx.Node:
    """A constant [1, ...] once for each example of the other value."""
    constant, like = sources
    examples = graph.call_method("size", (like, 0))
    return graph.call_method("expand", (constant, examples, *settings["rest"]))


def _reshape(graph: fx.Graph, sources: list[fx.Node], settings: Settings) -> fx.Node:
    return graph.call_function(torch.reshape, (*sources, (-1, *settings["rest"])))


def _cut(graph: fx.Graph, sources: list[fx.Node], settings: Settings) -> fx.Node:
    """From ``start`` to ``stop`` along ``axis``."""
    index = (slice(None),) * settings["axis"] + (slice(settings["start"], settings["stop"]),)
    return graph.call_function(operator.getitem, (sources[0], index))


def _pick(graph: fx.Graph, sources: list[fx.Node], settings: Settings) -> fx.Node:
    """What is at ``index`` of ``axis``, which is lost."""
    index = (slice(None),) * settings["axis"] + (settings["index"],)
    return graph.call_function(operator.getitem, (sources[0], index))


MODULES: dict[str, Callable[[Settings], nn.Module]] = {
    "convolution": _convolution,
    "linear": lambda s: nn.Linear(**s),
    "batch_norm": _batch_norm,
    "layer_norm": lambda s: nn.LayerNorm(**s),
    "relu": lambda s: nn.ReLU(),
    "clamp": lambda s: (
        nn.ReLU6()
        if (s["low"], s["high"]) == (0, 6)
        else nn.Hardtanh(min_val=s["low"], max_val=s["high"])
    ),
    "hard_sigmoid": lambda s: nn.Hardsigmoid(),
    "hard_swish": lambda s: nn.Hardswish(),
    "gelu": lambda s: nn.GELU(**s),
    "softmax": lambda s: nn.Softmax(**s),
    "max_pool": lambda s: nn.MaxPool2d(**s),
    "average_pool": lambda s: nn.AvgPool2d(**s),
    "global_average_pool": lambda s: nn.AdaptiveAvgPool2d(1),
}
FUNCTIONS: dict[str, Callable[[fx.Graph, list[fx.Node], Settings], fx.Node]] = {
    "add": _two(operator.add),
    "multiply": _two(operator.mul),
    "matrix_product": _two(torch.matmul),
    "mean": _call(torch.mean),
    "pad": _call(F.pad),
    "permute": _call(torch.permute),
    "reshape": _reshape,
    "repeat": _repeat,
    "join": _join,
    "cut": _cut,
    "pick": _pick,
}
