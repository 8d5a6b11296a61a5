"""A diff for people: one table for each artifact, and what it says in a sentence."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeticket.device_runner.manifest import CLASSES, NOTHING
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.diff.result import ArtifactDiff, Diff, Layer, Pair

_SHOWN = 5


def print_diff(diff: Diff, console: Console) -> None:
    """Print everything; a pipe gets the same lines without colour."""
    for artifact in diff.artifacts:
        console.print(_table(artifact, diff))
        for line in _remarks(artifact, diff):
            console.print(f"  {line}", highlight=False, soft_wrap=True)
        console.print()
    for pair in diff.pairs:
        console.print(_pair_sentence(pair), highlight=False, soft_wrap=True)
    for artifact in diff.artifacts:
        style = "bold red" if artifact.first_over else "bold green"
        console.print(_verdict(artifact, diff), style=style, highlight=False, soft_wrap=True)


def _table(artifact: ArtifactDiff, diff: Diff) -> Table:
    unit = "LSB" if any(layer.codes for layer in artifact.layers) else "relative"
    table = Table(
        title=f"{artifact.artifact}, {artifact.runtime} on {artifact.machine}\n"
        f"own: against {artifact.reference}, from the runtime's own inputs; "
        f"running: against {artifact.running_against}; {unit}, {diff.samples} samples",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("layer", overflow="fold")
    headings = ("own\nmax", "\nequal %", "running\nmax", "\nmean", "\nequal %", "\ncosine")
    for heading in (*headings, "clipped\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    first = artifact.first_over
    for layer in artifact.layers:
        style = "bold red" if layer is first else "red" if layer.over else None
        table.add_row(Text(_mark(layer, first) + layer.name), *_cells(layer), style=style)
    return table


def _mark(layer: Layer, first: Layer | None) -> str:
    return "▶ " if layer is first else "• " if layer.over else "  "


def _cells(layer: Layer) -> tuple[str, ...]:
    own, running = layer.own, layer.running
    if layer.codes:
        far = f"{own.max:.0f}", f"{running.max:.0f}", f"{running.mean:.4f}"
    else:
        far = f"{own.relative:.0e}", f"{running.relative:.0e}", f"{running.mean:.0e}"
    clipped = "" if layer.clipped is None else f"{100 * layer.clipped:.2f}"
    equal = _percent(own.equal), _percent(running.equal)
    return (far[0], equal[0], far[1], far[2], equal[1], f"{running.cosine:.5f}", clipped)


def _percent(share: float) -> str:
    """Rounded down to thousandths, so that only what is exactly all reads 100."""
    return "100" if share == 1 else f"{int(share * 100_000) / 1000:.3f}"


def _remarks(artifact: ArtifactDiff, diff: Diff) -> list[str]:
    lines = []
    if not isinstance(artifact.differing, Unavailable):
        lines.append(_answers_sentence(artifact, artifact.differing, diff.samples))
    if artifact.changed_samples:
        lines.append(
            f"Tapping changes the outputs of {artifact.changed_samples} samples, by "
            f"{artifact.output_difference:.2g} at most: untapped, the runtime computes otherwise."
        )
    if artifact.changed_kernels:
        changes = ", ".join(f"{k} {a} → {b}" for k, (a, b) in artifact.changed_kernels.items())
        lines.append(f"Tapping changes the runtime's kernels: {changes}.")
    if artifact.saturating:
        shares = ", ".join(f"{name} {share:.2%}" for name, share in artifact.saturating.items())
        lines.append(f"On x86 without VNNI these would saturate: {shares} of their numbers.")
    elif artifact.may_saturate:
        lines.append(
            "On x86 without VNNI nothing would saturate on these samples; the weights of "
            f"{len(artifact.may_saturate)} layers would allow it."
        )
    if artifact.only_here:
        lines.append(f"Not in the reference: {_some(artifact.only_here)}.")
    if artifact.only_there:
        lines.append(f"No such value in the file: {_some(artifact.only_there)}.")
    return lines + [
        f"The scale of {layer.value} is {layer.scales[1]:.6g} in the file and "
        f"{layer.scales[0]:.6g} in the reference."
        for layer in artifact.layers
        if layer.scales is not None
    ]


def _answers_sentence(artifact: ArtifactDiff, differing: tuple[int, ...], samples: int) -> str:
    share = _percent((samples - len(differing)) / samples)
    others = f"; not for {_some(tuple(map(str, differing)))}" if differing else ""
    what = {
        CLASSES: "The class is that of",
        NOTHING: "The outputs are close to those of",
    }.get(artifact.task, f"By the task {artifact.task} the answer is that of")
    return f"{what} {artifact.reference} for {share} % of {samples} samples{others}."


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _pair_sentence(pair: Pair) -> str:
    between = f"{pair.one} and {pair.other}"
    if pair.first is None:
        return f"{between}: equal codes in all {pair.values} layers."
    return (
        f"{between}: codes first differ in {pair.first}; of the outputs "
        f"{_percent(pair.output.equal)} % are equal, the others within {pair.output.max:.0f} LSB."
    )


def _verdict(artifact: ArtifactDiff, diff: Diff) -> str:
    first = artifact.first_over
    if first is None:
        worst = max(artifact.layers, key=lambda layer: (layer.own.max, -layer.own.equal))
        far = f"{worst.own.max:.0f} LSB" if worst.codes else f"{worst.own.relative:.1e}"
        return (
            f"{artifact.artifact}: every layer keeps to its bound; the largest own difference "
            f"is {far}" + (f" ({worst.name})." if worst.own.max else ".")
        )
    own, bounds = first.own, diff.bounds
    if first.codes:
        found = f"{own.max:.0f} LSB at most and {_percent(own.equal)} % equal"
        allowed = f"{bounds.lsb:g} LSB and {bounds.exact:.0%}"
    else:
        found, allowed = f"{own.relative:.1e}", f"{bounds.relative:.0e}"
    return (
        f"{artifact.artifact}: {first.name} is the first layer over its bound: its output "
        f"{first.value}, from its own inputs, differs by {found} (allowed: {allowed})."
    )
