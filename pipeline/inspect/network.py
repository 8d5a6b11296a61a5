"""What would happen to a network: its layers, where passes can act, which files it can become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from rich.console import Console
from torch import nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network, Takes
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.convert.qdq_insertion import is_integer
from edgeticket.pipeline.convert.targets import targets_of
from edgeticket.pipeline.graph.graph import Graph, Operator
from edgeticket.pipeline.inspect.tables import print_inspection
from edgeticket.pipeline.operators import KINDS
from edgeticket.pipeline.operators.page import int8_of, summary_of
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.prune.channels import follow_channels
from edgeticket.pipeline.prune.cost import count_by_layer
from edgeticket.pipeline.recipe import PassConfig
from edgeticket.pipeline.run.checks import checked
from edgeticket.pipeline.run.passes import PASSES
from edgeticket.pipeline.run.preflight import conversions, exports
from edgeticket.pipeline.run.time_limit import OutOfTime, time_limit

CHECK_LIMIT_S = 60.0  # of computing, for whether one kind of pass can act; a run takes its time


@dataclass(frozen=True)
class Layer:
    """One module that has parameters of its own."""

    name: str
    kind: str
    parameters: int
    macs: int


@dataclass(frozen=True)
class Verdict:
    """Whether something is possible, and what or why not."""

    possible: bool
    told: str


@dataclass(frozen=True)
class Use:
    """An operator of the exported network: how often, and how files have it."""

    kind: str
    count: int
    ort: str
    tflite: str
    int8: str


@dataclass(frozen=True)
class Integers:
    """How much of the work of the int8 files is done on integers."""

    macs: int  # of all multiply-accumulates
    int8_macs: int
    float_layers: tuple[str, ...]  # what multiplies in float32, by name


@dataclass(frozen=True)
class Staying:
    """Channels that cannot be removed, for one reason; 0 where they are not known."""

    channels: int
    layers: tuple[str, ...]
    told: str


@dataclass(frozen=True)
class Inspection:
    """All there is to say before any work."""

    name: str
    takes: Takes
    parameters: int
    macs: int
    layers: tuple[Layer, ...]
    passes: Mapping[str, Verdict]  # by method
    staying: tuple[Staying, ...]
    operators: tuple[Use, ...]
    files: Mapping[str, Verdict]  # by kind of file
    integers: Integers | None  # None: it cannot be rounded

    @property
    def usable(self) -> bool:
        """Whether an int8 file can be made of it."""
        return self.files["tflite-int8"].possible

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Why there is no file for a runtime; each reason once."""
        return tuple(dict.fromkeys(v.told for v in self.files.values() if not v.possible))

    @property
    def verdict(self) -> str:
        """One sentence: whether it becomes int8, on which runtimes, and how much of it."""
        able = [name for name, kind in INT8_BY_RUNTIME.items() if self.files[kind].possible]
        if not able:
            return f"{self.name} does not become int8"
        where = "both runtimes" if len(able) == len(INT8_BY_RUNTIME) else f"{able[0]} alone"
        share = ""
        if self.integers is not None and self.integers.macs:
            part = self.integers.int8_macs / self.integers.macs
            shown = "all" if part == 1 else f"{int(1000 * part) / 10:g} % of the"
            share = f", {shown} multiply-accumulates in int8"
        return f"{self.name} becomes int8 on {where}{share}"

    def print(self, console: Console) -> None:
        """The verdict first, then tables."""
        print_inspection(self, console)


def inspect_network(network: Network, *, progress: Progress = QUIET) -> Inspection:
    """Try everything on ``network``, whose weights do not matter.

    Raises:
        InputError: it does not run.
    """
    module = network.module(shared=True)
    try:
        (parameters, macs), by_layer = count_by_layer(module, network.input_shapes)
    except Exception as error:  # whatever a network that somebody wrote raises
        told = " ".join(str(error).split()) or type(error).__name__
        shape = " and ".join("x".join(map(str, each)) for each in network.input_shapes)
        raise InputError(
            f"{network.arch} does not run on an input of {shape}: {told}; --size says what it takes"
        ) from None
    passes: dict[str, Verdict] = {}
    tried: dict[object, Verdict] = {}
    checks = {method: entry.check for method, entry in PASSES.items()}
    with progress.task(f"inspect {network.arch}", 2 + len(set(checks.values()))) as advance:
        for method, check in checks.items():
            if check not in tried:
                advance(0, f"where {method} can act")
                tried[check] = _tried(check, network)
                advance(1, "")
            passes[method] = tried[check]
        advance(0, "exporting")
        try:
            sources = exports(network)
            advance(1, "converting")
            reasons = conversions(network, sources=sources)
            files = {kind: Verdict(told is None, told or "") for kind, told in reasons.items()}
            operators, integers = _operators(sources["fp32"]), _integers(sources["int8"])
        except InputError as error:
            files = {
                kind: Verdict(False, str(error))
                for kind in (*targets_of("fp32"), *targets_of("int8"))
            }
            operators, integers = (), None
        advance(1, "")
    return Inspection(
        name=network.arch,
        takes=network.takes or network.input_shape,
        parameters=parameters,
        macs=macs,
        layers=tuple(_layers(module, by_layer)),
        passes=passes,
        staying=_staying(network, module),
        operators=operators,
        files=files,
        integers=integers,
    )


def _tried(check: Callable[[Network, PassConfig | None], str], network: Network) -> Verdict:
    try:
        return Verdict(True, checked(check, network, None, limit_s=CHECK_LIMIT_S))
    except InputError as error:
        return Verdict(False, str(error))


def _staying(network: Network, module: nn.Module) -> tuple[Staying, ...]:
    """Why channels stay; nothing where that was not found out, which their passes say."""
    try:
        with time_limit(CHECK_LIMIT_S):
            found = follow_channels(module, network.input_shapes).obstacles
    except (Exception, OutOfTime):  # whatever a network that somebody wrote raises
        return ()
    return tuple(Staying(o.channels, o.layers, o.reason) for o in found)


def _layers(module: nn.Module, macs: Mapping[str, int]) -> list[Layer]:
    return [
        Layer(name or "(itself)", type(layer).__name__, own, macs.get(name, 0))
        for name, layer in module.named_modules()
        if (own := sum(p.numel() for p in layer.parameters(recurse=False)))
    ]


def _operators(source: Graph | InputError) -> tuple[Use, ...]:
    """Of the float network as the converter reads it; none where it cannot."""
    try:
        if isinstance(source, InputError):
            return ()
        graph = prepare(source)
    except InputError:
        return ()
    uses = []
    for name, times in Counter(op.kind for op in graph.operators).most_common():
        kind = KINDS[name]
        plain = kind.onnx.__name__ == "plain"
        ort = "as it is" if plain else summary_of(kind.onnx)
        tflite = summary_of(kind.tflite) if kind.tflite else "none"
        uses.append(Use(name, times, ort, tflite, int8_of(kind)))
    return tuple(uses)


def _integers(source: Graph | InputError) -> Integers | None:
    try:
        if isinstance(source, InputError):
            return None
        graph = prepare(replace(source, verbatim=True))
    except InputError:
        return None
    total = integer = 0
    floating = []
    for operator in graph.operators:
        macs = _macs(operator, graph)
        total += macs
        if macs and is_integer(operator, graph.values, graph.constants):
            integer += macs
        elif macs:
            floating.append(operator.name)
    return Integers(total, integer, tuple(floating))


def _macs(operator: Operator, graph: Graph) -> int:
    shapes = [
        graph.constants[name].data.shape if name in graph.constants else graph.values[name].shape
        for name in operator.inputs
        if name
    ]
    output = graph.values[operator.output].shape
    return KINDS[operator.kind].macs(operator.attributes, output, *shapes)


INT8_BY_RUNTIME = {"ONNX Runtime": "onnx-int8-u8", "LiteRT": "tflite-int8"}
