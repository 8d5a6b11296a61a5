"""What would happen to a network: its layers, where passes can act, which files it can become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.convert.operators import KINDS
from edgeticket.pipeline.convert.operators_page import int8_of, summary_of
from edgeticket.pipeline.convert.read import read_graph
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export_onnx
from edgeticket.pipeline.prune.cost import count, layer_macs
from edgeticket.pipeline.quantize import fold_bn
from edgeticket.pipeline.run.checks import example_inputs
from edgeticket.pipeline.run.passes import PASSES
from edgeticket.pipeline.run.preflight import conversions

UNKNOWN = "not known to the converter"


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
class Inspection:
    """All there is to say before any work."""

    name: str
    takes: tuple[int, ...]
    parameters: int
    macs: int
    layers: tuple[Layer, ...]
    passes: Mapping[str, Verdict]  # by method
    operators: tuple[Use, ...]
    files: Mapping[str, Verdict]  # by kind of file

    @property
    def usable(self) -> bool:
        """Whether an int8 file can be made of it."""
        return self.files["tflite-int8"].possible

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Why there is no file for a runtime; each reason once."""
        return tuple(dict.fromkeys(v.told for v in self.files.values() if not v.possible))

    def print(self, console: Console) -> None:
        """Tables on a terminal."""
        shape = "x".join(map(str, self.takes))
        console.print(
            f"{self.name}: takes {shape}, {self.parameters:,} parameters, {self.macs:,} "
            "multiply-accumulates",
            highlight=False,
            soft_wrap=True,
        )
        self._print_layers(console)
        table = Table("pass", "", "", box=SIMPLE_HEAD, title="passes", title_justify="left")
        for methods, verdict in _alike(self.passes).items():
            table.add_row(methods, "yes" if verdict.possible else "no", verdict.told)
        console.print(table)
        if self.operators:
            table = Table(
                *("operator", "count", "ONNX Runtime fp32", "LiteRT fp32", "int8, both"),
                box=SIMPLE_HEAD,
                title="operators",
                title_justify="left",
            )
            for use in self.operators:
                table.add_row(use.kind, str(use.count), use.ort, use.tflite, use.int8)
            console.print(table)
        table = Table("file", "", "", box=SIMPLE_HEAD, title="files", title_justify="left")
        for kind, verdict in self.files.items():
            table.add_row(kind, "yes" if verdict.possible else "no", verdict.told)
        console.print(table)

    def _print_layers(self, console: Console) -> None:
        table = Table(
            *("layer", "", "parameters", "MACs"),
            box=SIMPLE_HEAD,
            title=f"{len(self.layers)} layers",
            title_justify="left",
        )
        for layer in self.layers:
            table.add_row(layer.name, layer.kind, f"{layer.parameters:,}", f"{layer.macs:,}")
        console.print(table)


def inspect_network(network: Network) -> Inspection:
    """Try everything on ``network``, whose weights do not matter.

    Raises:
        InputError: it does not run.
    """
    module = network.module()
    try:
        parameters, macs = count(module, network.input_shape)
        by_layer = layer_macs(module, network.input_shape)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        told = " ".join(str(error).split())
        shape = "x".join(map(str, network.input_shape))
        raise InputError(f"{network.arch} does not run on an input of {shape}: {told}") from None
    passes: dict[str, Verdict] = {}
    tried: dict[object, Verdict] = {}
    for method, entry in PASSES.items():
        check = entry.check
        if check not in tried:
            try:
                tried[check] = Verdict(True, check(network, None))
            except InputError as error:
                tried[check] = Verdict(False, str(error))
        passes[method] = tried[check]
    try:
        found = conversions(network)
        files = {kind: Verdict(told is None, told or "") for kind, told in found.items()}
        operators = _operators(network)
    except InputError as error:
        files = {kind: Verdict(False, str(error)) for kind in TARGETS}
        operators = ()
    return Inspection(
        name=network.arch,
        takes=network.input_shape,
        parameters=parameters,
        macs=macs,
        layers=tuple(_layers(module, by_layer)),
        passes=passes,
        operators=operators,
        files=files,
    )


def _layers(module: nn.Module, macs: Mapping[str, int]) -> list[Layer]:
    return [
        Layer(name or "(itself)", type(layer).__name__, own, macs.get(name, 0))
        for name, layer in module.named_modules()
        if (own := sum(p.numel() for p in layer.parameters(recurse=False)))
    ]


def _operators(network: Network) -> tuple[Use, ...]:
    """Of the float network as the converter reads it; none where it cannot."""
    try:
        graph = read_graph(export_onnx(fold_bn(network.module()), example_inputs(network)[:1]))
    except InputError:
        return ()
    uses = []
    for name, times in Counter(op.kind for op in graph.operators).most_common():
        kind = KINDS.get(name)
        if kind is None:
            uses.append(Use(name, times, "as it is", UNKNOWN, UNKNOWN))
            continue
        plain = kind.onnx.__name__ == "plain"
        ort = "as it is" if plain else summary_of(kind.onnx)
        uses.append(Use(name, times, ort, summary_of(kind.tflite), int8_of(kind)))
    return tuple(uses)


def _alike(passes: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Methods with the same verdict in one line."""
    methods: dict[Verdict, list[str]] = {}
    for method, verdict in passes.items():
        methods.setdefault(verdict, []).append(method)
    return {", ".join(names): verdict for verdict, names in methods.items()}
