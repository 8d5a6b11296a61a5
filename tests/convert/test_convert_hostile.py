"""Files that were changed after they were exported end in one sentence, or in a file that runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from convert_fixtures import run_onnx, run_tflite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.graph.graph import IR_VERSION, OPSET
from edgeticket.pipeline.operators import ONNX

GOLDEN = Path(__file__).parents[1] / "golden"
RNG = np.random.default_rng(0)


@functools.cache
def every_operator() -> bytes:
    """Convolutions, gates, joins, cuts, a shuffle, pools and a linear layer, in float32."""

    def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)

    arrays = {
        "w": RNG.normal(size=(4, 4, 3, 3)), "b": RNG.normal(size=4), "fc": RNG.normal(size=(3, 4)),
        "low": 0.0, "high": 6.0,
    }  # fmt: skip
    integers = {
        "split": [1, 2, 4, 6, 6], "back": [1, 8, 6, 6], "begin": [0], "end": [4], "channels": [1],
        "sides": [0, 0, 1, 1, 0, 0, 1, 1], "area": [2, 3],
    }  # fmt: skip
    nodes = [
        node("Conv", "input w b", "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Clip", "conv low high", "clip"),
        node("HardSigmoid", "clip", "gate", alpha=1 / 6, beta=0.5),
        node("Mul", "clip gate", "mul"),
        node("Concat", "mul input", "join", axis=1),
        node("Reshape", "join split", "parts"),
        node("Transpose", "parts", "turned", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "turned back", "shuffled"),
        node("Slice", "shuffled begin end channels", "cut"),
        node("Pad", "cut sides", "wide"),
        node("MaxPool", "wide", "most", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        node("AveragePool", "most", "some", kernel_shape=[2, 2], pads=[0, 0, 0, 0]),
        node("Add", "some some", "sum"),
        node("ReduceMean", "sum area", "mean", keepdims=0),
        node("Gemm", "mean fc", "output", transB=1),
    ]
    return written(nodes, arrays, integers)


@functools.cache
def more_operators() -> bytes:
    """Those of transformers, norms, and maps that grow; with constants to compute."""

    def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
        names = outputs.split()
        return helper.make_node(kind, inputs.split(), names, name=names[0], **attributes)

    arrays = {
        "slopes": RNG.normal(size=(2, 1, 1)), "scale": RNG.normal(size=4), "bias": np.ones(4),
        "g": RNG.normal(size=12), "fc": RNG.normal(size=(3, 12)), "one": 1.0,
    }  # fmt: skip
    integers = {
        "order": [3, 1, 0, 2], "sides": [0, 0, 1, 1, 0, 0, 1, 1], "last": [3], "size": [1, 1, 2, 2],
        "half": [2, 2], "twice": [1, 1, 1, 1], "split": [1, 4, 14, 14], "first": [1],
    }  # fmt: skip
    nodes = [
        node("Split", "input half", "left right", axis=1),
        node("PRelu", "left slopes", "leaky"),
        node("Sub", "leaky right", "difference"),
        node("Concat", "difference right", "join", axis=1),
        node("InstanceNormalization", "join scale bias", "normal"),
        node("Gather", "normal order", "mixed", axis=1),
        node("Tile", "mixed twice", "same"),
        node("Cast", "size", "factors", to=TensorProto.FLOAT),
        node("Resize", "same same factors", "large", mode="nearest"),
        node("Pad", "large sides", "wide", mode="reflect"),
        node("Reshape", "wide split", "shaped"),
        node("ReduceMax", "shaped last", "most", keepdims=0),
        node("Slice", "most zero stop axis", "cut"),
        node("Transpose", "cut", "turned", perm=[0, 2, 1]),
        node("MatMul", "cut turned", "product"),
        node("Softmax", "product", "shares", axis=-1),
        node("MatMul", "shares cut", "values"),
        node("LayerNormalization", "values g", "layer", axis=-1),
        node("Div", "layer two", "half_of"),
        node("Sqrt", "positive", "root"),
        node("ReduceSum", "root first", "sum", keepdims=0),
        node("Gemm", "sum fc", "output", transB=1),
    ]
    nodes[8].input[1] = ""  # no region
    nodes.insert(0, node("Add", "one one", "two"))
    nodes.insert(-3, node("Mul", "half_of half_of", "square"))
    nodes.insert(-3, node("Add", "square one", "positive"))
    integers |= {"zero": [1], "stop": [13], "axis": [2]}
    return written(nodes, arrays, integers)


def written(nodes: list[onnx.NodeProto], arrays: dict[str, Any], integers: dict[str, Any]) -> bytes:
    tensors = [numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in arrays.items()]
    tensors += [numpy_helper.from_array(np.array(a, np.int64), n) for n, a in integers.items()]
    ends = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 4, 6, 6)),
        helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 3)),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[opset])
    return bytes(model.SerializeToString())


def sources() -> dict[str, bytes]:
    return {
        "every-operator": every_operator(),
        "more-operators": more_operators(),
        "golden": (GOLDEN / "network.onnx").read_bytes(),
        "golden-int8": (GOLDEN / "network-qdq.onnx").read_bytes(),
    }


@pytest.mark.parametrize("make", [every_operator, more_operators])
def test_the_whole_file_converts(make: Callable[[], bytes]) -> None:
    x = RNG.normal(size=(4, 4, 6, 6)).astype(np.float32)
    expected = run_onnx(make(), x, as_written=True)  # fused, zeros around a pool are lost
    for name, data in {
        n: TARGETS[n].convert(make()).data for n in ("onnx-fp32", "tflite-fp32")
    }.items():
        lite = name.startswith("tflite")
        found = run_tflite(data, x.transpose(0, 2, 3, 1)) if lite else run_onnx(data, x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def assert_converted_or_refused(kind: str, data: bytes) -> None:
    refusal = None
    try:
        TARGETS[kind].convert(data)
    except InputError as error:
        refusal = str(error)
    assert refusal is None or "\n" not in refusal


def change_number(model: onnx.ModelProto, draw: Any) -> None:
    """NaN, infinity or a huge number among the weights; a wild integer among shapes and axes."""
    tensor = draw(st.sampled_from(list(model.graph.initializer)))
    array = numpy_helper.to_array(tensor).copy()
    wild = {"f": [np.nan, np.inf, 3e38], "i": [-1, 0, 127]}[array.dtype.kind]
    wild += [2**62, -(2**63)] if array.dtype == np.int64 else []
    if array.size:
        array.reshape(-1)[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from(wild))
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def change_shape(model: onnx.ModelProto, draw: Any) -> None:
    tensor = draw(st.sampled_from(list(model.graph.initializer)))
    array = numpy_helper.to_array(tensor)
    shape = draw(st.sampled_from([(-1,), (1, -1), (-1, 1), (*array.shape, 1), (1, *array.shape)]))
    tensor.CopyFrom(numpy_helper.from_array(array.reshape(shape), tensor.name))


def change_type(model: onnx.ModelProto, draw: Any) -> None:
    tensor = draw(st.sampled_from(list(model.graph.initializer)))
    dtype = draw(st.sampled_from([np.float16, np.float64, np.int8, np.int32, np.uint8]))
    with np.errstate(all="ignore"):
        array = numpy_helper.to_array(tensor).astype(dtype)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def change_attribute(model: onnx.ModelProto, draw: Any) -> None:
    node = draw(st.sampled_from([n for n in model.graph.node if n.attribute]))
    attribute = draw(st.sampled_from(list(node.attribute)))
    if attribute.ints:
        index = draw(st.integers(0, len(attribute.ints) - 1))
        attribute.ints[index] = draw(st.sampled_from([-3, 0, 2, 99, 2**40]))
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = draw(st.sampled_from([-7, 0, 3, 2**40]))
    else:
        node.attribute.remove(attribute)


def change_operator(model: onnx.ModelProto, draw: Any) -> None:
    draw(st.sampled_from(list(model.graph.node))).op_type = draw(st.sampled_from(sorted(ONNX)))


def change_input(model: onnx.ModelProto, draw: Any) -> None:
    node = draw(st.sampled_from([n for n in model.graph.node if n.input]))
    names = sorted({name for n in model.graph.node for name in (*n.input, *n.output)})
    index = draw(st.integers(0, len(node.input) - 1))
    node.input[index] = draw(st.sampled_from(["", *names]))


def drop_node(model: onnx.ModelProto, draw: Any) -> None:
    model.graph.node.remove(draw(st.sampled_from(list(model.graph.node))))


CHANGES = (
    change_number, change_shape, change_type, change_attribute, change_operator, change_input,
    drop_node,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("source", ["every-operator", "more-operators", "golden", "golden-int8"])
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_changed_files_are_converted_or_refused(source: str, change: Any, data: Any) -> None:
    model = onnx.load_model_from_string(sources()[source])
    change(model, data.draw)
    kinds = ("onnx-int8-u8", "tflite-int8") if "int8" in source else ("onnx-fp32", "tflite-fp32")
    for kind in kinds:
        assert_converted_or_refused(kind, model.SerializeToString())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_changed_bytes_are_converted_or_refused(data: Any) -> None:
    damaged = bytearray(every_operator())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.sampled_from([len(damaged), len(damaged) // 2, 7, 0]))
    for kind in ("onnx-fp32", "tflite-fp32"):
        assert_converted_or_refused(kind, bytes(damaged[:length]))
