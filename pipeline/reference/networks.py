"""The torch networks behind a bundle's artifacts: kept beside it, and asked layer by layer.

A run leaves in ``reference/``, beside ``bundle/``:

    reference.json      the digest of the bundle that they belong to
    fp32-NETWORK/       for each network of the bundle: network.json, weights.safetensors
    int8/               the deployed one, with scales.json
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.strict_json import format_json, parse_json
from edgeticket.models.network import Network
from edgeticket.pipeline.diff.reference import as_list
from edgeticket.pipeline.graph.graph import Graph, Quantization
from edgeticket.pipeline.network.description import MOST_BYTES
from edgeticket.pipeline.network.file import load_network, save_network
from edgeticket.pipeline.operators import KEEPING, Role
from edgeticket.pipeline.quantize import (
    FakeQuantize,
    QuantizedLayer,
    Scales,
    fake_quantized,
    fold_bn,
)
from edgeticket.pipeline.quantize.placement import role

RECORD = "reference.json"

Array = npt.NDArray[Any]


class TorchReference:
    """A folded network, float or with fake quantisation; see `pipeline.diff.reference`.

    What it computes from given values is computed in float64. There every sum of integer products
    is exact, so a difference is the runtime's; in float32 a few sums in a million round otherwise.
    """

    def __init__(self, module: fx.GraphModule, *, title: str) -> None:
        self.title = title
        self._module, self._exact = module, _in_float64(module)
        self.quantizations: Mapping[str, Quantization] = _quantizations(module)
        self.layers: Mapping[str, str] = _layers(module)

    def run(self, x: Array | Sequence[Array], given: Mapping[str, Array]) -> dict[str, Array]:
        module, dtype = (self._exact, torch.float64) if given else (self._module, torch.float32)
        walk = _Walk(module, given, dtype)
        try:
            with torch.inference_mode():
                walk.run(*(_tensor(one, dtype) for one in as_list(x)))
        except Exception as error:  # whatever its steps raise
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise InputError(f"the reference ({self.title}) cannot be run: {reason}") from error
        return walk.computed


def _tensor(array: Array, dtype: torch.dtype) -> torch.Tensor:
    """Real numbers in ``dtype``; whole ones as they are."""
    return torch.tensor(array, dtype=dtype if array.dtype.kind == "f" else torch.int64)


class _Walk(fx.Interpreter):
    """Runs a graph, keeps what each step computes, and hands on what is given instead."""

    def __init__(
        self, module: fx.GraphModule, given: Mapping[str, Array], dtype: torch.dtype
    ) -> None:
        super().__init__(module)
        self._names, self._given, self._dtype = _value_names(module), given, dtype
        self.computed: dict[str, Array] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        name = self._names.get(n)
        if name is None or not isinstance(result, torch.Tensor):
            return result
        self.computed[name] = result.numpy()
        if name not in self._given:
            return result
        return _tensor(self._given[name], self._dtype)  # a copy: it may be read-only


def _in_float64(module: fx.GraphModule) -> fx.GraphModule:
    exact = copy.deepcopy(module).double()
    for step in exact.modules():
        if isinstance(step, FakeQuantize | QuantizedLayer):
            step.scale = step.scale.float()  # torch's fake quantisation takes no other
    return exact


def _value_names(module: fx.GraphModule) -> dict[fx.Node, str]:
    """Node -> what files call its output. A step and the rounding behind it are one value."""
    names: dict[fx.Node, str] = {}
    graph: Graph = module.meta["graph"]
    for node in module.graph.nodes:
        if node.op == "placeholder":
            # As `pipeline.export` has it: an only end has a plain name.
            names[node] = "input" if len(graph.inputs) == 1 else node.name
        elif node.op == "output":
            if len(graph.outputs) > 1:
                continue
            (result,) = node.all_input_nodes
            before = {n for n, name in names.items() if name == names[result]}
            names |= dict.fromkeys(before, "output")
        else:
            names[node] = node.name
        if _rounding(module, node) is not None:
            (step,) = node.all_input_nodes
            # Only the rounded number is a value; what came before exists inside of kernels.
            names[node] = names.pop(step)
    return names


def _quantizations(module: fx.GraphModule) -> dict[str, Quantization]:
    """The scale of every value; steps that only pass codes on keep that of their input."""
    names = _value_names(module)
    found: dict[fx.Node, Quantization] = {}
    for node in module.graph.nodes:
        rounding = _rounding(module, node)
        if rounding is not None:
            scale, zero_point = float(rounding.scale), int(rounding.zero_point)
            found[node] = Quantization(np.float32(scale), zero_point)
        elif node.op == "call_module" and node.all_input_nodes[0] in found:
            passes_on = role(module.get_submodule(str(node.target))) in KEEPING
            found |= {node: found[node.all_input_nodes[0]]} if passes_on else {}
    return {names[node]: q for node, q in found.items() if node in names}


def _layers(module: fx.GraphModule) -> dict[str, str]:
    """Value -> the step that does its work: what a ReLU or a rounding alone reads makes it."""
    names = _value_names(module)
    layers: dict[str, str] = {}
    for node in module.graph.nodes:
        if node.op != "call_module":
            continue
        step = node
        while _belongs_to_another(module.get_submodule(str(step.target))):
            before = step.all_input_nodes[0]
            if len(before.users) > 1 or before.op != "call_module":
                break
            step = before
        if node in names and _rounding(module, step) is None:
            layers[names[node]] = step.name
    return layers


def _rounding(module: fx.GraphModule, node: fx.Node) -> FakeQuantize | None:
    if node.op != "call_module":
        return None
    step = module.get_submodule(str(node.target))
    return step if isinstance(step, FakeQuantize) else None


def save_references(
    folder: Path,
    *,
    bundle_digest: str,
    fp32: Mapping[str, Network],
    int8: Network,
    scales: Scales,
) -> None:
    """Write ``reference/``; `load_reference` reads it."""
    for name, network in fp32.items():
        save_network(network, folder / f"fp32-{name}")
    save_network(int8, folder / "int8")
    write_atomic(folder / "int8" / "scales.json", format_json(scales.to_json()))
    write_atomic(folder / RECORD, format_json({"bundle": bundle_digest}))


def find_references(bundle: Path) -> Path | None:
    """The folder ``reference`` beside a bundle, if there is one."""
    folder = bundle.parent / "reference"
    return folder if (folder / RECORD).is_file() else None


def load_reference(
    folder: Path, *, network: str, precision: str, bundle: Path, trusted: str = ""
) -> TorchReference:
    """The reference of the artifacts of one network and precision.

    ``trusted`` as `pipeline.network.description` has it.

    Raises:
        InputError: it is missing, damaged, or of another bundle.
    """
    with open_bundle(bundle) as opened:
        digest = opened.digest
    record = _read_json(folder / RECORD)
    if not isinstance(record, dict) or record.get("bundle") != digest:
        raise InputError(
            f"{folder} belongs to another bundle than {bundle}; give the one that the same run "
            "made, or --alone to do without torch"
        )
    if precision == "fp32":
        place, scales, title = folder / f"fp32-{network}", None, "torch, float32"
    else:
        place, title = folder / "int8", "torch, fake-quantised"
        scales = Scales.from_json(_read_json(place / "scales.json"))
    loaded = load_network(place, trusted=trusted)
    try:
        folded = fold_bn(loaded.module(), loaded.input_shapes)
        return TorchReference(
            folded if scales is None else fake_quantized(folded, scales), title=title
        )
    except InputError:
        raise
    except Exception as error:  # PyTorch and fx have many kinds
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{place} is no network that a run has left there: {reason}") from error


def _read_json(path: Path) -> Any:
    return parse_json(read_regular(path, limit_bytes=MOST_BYTES), place=str(path))


def _belongs_to_another(step: nn.Module) -> bool:
    return isinstance(step, FakeQuantize) or role(step) is Role.CLAMP
