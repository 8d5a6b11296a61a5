"""Where a folded graph is quantised: which step's output owns the scale of each tensor."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from torch import fx, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.graph.module import kind_of, tied_layers
from edgeticket.pipeline.operators import KEEPING, KINDS, Role


@dataclass(frozen=True)
class Placement:
    """Which tensors and layers of a folded graph are rounded, and which scales depend on others.

    Names are those of steps. A tensor goes by its owner (`scale_owners`).
    """

    owners: dict[fx.Node, fx.Node]
    rounded: frozenset[str]  # owners of all tensors that are rounded
    int8: tuple[str, ...]  # layers that are rounded, in order
    fp32: tuple[str, ...]  # layers that are kept in float32, in order
    integer_steps: tuple[fx.Node, ...]  # see `integer_steps`
    additions: tuple[set[str], ...]  # owners of the scales that meet in each addition
    shared: tuple[set[str], ...]  # owners that have one scale together
    tied: tuple[tuple[str, ...], ...]  # layers that share a weight, and so its scales


def place(folded: fx.GraphModule, *, keep_fp32: Sequence[str] = ()) -> Placement:
    """Decide what is rounded.

    Args:
        folded: the graph (`fold_bn`).
        keep_fp32: layers to compute in float32, as the graph or the network names them
            (``layer1.0.conv1``); a recurrent layer is all the layers that it was made into.

    Raises:
        InputError: a step that cannot be quantised, or a layer that is not there, by name.
    """
    layers = layer_names(folded)
    # Steps are named after modules; a name cannot start with a digit.
    wanted = {re.sub(r"^(?=\d)", "_", name.replace(".", "_")): name for name in keep_fp32}
    kept = {layer for step, path in wanted.items() for layer in _layers_of(folded, step, path)}
    for name in sorted(kept - set(layers)):
        near = difflib.get_close_matches(name, layers, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"keep_fp32: no layer {name!r} ({hint}known: {', '.join(layers)})")
    owners = scale_owners(folded, kept)
    return Placement(
        owners,
        frozenset(owner.name for owner in owners.values()),
        tuple(name for name in layers if name not in kept),
        tuple(name for name in layers if name in kept),
        tuple(integer_steps(folded, owners, kept)),
        tuple(additions(folded, owners, kept)),
        tuple(shared_scales(folded, owners, kept)),
        tuple(
            names
            for nodes in tied_layers(folded)
            if len(names := tuple(n.name for n in nodes if n.name not in kept)) > 1
        ),
    )


def _layers_of(folded: fx.GraphModule, step: str, path: str) -> list[str]:
    """The layer of that name, or those that the module of that path was made into."""
    nodes = _steps(folded, Role.LAYER)
    if any(node.name == step for node in nodes):
        return [step]
    of_module = [node.name for node in nodes if node.meta.get("module") == path]
    return of_module or [n.name for n in nodes if _is_called(n, path)] or [step]


def _is_called(node: fx.Node, name: str) -> bool:
    """Whether a node has that name in the ONNX file that it was read from."""
    source = str(node.meta.get("source", ""))
    return bool(source) and name in (source, re.sub(r"\W+", "_", source).strip("_"))


def scale_owners(folded: fx.GraphModule, keep_fp32: Collection[str] = ()) -> dict[fx.Node, fx.Node]:
    """Node of a rounded tensor -> the node whose output's scale its own output has.

    A layer, addition or average owns its scale; where a ReLU or the like is all that reads it,
    the ReLU owns it instead, because both run as one. Max pooling, reshaping, and a ReLU that
    shares its input with another step keep the scale of their input; so does concatenation,
    whose inputs then all have one (`shared_scales`).

    Normalisation, softmax and the like, and layers in ``keep_fp32``, are computed in float32, and
    so is what works on their results, up to the next layer: the tensor that the layer reads is
    rounded. What lies between has no owner.

    Raises:
        InputError: a step that cannot be quantised, by name.
    """
    owners: dict[fx.Node, fx.Node] = {}
    real: set[fx.Node] = set()  # tensors that are not rounded
    read_by_layers = _read_by_layers(folded, keep_fp32)
    graph: Graph = folded.meta["graph"]
    for node in folded.graph.nodes:
        if node.op == "placeholder":
            if graph.values[node.name].dtype == "float32":
                owners[node] = node
            else:
                real.add(node)
        elif node.op == "get_attr":
            real.add(node)
        if node.op != "call_module":
            continue
        what = Role.REAL if node.name in keep_fp32 else role(folded.get_submodule(node.name))
        tensors = [n for n in node.all_input_nodes if n in owners]
        in_real = what is Role.REAL or bool(real.intersection(node.all_input_nodes))
        if in_real and node not in read_by_layers:
            real.add(node)
        elif what in KEEPING and not in_real:
            owners[node] = owners[tensors[0]]
        else:
            owners[node] = _following_clamp(folded, node) or node
    return owners


def _read_by_layers(folded: fx.GraphModule, keep_fp32: Collection[str]) -> set[fx.Node]:
    """The tensors that a layer reads, as they are or rearranged."""
    found: set[fx.Node] = set()
    for node in reversed(folded.graph.nodes):
        if node.op == "call_module":
            what = role(folded.get_submodule(node.name))
            is_int8 = what is Role.LAYER and node.name not in keep_fp32
            if is_int8 or (node in found and what in {Role.CLAMP, Role.SAME}):
                found.add(node.all_input_nodes[0])
    return found


def integer_steps(
    folded: fx.GraphModule, owners: dict[fx.Node, fx.Node], keep_fp32: Collection[str] = ()
) -> list[fx.Node]:
    """The steps that work on codes: from rounded tensors to a rounded one, not in float32."""
    return [
        node
        for node in owners
        if node.op == "call_module"
        and node.name not in keep_fp32
        and role(folded.get_submodule(node.name)) is not Role.REAL
        and all(n in owners for n in node.all_input_nodes)
    ]


def _following_clamp(folded: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    readers = list(node.users)
    if len(readers) != 1 or readers[0].op == "output":
        return None
    return readers[0] if role(folded.get_submodule(readers[0].name)) is Role.CLAMP else None


def additions(
    folded: fx.GraphModule, owners: dict[fx.Node, fx.Node], keep_fp32: Collection[str] = ()
) -> list[set[str]]:
    """For each addition, the owners of the scales that meet in it: two terms and the sum."""
    return [
        {owners[n].name for n in (*node.all_input_nodes, node)}
        for node in integer_steps(folded, owners, keep_fp32)
        if role(folded.get_submodule(node.name)) is Role.SUM
    ]


def shared_scales(
    folded: fx.GraphModule, owners: dict[fx.Node, fx.Node], keep_fp32: Collection[str] = ()
) -> list[set[str]]:
    """Sets of owners that have one scale together.

    Numbers of theirs are joined; or they are the states of a recurrent layer, whose steps then
    have one weight and one bias in int8 too.
    """
    joined = [
        {owners[n].name for n in node.all_input_nodes}
        for node in integer_steps(folded, owners, keep_fp32)
        if role(folded.get_submodule(node.name)) is Role.JOIN
    ]
    return connected([*joined, *_states(folded, owners, keep_fp32)])


def _states(
    folded: fx.GraphModule, owners: dict[fx.Node, fx.Node], keep_fp32: Collection[str]
) -> list[set[str]]:
    """What layers of one weight read that follows from the first of them."""
    found = []
    for first, *others in tied_layers(folded):
        behind = {first}
        for node in folded.graph.nodes:
            if not behind.isdisjoint(node.all_input_nodes):
                behind.add(node)
        sources = [
            node.all_input_nodes[0]
            for node in others
            if node in behind and node.name not in keep_fp32
        ]
        found.append({owners[n].name for n in sources if n in owners})
    return [names for names in found if len(names) > 1]


def connected(sets: Iterable[set[str]]) -> list[set[str]]:
    """Unite all sets that share a name, directly or through others."""
    groups: dict[str, set[str]] = {}
    for names in sets:
        touching = {id(groups[n]): groups[n] for n in names if n in groups}
        merged = max(touching.values(), key=len, default=set())
        for group in [*touching.values(), names]:
            if group is not merged:
                merged |= group
                groups |= dict.fromkeys(group, merged)
        groups |= dict.fromkeys(names, merged)
    return list({id(group): group for group in groups.values()}.values())


def layer_names(folded: fx.GraphModule) -> list[str]:
    """The convolution and linear layers, in order."""
    return [node.name for node in _steps(folded, Role.LAYER)]


def product_names(folded: fx.GraphModule) -> list[str]:
    """The products of two tensors, in order."""
    return [node.name for node in _steps(folded, Role.PRODUCT)]


def role(step: nn.Module) -> Role:
    """How a step of a graph is rounded."""
    return KINDS[kind_of(step)].role


def _steps(folded: fx.GraphModule, wanted: Role) -> list[fx.Node]:
    nodes = [node for node in folded.graph.nodes if node.op == "call_module"]
    return [node for node in nodes if role(folded.get_submodule(node.name)) is wanted]
