"""Every attribute of every ONNX operator that is read does what ONNX says, or is refused.

Each is set to something else than what it is by default, by itself. `compare` then holds the graph
against ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.read import read_float
from edgeticket.pipeline.graph.graph import OPSET
from edgeticket.pipeline.network.finished import compare, module_of
from edgeticket.pipeline.operators import ONNX

RNG = np.random.default_rng(0)
MAP, VECTOR, SEQUENCE = (1, 4, 6, 6), (1, 6), (5, 1, 4)


def real(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


WINDOW = {
    "auto_pad": ["SAME_UPPER", "SAME_LOWER", "VALID"],
    "dilations": [[2, 2]],
    "kernel_shape": [[3, 3]],
    "pads": [[1, 0, 0, 1], [1, 1, 1, 1]],
    "strides": [[2, 1]],
}
POOL = {**WINDOW, "ceil_mode": [1], "kernel_shape": [[2, 3]]}
REDUCTION = {"keepdims": [0], "noop_with_empty_axes": [1]}


def recurrent(gates: int, directions: int = 1) -> list[Any]:
    rows = gates * 3
    return [real(directions, rows, 4), real(directions, rows, 3), real(directions, 2 * rows)]


def recurrence(kind: str, *activations: str) -> dict[str, list[Any]]:
    return {
        "activation_alpha": [[0.3] * len(activations)],
        "activation_beta": [[0.3] * len(activations)],
        "activations": [[*activations]],
        "clip": [0.1],
        "direction": ["reverse"],
        "hidden_size": [3],
        "layout": [1],
    }


# Operator: the shape of its input, its other inputs, attributes that it needs, values to try.
CASES: dict[str, tuple[tuple[int, ...], list[Any], dict[str, Any], dict[str, list[Any]]]] = {
    "ArgMax": (MAP, [], {"axis": 2}, {"axis": [1, -1], "keepdims": [0], "select_last_index": [1]}),
    "ArgMin": (MAP, [], {"axis": 2}, {"axis": [1, -1], "keepdims": [0], "select_last_index": [1]}),
    "AveragePool": (MAP, [], {"kernel_shape": [3, 3]}, {**POOL, "count_include_pad": [1]}),
    "BatchNormalization": (
        MAP, [real(4), real(4), real(4), real(4) ** 2], {},
        {"epsilon": [0.1], "momentum": [0.5], "training_mode": [1]},
    ),
    "Cast": (MAP, [], {"to": TensorProto.FLOAT}, {"to": [TensorProto.INT64], "saturate": [0]}),
    "Celu": (MAP, [], {}, {"alpha": [0.4]}),
    "Concat": (MAP, [real(1, 4, 6, 6)], {"axis": 1}, {"axis": [2, -1]}),
    "Conv": (MAP, [real(4, 4, 3, 3)], {}, {**WINDOW, "group": [2]}),
    "ConvTranspose": (
        MAP, [real(4, 4, 3, 3)], {"strides": [2, 2]},
        {**WINDOW, "group": [2], "output_padding": [[0, 1]], "output_shape": [[8, 9]]},
    ),
    "CumSum": (MAP, [whole(2)], {}, {"exclusive": [1], "reverse": [1]}),
    "DepthToSpace": (MAP, [], {"blocksize": 2}, {"blocksize": [1], "mode": ["CRD"]}),
    "Einsum": (
        (1, 5, 4), [real(4, 6)], {"equation": "bij,jk->bik"},
        {"equation": ["bij,jk", "b i j, j k -> b k i", "bij,jk->bijk"]},
    ),
    "Dropout": (MAP, [], {}, {"seed": [3]}),
    "Elu": (MAP, [], {}, {"alpha": [0.4]}),
    "Flatten": (MAP, [], {}, {"axis": [2, -1]}),
    "GRU": (
        SEQUENCE, recurrent(3), {"hidden_size": 3},
        {**recurrence("GRU", "Tanh", "Sigmoid"), "linear_before_reset": [1]},
    ),
    "Gather": (MAP, [whole(2, 0, 1)], {"axis": 1}, {"axis": [2, -1]}),
    "Gelu": (MAP, [], {}, {"approximate": ["tanh"]}),
    "Gemm": (VECTOR, [real(6, 6), real(6)], {}, {
        "alpha": [0.3], "beta": [0.3], "transA": [1], "transB": [1],
    }),
    "HardSigmoid": (MAP, [], {}, {"alpha": [0.4], "beta": [0.1]}),
    "InstanceNormalization": (MAP, [real(4), real(4)], {}, {"epsilon": [0.1]}),
    "LSTM": (
        SEQUENCE, recurrent(4), {"hidden_size": 3},
        {**recurrence("LSTM", "Tanh", "Sigmoid", "Tanh"), "input_forget": [1]},
    ),
    "LayerNormalization": (MAP, [real(6)], {}, {
        "axis": [3], "epsilon": [0.1], "stash_type": [TensorProto.BFLOAT16],
    }),
    "LeakyRelu": (MAP, [], {}, {"alpha": [0.4]}),
    "LogSoftmax": (MAP, [], {}, {"axis": [1]}),
    "MaxPool": (MAP, [], {"kernel_shape": [3, 3]}, {**POOL, "storage_order": [1]}),
    "Pad": (MAP, [whole(0, 0, 1, 0, 0, 0, 0, 2)], {}, {"mode": ["reflect", "edge", "wrap"]}),
    "RNN": (SEQUENCE, recurrent(1), {"hidden_size": 3}, recurrence("RNN", "Relu")),
    **{
        name: (MAP, [whole(2, 3)], {}, REDUCTION)
        for name in ("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
                     "ReduceMin", "ReduceSum", "ReduceSumSquare")
    },
    "ReduceLogSum": (MAP, [whole(2, 3)], {}, REDUCTION),
    "Reshape": (MAP, [whole(0, 2, 2, -1)], {}, {"allowzero": [1]}),
    "Resize": (MAP, ["", "", whole(1, 4, 12, 9)], {"mode": "linear"}, {
        "antialias": [1],
        "axes": [[0, 1, 2, 3]],
        "coordinate_transformation_mode": [
            "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric",
        ],
        "cubic_coeff_a": [-0.5],
        "exclude_outside": [1],
        "extrapolation_value": [1.0],
        "keep_aspect_ratio_policy": ["not_larger", "not_smaller"],
        "mode": ["nearest", "cubic"],
        "nearest_mode": ["floor"],
    }),
    "Selu": (MAP, [], {}, {"alpha": [0.4], "gamma": [0.4]}),
    "Softmax": (MAP, [], {}, {"axis": [1]}),
    "Split": (MAP, [], {"num_outputs": 1, "axis": 1}, {"axis": [2], "num_outputs": [1]}),
    "Transpose": (MAP, [], {}, {"perm": [[0, 2, 3, 1]]}),
}  # fmt: skip
# Of rounded files; no valid file of this operator set has the others.
ELSEWHERE = {"QuantizeLinear", "DequantizeLinear", "Upsample", "GroupNormalization"}
LAID_OUT = {"layout": (1, 5, 4)}  # the shape of an input under that attribute


def pairs() -> Iterator[tuple[str, str]]:
    for kind in sorted(ONNX.keys() - ELSEWHERE):
        for attribute in onnx.defs.get_schema(kind, OPSET).attributes:
            yield kind, attribute


def model_of(kind: str, attribute: str = "", value: Any = None) -> bytes:
    shape, others, needed, _ = CASES[kind]
    shape = LAID_OUT.get(attribute, shape)
    more = {**needed, attribute: value} if attribute else needed
    if attribute == "group":
        others = [real(4, 2, 3, 3)]
    names, constants = ["x"], []
    for i, array in enumerate(others):
        names.append("" if isinstance(array, str) else f"c{i}")
        if not isinstance(array, str):
            constants.append(numpy_helper.from_array(array, f"c{i}"))
    node = helper.make_node(kind, names, ["y"], name="it", **more)
    # The examples of recurrent layers lie along the second axis: a Transpose brings them there.
    given, before = shape, []
    if kind in ("GRU", "LSTM", "RNN") and attribute != "layout":
        given = (1, 5, 4)
        before = [helper.make_node("Transpose", ["z"], ["x"], name="turn", perm=[1, 0, 2])]
    if kind == "ReduceLogSum":
        before = [helper.make_node("Abs", ["z"], ["x"], name="positive")]
    inputs = [helper.make_tensor_value_info("z" if before else "x", TensorProto.FLOAT, given)]
    is_whole = kind in ("ArgMax", "ArgMin") or more.get("to") == TensorProto.INT64
    dtype = TensorProto.INT64 if is_whole else TensorProto.FLOAT
    out = helper.make_tensor_value_info("y", dtype, None)
    graph = helper.make_graph([*before, node], "test", inputs, [out], constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    whole_model: bytes = onnx.shape_inference.infer_shapes(model).SerializeToString()
    return whole_model


def test_every_attribute_has_a_case() -> None:
    tried = {(kind, attribute) for kind, case in CASES.items() for attribute in case[3]}
    assert {*pairs()} - tried == set()


def refusal(data: bytes) -> str | None:
    """Read a file, and hold what was read against ONNX Runtime -> why not, if so."""
    try:
        read = read_float(data, place="the file")
        compare(module_of(read.graph, read.trained), read, "the file")
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", CASES)
def test_an_operator_answers_as_in_onnx_runtime(kind: str) -> None:
    assert refusal(model_of(kind)) is None


@pytest.mark.parametrize("kind", CASES)
def test_an_attribute_is_honoured_or_refused(kind: str) -> None:
    for attribute, values in CASES[kind][3].items():
        for value in values:
            data = model_of(kind, attribute, value)
            sentence = refusal(data) or ""
            wrong = ("cannot be followed", "mixes the examples", "takes one example")
            assert not any(words in sentence for words in wrong), (attribute, value, sentence)
            assert "\n" not in sentence
