"""What the operators of an ONNX file were called where the file was exported from.

PyTorch's exporters leave the paths of modules in it: the newer one in each node's metadata, the
older one in the names of nodes (``/layer1/layer1.0/conv1/Conv``), both in the names of weights.
So a layer is called the same whether it comes as PyTorch or as ONNX.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import onnx

SCOPES, CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"
OF_PYTORCH = "torch.nn.modules"
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
# What PyTorch has as one function and ONNX as two: what readers of the former call the first.
FIRST_OF_TWO = {"silu": "gate", "hardswish": "gate", "mish": "gate"}


@dataclass(frozen=True)
class Called:
    """Where a node comes from.

    step: what its operator shall be called.
    module: path of the module that it was in, "" where that is unknown, or the network itself.
    norm: the path of a norm that the exporter put into it.
    node: its name in the file.
    """

    step: str
    module: str
    norm: str
    node: str


def called(graph: onnx.GraphProto) -> dict[str, Called]:
    """Of each node, by its first output."""
    names = _of_metadata(graph) or _of_paths(graph)
    weights = {tensor.name for tensor in graph.initializer}
    found: dict[str, Called] = {}
    for node in graph.node:
        key = (*node.output, "")[0]
        step, module, norm = names.get(key, ("", "", ""))
        weight = next((n for n in node.input[1:2] if n in weights and n.endswith(".weight")), "")
        if node.op_type in LAYERS and weight:
            path = weight.removesuffix(".weight")
            norm = module if module != path and node.op_type != "MatMul" else ""
            step = module = path
        found[key] = Called(_identifier(step or node.name or key), module, norm, node.name)
    return found


def _of_metadata(graph: onnx.GraphProto) -> dict[str, tuple[str, str, str]]:
    places: list[tuple[onnx.NodeProto, list[str], list[str]]] = []
    for node in graph.node:
        metadata = {entry.key: entry.value for entry in node.metadata_props}
        scopes, classes = _texts(metadata.get(SCOPES)), _texts(metadata.get(CLASSES))
        if len(scopes) > 1 and len(scopes) == len(classes) and node.output:
            places.append((node, scopes, classes))
    recurrent = {node.output[0] for node, _, _ in places if node.op_type in RECURRENT}
    calls: dict[str, set[str]] = defaultdict(set)  # path -> calls of PyTorch's in that module
    for _, scopes, _ in places:
        calls[scopes[-2]].add(scopes[-1])
    last: dict[str, str] = {}  # of the nodes of a call, the one that has its name
    for node, scopes, _ in places:
        if node.op_type in RECURRENT or last.get(scopes[-1]) not in recurrent:
            last[scopes[-1]] = node.output[0]
    steps: dict[str, tuple[str, str, str]] = {}
    for node, scopes, classes in places:
        path, function = scopes[-2], (classes[-1].split(".") * 2)[1].strip("_")
        alone = classes[-2].startswith(OF_PYTORCH) and len(calls[path]) == 1
        if node.op_type in RECURRENT:  # which has zeros to begin with
            alone = False
        step = path if path and alone else "_".join(filter(None, (path, function)))
        if last[scopes[-1]] != node.output[0]:
            step += f"_{FIRST_OF_TWO.get(function, node.op_type.lower())}"
        steps[node.output[0]] = step, path, ""
    return steps


def _texts(value: str | None) -> list[str]:
    """``['', 'conv1']`` as it stands in the metadata; nothing that is computed."""
    try:
        found = ast.literal_eval(value or "[]")
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    texts = found if isinstance(found, list) else []
    return [text for text in texts if isinstance(text, str)]


def _of_paths(graph: onnx.GraphProto) -> dict[str, tuple[str, str, str]]:
    paths = {node.output[0]: _path(node.name) for node in graph.node if node.output}
    inner = {path.rpartition(".")[0] for path in paths.values() if path}
    counts = Counter(path for path in paths.values() if path)
    steps: dict[str, tuple[str, str, str]] = {}
    seen: Counter[str] = Counter()
    for node in graph.node:
        path = paths.get((*node.output, "")[0], "")
        if not node.name.startswith("/"):
            continue
        seen[path] += 1
        function = node.op_type.lower()
        is_last = (
            path
            and node.op_type not in RECURRENT
            and path not in inner
            and seen[path] == counts[path]
        )
        step = path if is_last or (path and node.op_type in LAYERS) else f"{path}_{function}"
        steps[node.output[0]] = step, path, ""
    return steps


def _path(name: str) -> str:
    """``/layer1/layer1.0/conv1/Conv`` -> ``layer1.0.conv1``."""
    parts: list[str] = []
    for part in name.split("/")[1:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def _identifier(step: str) -> str:
    name = re.sub(r"\W+", "_", step, flags=re.ASCII).strip("_") or "step"
    return f"_{name}" if name[:1].isdigit() else name
