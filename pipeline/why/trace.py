"""Every value that a file computes for some samples, and which values of two files are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import CODE_RANGES
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.pipeline.diff.layout import find_order
from edgeticket.pipeline.diff.values import read_quantizations, signed, to_reals
from edgeticket.pipeline.external.file import ExternalModel
from edgeticket.pipeline.formats.onnx_model import parse_onnx
from edgeticket.pipeline.graph.graph import Quantization

Array = npt.NDArray[Any]

ALIKE = 0.9  # cosine above which values of unlike names are taken for the same
FEWEST = 4  # numbers that a value must have to be told by them
ENDINGS = ("_QuantizeLinear_Output", "_QuantizeLinear", "_quantized", "_DequantizeLinear_Output")


@dataclass(frozen=True)
class Trace:
    """reals: by value, in order of execution, float32 [N, ...] with the file's axes. codes: those
    that are held as integers, −128..127. roundings: their scales."""

    reals: Mapping[str, Array]
    codes: Mapping[str, Array]
    roundings: Mapping[str, Quantization]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """One value of both files; ``ours`` and ``theirs`` [N, ...] with the first file's axes.

    rounding: how the second file holds it; before: how the first does. None: in float32.
    """

    name: str  # in the second file
    first: str  # in the first
    ours: Array
    theirs: Array
    rounding: Quantization | None
    before: Quantization | None

    @property
    def sqnr_db(self) -> float:
        return sqnr_db(self.ours, self.theirs)


def sqnr_db(ours: Array, theirs: Array) -> float:
    """Power of ``ours`` over that of the difference, in dB, within −200..200."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    noise, signal = float(((a - b) ** 2).sum()), float((a**2).sum())
    if noise == 0:
        return 200.0
    return float(np.clip(10 * np.log10(max(signal, 1e-300) / noise), -200, 200))


def fit(file: ExternalModel, real: Sequence[Array]) -> list[Array]:
    """Real inputs [N, ...] -> the same with the axes that ``file`` has: moved, never resized.

    Raises:
        InputError: another number of inputs, or shapes that do not fit.
    """
    if len(real) != len(file.inputs):
        raise InputError(f"{file.place} takes {len(file.inputs)} inputs, and there are {len(real)}")
    fitted = []
    for spec, x in zip(file.inputs, real, strict=True):
        wanted = spec.shape[1:]
        orders = (x, np.moveaxis(x, 1, -1), np.moveaxis(x, -1, 1)) if x.ndim > 2 else (x,)
        moved = next((y for y in orders if y.shape[1:] == wanted), None)
        if moved is None and x[0].size == np.prod(wanted, dtype=np.int64):
            moved = x.reshape(len(x), *wanted)
        if moved is None:
            raise InputError(
                f"{file.place}: {spec.name} has shape {list(spec.shape)}, and samples have "
                f"{list(x.shape[1:])}: give samples as the first of the two takes them"
            )
        fitted.append(np.ascontiguousarray(moved))
    return fitted


def trace(file: ExternalModel, real: Sequence[Array]) -> Trace:
    """Run a file, every value looked at.

    Args:
        file: of either runtime.
        real: its inputs, real numbers [N, ...] with its axes.

    Raises:
        InputError: the runtime refuses it.
    """
    data = _without_dots(file)
    session = get_runtime(file.runtime).load_tapped(data, threads=1, place=file.place)
    if file.runtime == "ort":
        known = read_quantizations(data, title=file.place)
    else:
        known = {
            name: Quantization(
                np.float32(port.scale), port.zero_point - 128 * (port.dtype[0] == "u")
            )
            for name, port in session.values.items()
            if port.scale is not None and port.zero_point is not None
        }
    stored = {
        spec.name: _rounded(x, spec.scale, spec.zero_point, spec.dtype)
        for spec, x in zip(file.inputs, real, strict=True)
    }
    order = [stored.get(name, x) for name, x in zip(session.inputs, stored.values(), strict=True)]
    rows = [session.query([x[i : i + 1] for x in order]) for i in range(len(real[0]))]
    reals, codes = {}, {}
    for name in _in_order(list(rows[0]), file, data):
        value = np.concatenate([np.atleast_1d(row[name]) for row in rows])
        if value.shape[:1] != (len(rows),) or value.dtype.name not in ("float32", "int8", "uint8"):
            continue  # not a value for each sample, or one that says nothing of scales
        if value.dtype == np.float32:
            reals[name] = value
        elif name in known:
            codes[name] = signed(value)
            reals[name] = to_reals(codes[name], known[name])
    roundings = {name: q for name, q in known.items() if name in codes}
    return Trace(reals, codes, roundings, tuple(spec.name for spec in file.outputs))


def match(first: Trace, second: Trace) -> list[Match]:
    """Values that both have, in the second's order: by name, else by their numbers."""
    by_stem: dict[str, str] = {}
    for name in first.reals:
        by_stem[_stem(name)] = name  # the rounded one, behind the real one
    outputs = dict(zip(second.outputs, first.outputs, strict=False))
    maps = [(1, *x.shape[1:]) for x in first.reals.values() if x.ndim > 2]
    taken: set[str] = set()
    found = []
    for name, theirs in second.reals.items():
        wanted = by_stem.get(_stem(name)) or outputs.get(name)
        candidates = [wanted] if wanted else [n for n in first.reals if n not in taken]
        fitting = []
        for other in candidates:
            moved = _moved(theirs, first.reals[other], maps)
            if moved is not None:
                fitting.append((_cosine(first.reals[other], moved), other, moved))
        if not fitting:
            continue
        likeness, other, moved = max(fitting, key=lambda each: each[0])
        if not wanted and (likeness < ALIKE or theirs[0].size < FEWEST):
            continue
        taken.add(other)
        ours = first.reals[other]
        found.append(
            Match(name, other, ours, moved, second.roundings.get(name), first.roundings.get(other))
        )
    return found


def _moved(theirs: Array, ours: Array, maps: Sequence[tuple[int, ...]]) -> Array | None:
    if theirs[0].size != ours[0].size:
        return None
    order = find_order(theirs[:1], ours[:1], maps=maps)
    return None if order is None else np.concatenate([order(x[None]) for x in theirs])


def _cosine(a: Array, b: Array) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a.ravel() @ b.ravel()) / norms if norms else 0.0


def _stem(name: str) -> str:
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return name


def _rounded(x: Array, scale: float | None, zero_point: int | None, dtype: str) -> Array:
    if scale is None or zero_point is None:
        return np.ascontiguousarray(x.astype(dtype))
    codes = np.rint(x / np.float32(scale)) + np.float32(zero_point)
    return np.ascontiguousarray(np.clip(codes, *CODE_RANGES[dtype]).astype(dtype))


def _in_order(names: Sequence[str], file: ExternalModel, data: bytes) -> list[str]:
    """Sessions give the network's outputs first; here they stand where they are computed."""
    if file.runtime != "ort":
        ends = [spec.name for spec in file.outputs]
        return [n for n in names if n not in ends] + [n for n in names if n in ends]
    graph = parse_onnx(data, place=file.place).graph
    places = {name: i for i, node in enumerate(graph.node) for name in node.output}
    return sorted(names, key=lambda name: places.get(name, -1))


def _without_dots(file: ExternalModel) -> bytes:
    """Names of others' inner values may hold dots, which in files of ours mark pieces of layers
    that are not to be looked at: there they become underlines."""
    if file.runtime != "ort":
        return file.data
    model = parse_onnx(file.data, place=file.place)
    if model.producer_name == "edgeticket":
        return file.data
    graph = model.graph
    kept = {v.name for v in (*graph.input, *graph.output)} | {t.name for t in graph.initializer}
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if "." in name and name not in kept:
                    names[i] = name.replace(".", "_")
    del graph.value_info[:]
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def layer_names(file: ExternalModel) -> dict[str, str]:
    """Value of an ONNX file -> the layer that makes it: its weight's name, else its node's.

    What follows a layer and only clamps, moves or rounds its output is part of it.
    """
    if file.runtime != "ort":
        return {}
    graph: onnx.GraphProto = parse_onnx(_without_dots(file), place=file.place).graph
    constants = {tensor.name for tensor in graph.initializer}
    real = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    names: dict[str, str] = {}
    for node in graph.node:
        weights = [real.get(n, n) for n in node.input[1:2]]
        if node.op_type in LAYERS and weights and weights[0] in constants:
            name = weights[0].removesuffix("_quantized").removesuffix(".weight")
        elif node.op_type in PASSING and node.input and node.input[0] in names:
            name = names[node.input[0]]
        else:
            name = node.name or (node.output[0] if node.output else node.op_type)
        names |= dict.fromkeys(node.output, name)
    return names


LAYERS = ("Conv", "Gemm", "MatMul", "ConvTranspose")
PASSING = ("Relu", "Clip", "QuantizeLinear", "DequantizeLinear")
