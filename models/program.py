"""A network that is written down: a list of steps as JSON, which needs no code of anyone's.

``{"takes": [3, 32, 32], "steps": [[name, operator, [inputs], {settings}], ...], "output": name}``;
the input is called ``x``, and names are identifiers. `pipeline.onnx_import` writes such programs.

PyTorch runs a graph by writing Python, the names of settings and steps in it. So nothing gets there
that is not looked at first: names of steps are identifiers, those of settings stand in `SETTINGS`,
and settings are numbers, words, or lists of numbers.
"""

from __future__ import annotations

import json
import keyword
import math
import operator
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from edgeticket.models.bounds import TooLargeError

INPUT = "x"
MOST_STEPS = 20_000
MOST_AXES = 16

Settings = Mapping[str, Any]

_WORD = re.compile(r"[a-z_]{0,32}")


def build_program(program: str) -> nn.Module:
    """A program -> a module [N, *takes] -> the last step's output, with random weights.

    Raises:
        ValueError: it is no program; the message names the step.
    """
    graph, root = fx.Graph(), nn.Module()
    document = _document(program)
    steps, output = document.get("steps"), document.get("output")
    if not isinstance(steps, list) or not isinstance(output, str) or len(steps) > MOST_STEPS:
        raise ValueError(f"this is no program of up to {MOST_STEPS:,} steps")
    values = {INPUT: graph.placeholder(INPUT)}
    for step in steps:
        try:
            name, what, inputs, settings = step
            if not name.isidentifier() or keyword.iskeyword(name) or name in values:
                raise ValueError("its name is no identifier, or taken")
            _check_settings(what, settings)
            sources = [values[source] for source in inputs]
            if what == "constant":
                # Reserved, and written when it is in place, so that `models.bounds` can say no.
                root.register_parameter(name, nn.Parameter(torch.empty(settings["shape"])))
                nn.init.zeros_(root.get_parameter(name))
                values[name] = graph.get_attr(name)
            elif what in MODULES:
                root.add_module(name, MODULES[what](_tuples(settings)))
                values[name] = graph.call_module(name, tuple(sources))
            else:
                values[name] = FUNCTIONS[what](graph, sources, _tuples(settings))
        except TooLargeError:
            raise
        except (
            ValueError,
            KeyError,
            TypeError,
            LookupError,
            AttributeError,
            RuntimeError,
        ) as error:
            shown = reprlib.repr(step)
            raise ValueError(f"step {shown} of the program: {_line(error)}") from None
    if output not in values:
        raise ValueError(f"the program has no step {reprlib.repr(output)}, which is its output")
    graph.output(values[output])
    return fx.GraphModule(root, graph, class_name="Program")


def _document(program: str) -> dict[str, Any]:
    """
    Raises:
        ValueError: it is no JSON, or no mapping.
    """
    try:
        document = json.loads(program)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"this is no program of steps: {_line(error)}") from None
    if not isinstance(document, dict):
        raise ValueError("this is no program of steps: it is no mapping")
    return document


def _line(error: Exception) -> str:
    """One short line, whatever PyTorch said."""
    return (str(error).partition("\n")[0] or type(error).__name__)[:200]


def _check_settings(what: str, settings: Any) -> None:
    """
    Raises:
        ValueError: the step is none, or has a setting that it cannot have.
    """
    if what not in SETTINGS:
        raise ValueError(f"there is no {reprlib.repr(what)} (known: {', '.join(SETTINGS)})")
    if not isinstance(settings, dict):
        raise ValueError("its settings are no mapping")
    for key, value in settings.items():
        if key not in SETTINGS[what]:
            known = ", ".join(SETTINGS[what]) or "none"
            raise ValueError(f"it has no setting {reprlib.repr(key)} (known: {known})")
        numbers = value if isinstance(value, list) else [value]
        if isinstance(value, str) and _WORD.fullmatch(value):
            continue
        if len(numbers) > MOST_AXES or not all(map(_is_number, numbers)):
            raise ValueError(f"its {key} is {reprlib.repr(value)}: give a number or a few")
    if not 0 <= settings.get("axis", 0) <= MOST_AXES:
        raise ValueError(f"its axis is {settings['axis']}")


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) < 2**63  # a bool is one


def takes_of(program: str) -> tuple[int, ...]:
    """The shape of one input, without the batch.

    Raises:
        ValueError: it is no program, or does not say so.
    """
    takes = _document(program).get("takes")
    if not isinstance(takes, list) or not all(type(size) is int and size > 0 for size in takes):
        raise ValueError(f"the program takes {reprlib.repr(takes)}, which is no shape")
    return tuple(takes)


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

_POOL = ("kernel_size", "stride", "padding", "ceil_mode")
# What each operator may be told, in the order in which two-valued ones take it.
SETTINGS: dict[str, tuple[str, ...]] = {
    "constant": ("shape",),
    "convolution": (
        *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation"),
        *("groups", "bias"),
    ),
    "linear": ("in_features", "out_features", "bias"),
    "batch_norm": ("channels", "eps", "axes"),
    "layer_norm": ("normalized_shape", "eps", "bias"),
    "relu": (),
    "clamp": ("low", "high"),
    "hard_sigmoid": (),
    "hard_swish": (),
    "gelu": ("approximate",),
    "softmax": ("dim",),
    "max_pool": _POOL,
    "average_pool": (*_POOL, "count_include_pad"),
    "global_average_pool": (),
    "add": ("number",),
    "multiply": ("number",),
    "matrix_product": (),
    "mean": ("dim", "keepdim"),
    "pad": ("pad",),
    "permute": ("dims",),
    "reshape": ("rest",),
    "repeat": ("rest",),
    "join": ("dim",),
    "cut": ("axis", "start", "stop"),
    "pick": ("axis", "index"),
}
