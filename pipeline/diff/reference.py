"""What `diff` asks of a reference, and the reference that needs nothing but the bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper

from edgeticket.pipeline.diff.values import read_quantizations, signed, to_codes, to_reals
from edgeticket.pipeline.formats.onnx_model import parse_onnx
from edgeticket.pipeline.graph.graph import Quantization

Array = npt.NDArray[Any]
Reals = Mapping[str, Array]
"""Value -> its real numbers, float32, channels first. Names are those in the files."""


def as_list(x: Array | Sequence[Array]) -> list[Array]:
    """One array for each input."""
    return [x] if isinstance(x, np.ndarray) else list(x)


class Reference(Protocol):
    """A network that can be asked layer by layer."""

    @property
    def title(self) -> str:
        """What people call it."""

    @property
    def quantizations(self) -> Mapping[str, Quantization]:
        """The values that are rounded to codes, and how."""

    @property
    def layers(self) -> Mapping[str, str]:
        """Value -> the step that makes it: a convolution rather than the ReLU behind it."""

    def run(self, x: Array | Sequence[Array], given: Reals) -> dict[str, Array]:
        """Every layer's output for an input float32 [1, C, ...], or for one of each of several.

        A layer reads ``given`` wherever that has a value, so that nothing is handed on: with what
        a runtime really had, a difference belongs to the layer that shows it. With nothing given
        this is the network itself.
        """


class OnnxReference:
    """An ONNX file taken at its word: every operator as written, in float32, nothing fused.

    For int8 files that is the arithmetic of fake quantisation in torch.
    """

    def __init__(self, data: bytes, *, title: str) -> None:
        """Read the file.

        Raises:
            InputError: it is no ONNX file.
        """
        self._model = parse_onnx(data, place=title)
        kinds = onnx.shape_inference.infer_shapes(self._model).graph
        self.title = title
        self.quantizations: Mapping[str, Quantization] = read_quantizations(data, title=title)
        self._kinds = {
            value.name: value.type.tensor_type.elem_type
            for value in (*kinds.input, *kinds.value_info, *kinds.output)
        }
        nodes = self._model.graph.node
        constants = {tensor.name for tensor in self._model.graph.initializer}
        inputs = self._model.graph.input
        self._sources = [value.name for value in inputs if value.name not in constants]
        outputs = [name for node in nodes for name in node.output]
        self._names = [name for name in outputs if name in self._kinds and "." not in name]
        self.layers: Mapping[str, str] = _layers(self._model)
        self._read = {name for node in nodes for name in node.input}
        self._cuts: dict[frozenset[str], Callable[[Reals], dict[str, Array]]] = {}

    def run(self, x: Array | Sequence[Array], given: Reals) -> dict[str, Array]:
        rounded: dict[str, Array] = {}
        for name, real in zip(self._sources, as_list(x), strict=True):
            q = self.quantizations.get(name)
            rounded[name] = real if q is None else to_reals(to_codes(real, q), q)
        fed = {**rounded}
        fed |= {name: given[name] for name in (*self._sources, *self._names) if name in given}
        fed = {name: array for name, array in fed.items() if name in self._read}
        names = frozenset(fed)
        if names not in self._cuts:
            self._cuts[names] = self._cut(names)
        return {**rounded, **self._cuts[names](fed)}

    def _cut(self, given: frozenset[str]) -> Callable[[Reals], dict[str, Array]]:
        """The network with the values in ``given`` fed from outside wherever they are read."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph, replaced, nodes = model.graph, {}, []
        fed: dict[str, tuple[str, int]] = {}  # new input -> the value, and its ONNX type
        for node in graph.node:
            name = node.input[0] if node.op_type == "DequantizeLinear" else ""
            if name in given:
                # Reals are fed behind the dequantisation, whatever scale they came with.
                replaced[node.output[0]] = f"{name}.given"
                fed[f"{name}.given"] = name, TensorProto.FLOAT
                continue
            for i, read in enumerate(node.input):
                if read in given:
                    replaced[read] = f"{read}.{'codes' if read in self.quantizations else 'given'}"
                    fed[replaced[read]] = read, self._kinds[read]
                node.input[i] = replaced.get(read, read)
            nodes.append(node)
        changed = helper.make_graph(
            nodes,
            graph.name,
            [helper.make_tensor_value_info(new, kind, None) for new, (_, kind) in fed.items()],
            [helper.make_tensor_value_info(n, self._kinds[n], None) for n in self._names],
            graph.initializer,
        )
        model.graph.CopyFrom(changed)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

        def run(reals: Reals) -> dict[str, Array]:
            feed = {
                new: self._stored(reals[name], name if new.endswith(".codes") else "", kind)
                for new, (name, kind) in fed.items()
            }
            answers = session.run(self._names, feed)
            return {name: self._real(a, name) for name, a in zip(self._names, answers, strict=True)}

        return run

    def _stored(self, real: Array, quantized: str, kind: int) -> Array:
        """Real numbers as the graph takes them: float32, or the codes of the value's type."""
        if not quantized:
            return np.ascontiguousarray(real, helper.tensor_dtype_to_np_dtype(kind))
        codes = to_codes(real, self.quantizations[quantized])
        if kind == TensorProto.UINT8:
            return (codes + 128).astype(np.uint8)
        return codes.astype(np.int8)

    def _real(self, stored: Array, name: str) -> Array:
        quantization = self.quantizations.get(name)
        return stored if quantization is None else to_reals(signed(stored), quantization)


def _layers(model: onnx.ModelProto) -> dict[str, str]:
    """Value -> the step whose node makes it, or the sum that it is the rounding of."""
    layers: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear":
            step = node.name or layers.get(node.input[0], "")
            if step:
                layers |= dict.fromkeys(node.output, step)
    return layers
