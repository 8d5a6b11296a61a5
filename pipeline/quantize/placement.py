"""Where a folded graph is quantised: which step's output owns the scale of each tensor."""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx

from device_runner.errors import InputError
from pipeline.quantize.steps import ROLES, Role, kind, role

KEEPING = frozenset({Role.CLAMP, Role.SAME, Role.JOIN})


def scale_owners(folded: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Node of a tensor -> the node whose output's scale its own output has.

    A layer, addition or average owns its scale; where a ReLU or the like is all that reads it,
    the ReLU owns it instead, because both run as one. Max pooling, reshaping, and a ReLU that
    shares its input with another step keep the scale of their input; so does concatenation,
    whose inputs then all have one (`shared_scales`).

    Raises:
        InputError: a step that cannot be quantised, by name.
    """
    owners: dict[fx.Node, fx.Node] = {}
    for node in folded.graph.nodes:
        if node.op == "output":
            continue
        if node.op == "placeholder":
            owners[node] = node
            continue
        step = folded.get_submodule(node.name)
        what = role(step)
        tensors = [n for n in node.all_input_nodes if n in owners]
        if what is Role.SIZE or not tensors:
            continue
        if what is None or (what in {Role.SUM, Role.PRODUCT} and len(tensors) != 2):
            name = getattr(kind(step), "__name__", str(kind(step)))
            known = ", ".join(sorted({what.__name__ for what in ROLES}))
            raise InputError(f"{node.name} ({name}) cannot be quantised; known are {known}")
        if what in KEEPING:
            owners[node] = owners[tensors[0]]
        else:
            owners[node] = _following_clamp(folded, node) or node
    return owners


def _following_clamp(folded: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    readers = list(node.users)
    if len(readers) != 1 or readers[0].op == "output":
        return None
    return readers[0] if role(folded.get_submodule(readers[0].name)) is Role.CLAMP else None


def additions(folded: fx.GraphModule, owners: dict[fx.Node, fx.Node]) -> list[set[str]]:
    """For each addition, the owners of the scales that meet in it: two terms and the sum."""
    return [
        {owners[n].name for n in (*node.all_input_nodes, node)} for node in _steps(folded, Role.SUM)
    ]


def shared_scales(folded: fx.GraphModule, owners: dict[fx.Node, fx.Node]) -> list[set[str]]:
    """Sets of owners that have one scale together, because their numbers are joined."""
    joined = [{owners[n].name for n in node.all_input_nodes} for node in _steps(folded, Role.JOIN)]
    return connected(joined)


def connected(sets: Iterable[set[str]]) -> list[set[str]]:
    """Unite all sets that share a name, directly or through others."""
    united: list[set[str]] = []
    for names in sets:
        touching = [group for group in united if group & names]
        united = [group for group in united if not group & names]
        united.append(names.union(*touching))
    return united


def layer_names(folded: fx.GraphModule) -> list[str]:
    """The convolution and linear layers, in order."""
    return [node.name for node in _steps(folded, Role.LAYER)]


def product_names(folded: fx.GraphModule) -> list[str]:
    """The products of two tensors, in order."""
    return [node.name for node in _steps(folded, Role.PRODUCT)]


def unit_names(folded: fx.GraphModule) -> list[str]:
    """The steps whose output is in 0..1 whatever comes in, in order."""
    return [node.name for node in _steps(folded, Role.UNIT)]


def _steps(folded: fx.GraphModule, wanted: Role) -> list[fx.Node]:
    nodes = [node for node in folded.graph.nodes if node.op == "call_module"]
    return [node for node in nodes if role(folded.get_submodule(node.name)) is wanted]
