"""What is run is what was hashed: files that lead to others are refused, and nothing is opened."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
import runner_fixtures as tiny
from ai_edge_litert import schema_py_generated as tfl
from onnx import TensorProto, helper, numpy_helper

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.check import check_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import write_manifest
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.taps.onnx_bytes import check_onnx
from edgeticket.device_runner.taps.tflite_bytes import check_tflite

FILES = tiny.tiny_files()
ONNX, TFLITE = "models/ort-fp32.onnx", "models/tflite-fp32.tflite"


def outside(name: str = "w", location: int = TensorProto.EXTERNAL) -> TensorProto:
    """A tensor whose numbers are said to lie in w.bin."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=location)
    for key, value in (("location", "w.bin"), ("offset", "0"), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])


def _constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def _sparse() -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(
        outside(), numpy_helper.from_array(np.array([0]), "at"), dims=[1]
    )


def _model(place: str) -> onnx.ModelProto:
    """Sums a number from elsewhere; ``place`` says where in the file it stands."""
    nodes = [helper.make_node("Add", ["x", "c"], ["y"])]
    functions: list[onnx.FunctionProto] = []
    initializers: list[TensorProto] = []
    domains = [helper.make_opsetid("", 20)]
    if place == "initializer":
        initializers = [outside("c")]
    elif place == "attribute":
        nodes.insert(0, _constant(outside()))
    elif place == "attribute's list":
        nodes.insert(0, helper.make_node("Other", [], ["c"], domain="own", values=[outside()]))
        domains.append(helper.make_opsetid("own", 1))
    elif place == "branch":
        sides = [helper.make_graph([_constant(outside())], "b", [], [_value("c")])] * 2
        yes = numpy_helper.from_array(np.array(True), "yes")
        nodes.insert(0, helper.make_node("Constant", [], ["yes"], value=yes))
        nodes.insert(
            1, helper.make_node("If", ["yes"], ["c"], then_branch=sides[0], else_branch=sides[1])
        )
    elif place == "function":
        nodes.insert(0, helper.make_node("Own", [], ["c"], domain="own"))
        domains.append(helper.make_opsetid("own", 1))
        functions = [
            helper.make_function("own", "Own", [], ["c"], [_constant(outside())], domains[:1])
        ]
    elif place == "sparse attribute":
        nodes.insert(0, helper.make_node("Constant", [], ["c"], sparse_value=_sparse()))
    graph = helper.make_graph(nodes, "g", [_value("x")], [_value("y")], initializers)
    if place == "sparse initializer":
        sparse = _sparse()
        sparse.values.name = "c"
        graph.sparse_initializer.append(sparse)
    model = helper.make_model(graph, opset_imports=domains, ir_version=10, functions=functions)
    if place == "training":
        model.training_info.add().initialization.initializer.append(outside())
    return model


PLACES = (
    *("initializer", "attribute", "attribute's list", "branch", "function"),
    *("sparse attribute", "sparse initializer", "training"),
)


def bundle_of(folder: Path, path: str, data: bytes) -> Path:
    """A bundle in which one file is another, and the manifest says so."""
    files = {**FILES, path: data}
    return tiny.write_folder(folder / "b", files, write_manifest(tiny.tiny_manifest(files)))


@pytest.mark.parametrize("place", PLACES)
def test_numbers_in_another_file_are_not_read(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.bin").write_bytes(struct.pack("<f", 5.0))
    monkeypatch.chdir(tmp_path)  # where the runtime would look for it
    data = _model(place).SerializeToString()
    with pytest.raises(InputError, match=r"^a keeps the numbers of .+ in another file"):
        get_runtime("ort").load(data, threads=1, place="a")
    path = bundle_of(tmp_path, ONNX, data)
    with pytest.raises(InputError, match=r"ort-fp32\.onnx keeps the numbers of .+ in another file"):
        check_bundle(path)
    with pytest.raises(InputError, match="in another file"):
        bench(path, plan=tiny.QUICK, artifact="tiny-ort-fp32")


def test_a_whole_file_passes() -> None:
    check_onnx(FILES[ONNX], place="a")
    check_onnx(_model("none").SerializeToString(), place="a")
    check_tflite(FILES[TFLITE], place="a")


def _varint(value: int, size: int = 0) -> bytes:
    out = bytearray()
    while value > 127 or len(out) + 1 < size:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


@pytest.mark.parametrize(
    "location",
    [
        _varint(14 << 3) + _varint(1, size=10),  # more bytes than it needs
        _varint(14 << 3) + _varint(2**32 + 1),  # parsers keep 32 bits of it
        _varint((14 << 3) + 2**32) + b"\1",  # and of the field's number
        _varint(14 << 3) + b"\1" + _varint(14 << 3) + b"\0",  # twice
    ],
)
def test_other_ways_to_write_it_do_not_help(location: bytes) -> None:
    tensor = outside("c", TensorProto.DEFAULT).SerializeToString() + location
    model = _model("none")
    data = model.SerializeToString() + _field(7, _field(5, tensor))
    with pytest.raises(InputError, match=r"in another file|is no whole ONNX file"):
        check_onnx(data, place="a")


def test_graphs_in_graphs_have_an_end() -> None:
    inner = b""
    for _ in range(5000):
        inner = _field(1, _field(5, _field(6, inner)))
    with pytest.raises(InputError, match="nested deeper than 100 levels"):
        check_onnx(_field(7, inner), place="a")


@pytest.mark.parametrize("kind", ["EPContext", "PythonOp"])
def test_operators_that_open_files_are_refused(kind: str) -> None:
    node = helper.make_node(kind, ["x"], ["y"], domain="com.microsoft", embed_mode=0)
    graph = helper.make_graph([node], "g", [_value("x")], [_value("y")])
    data = helper.make_model(graph).SerializeToString()
    with pytest.raises(InputError, match=f"^a has the operator {kind}, which .*: give the file"):
        get_runtime("ort").load(data, threads=1, place="a")


def test_the_runtimes_own_format_is_refused() -> None:
    with pytest.raises(InputError, match="ONNX Runtime's own format"):
        check_onnx(b"\x18\0\0\0ORTM" + bytes(100), place="a")


def test_settings_from_the_environment_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    with pytest.raises(InputError, match="the environment sets ORT_LOAD_CONFIG_FROM_MODEL"):
        get_runtime("ort").load(FILES[ONNX], threads=1, place="a")


def changed(change: Callable[[Any], None], *, behind: bytes = b"") -> bytes:
    """The tiny TFLite file after ``change`` of its `ModelT`, and bytes behind it."""
    model = tfl.ModelT.InitFromObj(tfl.Model.GetRootAs(FILES[TFLITE], 0))
    change(model)
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output()) + behind


def _moved(start: int, size: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        buffer = model.buffers[1]
        buffer.data, buffer.offset, buffer.size = None, start, size

    return change


def test_numbers_behind_the_flatbuffer_are_part_of_the_file() -> None:
    numbers = tfl.ModelT.InitFromObj(tfl.Model.GetRootAs(FILES[TFLITE], 0)).buffers[1].data
    length = len(changed(_moved(2, len(numbers))))
    start = -(-length // 16) * 16
    data = changed(_moved(start, len(numbers)), behind=bytes(start - length) + numbers.tobytes())
    x = np.random.default_rng(0).normal(size=(1, 2, 2, 3)).astype(np.float32)
    answers = [
        get_runtime("tflite").load(file, threads=1, place="a").run(x)
        for file in (FILES[TFLITE], data)
    ]
    np.testing.assert_array_equal(*answers)


def _other_file(model: Any) -> None:
    group, buffer = tfl.ExternalBufferGroupT(), tfl.ExternalBufferT()
    group.name, buffer.id, buffer.length = b"weights.bin", 1, 4
    model.externalBufferGroups, model.externalBuffers = [group], [buffer]
    model.subgraphs[0].tensors[1].externalBuffer = 1


def _of_tensorflow(model: Any) -> None:
    code = model.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode = tfl.BuiltinOperator.CUSTOM, 32
    code.customCode = b"FlexReadFile"


def _behind(model: Any) -> None:
    operator = model.subgraphs[0].operators[0]
    operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize = 10**6, 8


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_moved(10**6, 4), "should have 4 bytes from byte 1000000 on, but ends after"),
        (_moved(2**63, 2**63), "but ends after"),
        (_behind, "should have 8 bytes from byte 1000000 on"),
        (_other_file, "keeps numbers in other files"),
        (_of_tensorflow, "has the operator 'FlexReadFile' of TensorFlow"),
    ],
)
def test_tflite_files_that_lead_elsewhere(
    change: Callable[[Any], None], sentence: str, tmp_path: Path
) -> None:
    data = changed(change)
    with pytest.raises(InputError, match=f"^a .*{sentence}"):
        get_runtime("tflite").load(data, threads=1, place="a")
    with pytest.raises(InputError, match=sentence):
        check_bundle(bundle_of(tmp_path, TFLITE, data))


def test_an_operator_that_no_runtime_has_is_named() -> None:
    def own(model: Any) -> None:
        _of_tensorflow(model)
        model.operatorCodes[0].customCode = b"Mine"

    with pytest.raises(InputError, match=r"^a: .* refuses the model file: .*Mine"):
        get_runtime("tflite").load(changed(own), threads=1, place="a")
