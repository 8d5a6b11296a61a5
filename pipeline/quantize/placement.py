"""Where a folded graph is quantised: which step's output owns the scale of each tensor."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import fx

from device_runner.errors import InputError
from pipeline.quantize.steps import ADDITIONS, AVERAGES, CLAMPS, LAYERS, REARRANGEMENTS, kind


@dataclass(frozen=True)
class Placement:
    """Which tensors and layers of a folded graph are rounded.

    A layer that is kept in float32 reads real numbers and gives real numbers; what other steps
    give to it or take from it is rounded on its way.
    """

    owners: dict[fx.Node, fx.Node]  # see `scale_owners`
    rounded: frozenset[str]  # owners whose tensors are rounded
    int8: tuple[str, ...]  # layers, in order
    fp32: tuple[str, ...]
    additions: list[set[str]]  # owners of the scales that meet in each addition


def place(folded: fx.GraphModule, *, keep_fp32: Sequence[str] = ()) -> Placement:
    """Decide what is rounded.

    Args:
        folded: the graph (`fold_bn`).
        keep_fp32: layers, as the graph or the network names them (``layer1.0.conv1``).

    Raises:
        InputError: a step that cannot be quantised, or a layer that is not there, by name.
    """
    owners = scale_owners(folded)
    layers = layer_names(folded)
    kept = {name.replace(".", "_") for name in keep_fp32}
    for name in sorted(kept - set(layers)):
        near = difflib.get_close_matches(name, layers, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"keep_fp32: no layer {name!r} ({hint}known: {', '.join(layers)})")
    fp32 = tuple(name for name in layers if name in kept)
    return Placement(
        owners,
        frozenset(owner.name for owner in owners.values()) - _real(owners, fp32),
        tuple(name for name in layers if name not in kept),
        fp32,
        additions(folded, owners),
    )


def _real(owners: dict[fx.Node, fx.Node], fp32: Collection[str]) -> set[str]:
    """The owners of tensors that only layers in ``fp32``, input and output write and read."""
    real = {owner.name for owner in owners.values()}
    for node, owner in owners.items():
        sources = {owners[source] for source in node.all_input_nodes}
        passes_on = owner in sources or node.op == "placeholder"
        if not passes_on and node.name not in fp32:
            real -= {tensor.name for tensor in (owner, *sources)}  # int8 kernels use codes only
    return real if fp32 else set()


def scale_owners(folded: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Node -> the node whose output's scale its own output has.

    A layer, addition or average owns its scale; where a ReLU or the like is all that reads it,
    the ReLU owns it instead, because both run as one. Max pooling, reshaping, and a ReLU that
    shares its input with another step keep the scale of their input.

    Raises:
        InputError: a step that cannot be quantised, by name.
    """
    owners: dict[fx.Node, fx.Node] = {}
    for node in folded.graph.nodes:
        if node.op == "output":
            continue
        what = node.op if node.op == "placeholder" else kind(folded.get_submodule(node.name))
        if what == "placeholder":
            owners[node] = node
        elif what in CLAMPS | REARRANGEMENTS:
            owners[node] = owners[node.all_input_nodes[0]]
        elif what in LAYERS | AVERAGES or (what in ADDITIONS and len(node.args) == 2):
            owners[node] = _following_clamp(folded, node) or node
        else:
            name = getattr(what, "__name__", str(what))
            raise InputError(
                f"{node.name} ({name}) cannot be quantised; known are Conv2d, Linear, addition of "
                "two tensors, average and max pooling, ReLU, ReLU6, Hardtanh and flattening"
            )
    return owners


def _following_clamp(folded: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    readers = list(node.users)
    if len(readers) != 1 or readers[0].op == "output":
        return None
    return readers[0] if kind(folded.get_submodule(readers[0].name)) in CLAMPS else None


def additions(folded: fx.GraphModule, owners: dict[fx.Node, fx.Node]) -> list[set[str]]:
    """For each addition, the owners of the scales that meet in it: two terms and the sum."""
    return [
        {owners[n].name for n in (*node.all_input_nodes, node)}
        for node in owners
        if node.op == "call_module" and kind(folded.get_submodule(node.name)) in ADDITIONS
    ]


def layer_names(folded: fx.GraphModule) -> list[str]:
    """The convolution and linear layers, in order."""
    steps = [node.name for node in folded.graph.nodes if node.op == "call_module"]
    return [name for name in steps if type(folded.get_submodule(name)) in LAYERS]
