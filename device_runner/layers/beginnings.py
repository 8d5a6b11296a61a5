"""The beginnings of a file for each runtime, and what each one ends with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np

from edgeticket.device_runner.layers.report import Layer, Sources
from edgeticket.device_runner.runtimes import ort, tflite
from edgeticket.device_runner.taps.onnx_bytes import cut_onnx, read_nodes
from edgeticket.device_runner.taps.tflite_bytes import cut_tflite, operator_names

CODES = ("uint8", "int8")
DELEGATE = "DELEGATE"
_SUFFIX = re.compile(r"(_nchwc|_nhwc|_token_\d+)+$")  # that ONNX Runtime's optimiser adds


class OnnxBeginnings:
    """Of what ONNX Runtime makes of a file for this CPU: its fused kernels, in its layouts.

    Beginnings of the file itself would be fused otherwise at their ends, and changed in layout.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._place = sources.entry.id
        self._model = ort.optimise(sources.model, threads=sources.threads, place=self._place)
        self._nodes = read_nodes(self._model, place=self._place)
        names = [spec.name for spec in sources.entry.inputs]
        self._feeds = dict(zip(names, sources.query))
        self.count = len(self._nodes)

    def begin(self, count: int) -> tuple[Callable[[Any], Any], Layer]:
        """What runs the first ``count`` operators, and the last of them."""
        model = cut_onnx(self._model, count, place=self._place)
        session = ort.open_as_written(model, threads=self._sources.threads, place=self._place)
        binding = session.io_binding()
        for value in session.get_inputs():
            binding.bind_cpu_input(value.name, self._feeds[value.name])
        for value in session.get_outputs():
            binding.bind_output(value.name, "cpu")
        run = session.run_with_iobinding
        node = self._nodes[count - 1]
        kinds = {value.name: value.type for value in session.get_outputs()}
        codes = all(
            ort.DTYPES.get(kinds.get(name, ""), "") in CODES for name in node.outputs if name
        )
        name = _SUFFIX.sub("", node.name or node.outputs[0]) or node.op_type
        layer = Layer(name, node.op_type, "int8" if codes else "fp32", "CPU", 0.0)
        return lambda _: run(binding), layer


class TfliteBeginnings:
    """Of a TFLite file; who runs an operator is asked of the whole file."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._place = sources.entry.id
        self._names = operator_names(sources.model, place=self._place)
        self._details = self._look()
        self.count = len(self._names)

    def begin(self, count: int) -> tuple[Callable[[Any], Any], Layer]:
        """What runs the first ``count`` operators, and the last of them."""
        model = cut_tflite(self._sources.model, count, place=self._place)
        interpreter = self._open(model)
        given = {one["name"]: one["index"] for one in interpreter.get_input_details()}
        for spec, tensor in zip(self._sources.entry.inputs, self._sources.query):
            if spec.name in given:
                interpreter.set_tensor(given[spec.name], tensor)

        def run(_: Any) -> None:
            assert model  # the interpreter reads weights from these bytes while it lives
            interpreter.invoke()

        kind, precision, by = self._details[count - 1]
        return run, Layer(self._names[count - 1], kind, precision, by, 0.0)

    def _open(self, model: bytes) -> Any:
        return tflite.open_interpreter(model, threads=self._sources.threads, place=self._place)

    def _look(self) -> list[tuple[str, str, str]]:
        """Kind, precision, and who runs it, of each operator."""
        interpreter = self._open(self._sources.model)
        if not hasattr(interpreter, "_get_ops_details"):
            return [("unknown", "unknown", "unknown")] * len(self._names)
        operators = interpreter._get_ops_details()
        own = [one for one in operators if one["op_name"] != DELEGATE]
        delegated = _delegated(own, [one for one in operators if one["op_name"] == DELEGATE])
        return [
            (
                str(one["op_name"]),
                _precision(one["result_types"]),
                "XNNPACK" if i in delegated else "LiteRT",
            )
            for i, one in enumerate(own)
        ]


def _delegated(own: Sequence[Any], delegates: Sequence[Any]) -> set[int]:
    """The operators between what delegates read and what they give."""
    makers = {int(index): i for i, one in enumerate(own) for index in one["outputs"]}
    found: set[int] = set()
    for delegate in delegates:
        stops = set(map(int, delegate["inputs"]))
        waiting = [int(index) for index in delegate["outputs"]]
        while waiting:
            index = waiting.pop()
            at = makers.get(index)
            if index in stops or at is None or at in found:
                continue
            found.add(at)
            waiting += [int(source) for source in own[at]["inputs"] if source >= 0]
    return found


def _precision(types: Sequence[Any]) -> str:
    return "int8" if all(np.dtype(kind).name in CODES for kind in types) else "fp32"
