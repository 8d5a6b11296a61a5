"""What `inspect` says of a network, for people: the verdict, what is in the way, then tables.

Nothing is cut: cells are folded, so that 80 columns are enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeticket.pipeline.graph.batches import shapes_of
from edgeticket.pipeline.text import plain

if TYPE_CHECKING:
    from edgeticket.pipeline.inspect.network import Inspection, Verdict

SHOWN = 6  # layers that a line names


def print_inspection(found: Inspection, console: Console) -> None:
    """Print everything; a pipe gets the same lines without colour."""
    style = "bold green" if found.files["tflite-int8"].possible else "bold red"
    _line(console, found.verdict, style=style)
    shape = " and ".join("x".join(map(str, each)) for each in shapes_of(found.takes))
    _line(
        console,
        f"takes {shape}; {found.parameters:,} parameters, {found.macs:,} multiply-accumulates",
    )
    for sentence in obstacles(found):
        _line(console, f"in the way: {sentence}")
    table = folded("pass", "", "", title="passes")
    for methods, verdict in _alike(found.passes).items():
        told = "in the way, see above" if verdict.told in found.obstacles else verdict.told
        add(table, methods, "yes" if verdict.possible else "no", told)
    console.print(table)
    if found.staying:
        table = folded("channels", "of", "why", title="channels that stay")
        for staying in found.staying:
            more = f" and {len(staying.layers) - SHOWN} more" * (len(staying.layers) > SHOWN)
            layers = ", ".join(staying.layers[:SHOWN]) + more
            add(table, f"{staying.channels:,}" if staying.channels else "", layers, staying.told)
        console.print(table)
    if found.operators:
        table = folded("operator", "LiteRT; ONNX Runtime", "int8, both", title="operators")
        for use in found.operators:
            written = use.tflite if use.ort == "as it is" else f"{use.tflite}; ORT: {use.ort}"
            add(table, f"{use.count} {use.kind}", written, use.int8)
        console.print(table)
    table = folded("layer", "", "parameters", "MACs", title=f"{len(found.layers)} layers")
    for layer in found.layers:
        add(table, layer.name, layer.kind, f"{layer.parameters:,}", f"{layer.macs:,}")
    console.print(table)
    table = folded("file", "", title="files")
    for kind, verdict in found.files.items():
        add(table, kind, "yes" if verdict.possible else "no: in the way, see above")
    console.print(table)


def obstacles(found: Inspection) -> list[str]:
    """Each thing in the way once, with the files or layers that it concerns."""
    kinds: dict[str, list[str]] = {}
    for kind, verdict in found.files.items():
        if not verdict.possible:
            kinds.setdefault(verdict.told, []).append(kind)
    sentences = [f"{told} ({', '.join(names)})" for told, names in kinds.items()]
    slow = found.integers.float_layers if found.integers is not None else ()
    if slow:
        more = f" and {len(slow) - SHOWN} more" * (len(slow) > SHOWN)
        sentences.append(
            f"{len(slow)} layers are computed in float32 between codes: "
            f"{', '.join(slow[:SHOWN])}{more}"
        )
    unknown = [f"{use.count} {use.kind}" for use in found.operators if use.int8.startswith("not ")]
    if unknown:
        sentences.append(f"operators that the converter does not know: {', '.join(unknown)}")
    return sentences


def folded(*headings: str, title: str) -> Table:
    """A table that folds what is too long for a cell, and cuts nothing."""
    table = Table(box=SIMPLE_HEAD, title=Text(plain(title)), title_justify="left", padding=(0, 1))
    for heading in headings:
        right = heading in ("parameters", "MACs", "count", "channels")
        table.add_column(Text(heading), overflow="fold", justify="right" if right else "left")
    return table


def add(table: Table, *cells: str) -> None:
    """A row of cells that are text, whatever is in them."""
    table.add_row(*(Text(plain(cell)) for cell in cells))


def _line(console: Console, text: str, *, style: str | None = None) -> None:
    console.print(Text(plain(text), style=style or ""))


def _alike(passes: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Methods with the same verdict in one line."""
    methods: dict[Verdict, list[str]] = {}
    for method, verdict in passes.items():
        methods.setdefault(verdict, []).append(method)
    return {", ".join(names): verdict for verdict, names in methods.items()}
