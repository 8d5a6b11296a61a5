"""Both runtimes on real model files, and on files that are none."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import runner_fixtures as tiny
from onnx import TensorProto, helper

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.runtimes import RUNTIMES, get_runtime
from edgeticket.device_runner.runtimes.session import Port, Session, check_port, installed_version
from edgeticket.device_runner.unavailable import Unavailable

FILES = tiny.tiny_files()
ARTIFACTS = {entry.id: entry for entry in tiny.tiny_manifest(FILES).artifacts}


def load(name: str, *, threads: int = 1) -> Session:
    entry = ARTIFACTS[name]
    return get_runtime(entry.runtime).load(FILES[entry.file], threads=threads, place=name)


def queries(name: str, count: int = 20) -> Any:
    entry = ARTIFACTS[name]
    rng = np.random.default_rng(3)
    if entry.precision == "int8":
        return rng.integers(-128, 128, (count, *entry.input.shape)).astype(np.int8)
    return rng.normal(size=(count, *entry.input.shape)).astype(np.float32)


def expected(name: str, x: Any) -> Any:
    """The tiny network in float64."""
    entry = ARTIFACTS[name]
    last = np.moveaxis(x, 1, -1) if entry.input.layout == "NCHW" else x
    features = last.reshape(len(x), -1).astype(np.float64)
    if entry.precision == "int8":
        features = (features - tiny.INPUT_ZERO) * tiny.INPUT_SCALE
    y = features @ tiny.weights().T.astype(np.float64) * tiny.WEIGHT_SCALE
    if entry.precision == "int8":
        return np.clip(np.rint(y / tiny.OUTPUT_SCALE) + tiny.OUTPUT_ZERO, -128, 127)
    return y


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ARTIFACTS)
def test_answers_are_those_of_the_network(name: str, threads: int) -> None:
    session, entry = load(name, threads=threads), ARTIFACTS[name]
    for x in queries(name):
        y = session.run(x)
        assert y.dtype == np.dtype(entry.output.dtype)
        assert y.shape == entry.output.shape
        tolerance = 1 if entry.precision == "int8" else 1e-4  # one step of the codes
        np.testing.assert_allclose(y.astype(np.float64), expected(name, x), atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_answer_stays_and_the_question_is_copied(name: str) -> None:
    session, (first, second) = load(name), queries(name, 2)
    answer = session.run(first)
    kept = answer.copy()
    session.run(second)
    np.testing.assert_array_equal(answer, kept)
    first[...] = 0  # the session must not look at it again
    np.testing.assert_array_equal(session.run(second), session.run(second.copy()))


@pytest.mark.parametrize("name", ARTIFACTS)
def test_a_session_says_what_it_is(name: str) -> None:
    session, entry = load(name), ARTIFACTS[name]
    check_port(session.input, entry.input, place="input")
    check_port(session.output, entry.output, place="output")
    assert session.version == installed_version(session.package)
    assert isinstance(session.delegates, tuple)
    if entry.runtime == "ort":
        assert session.delegates == ("CPUExecutionProvider",)
    elif entry.precision == "int8":
        assert session.input.scale == tiny.INPUT_SCALE
        assert session.input.zero_point == tiny.INPUT_ZERO


@pytest.mark.parametrize("name", ["tiny-tflite-int8", "tiny-ort-int8"])
def test_another_model_than_the_manifest_promised(name: str) -> None:
    session, spec = load(name), ARTIFACTS[name].input
    wrong = [replace(spec, shape=(1, 9, 9, 3)), replace(spec, dtype="uint8", zero_point=0)]
    if name == "tiny-tflite-int8":  # ONNX files do not say
        wrong += [replace(spec, scale=0.1), replace(spec, zero_point=0)]
    for other in wrong:
        with pytest.raises(InputError, match=r"a: the input .* in the model file, but"):
            check_port(session.input, other, place="a: the input")
    with pytest.raises(InputError, match="make the bundle again"):
        check_port(Port((1, "H", 2, 3), "int8"), spec, place="x")
    open_batch = Port(("N", *spec.shape[1:]), "int8", spec.scale, spec.zero_point)
    check_port(open_batch, spec, place="x")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", [b"", b"hello", random.Random(1).randbytes(5000)])
def test_bytes_that_are_no_model(runtime: str, model: bytes) -> None:
    sentence = r"^a(: .* refuses the model file: | is no whole)"
    with pytest.raises(InputError, match=sentence) as caught:
        get_runtime(runtime).load(model, threads=1, place="a")
    assert "\n" not in str(caught.value)


def test_half_an_onnx_file() -> None:
    for size in range(1, len(FILES["models/ort-fp32.onnx"]), 17):
        with pytest.raises(InputError, match=r"^a"):
            get_runtime("ort").load(FILES["models/ort-fp32.onnx"][:size], threads=1, place="a")


def test_half_a_tflite_file() -> None:
    for size in range(1, len(FILES["models/tflite-fp32.tflite"]) // 2, 17):
        with pytest.raises(InputError, match=r"^a"):
            get_runtime("tflite").load(
                FILES["models/tflite-fp32.tflite"][:size], threads=1, place="a"
            )


def test_inputs_and_outputs_are_handed_over_by_name() -> None:
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "abc"]
    graph = helper.make_graph(
        [helper.make_node("Sub", ["a", "b"], ["c"])], "g", tensors[:2], tensors[2:]
    )
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    data = model.SerializeToString()
    one, two = np.ones((1, 2), np.float32), np.full((1, 2), 3, np.float32)
    for names, expected in ((None, -2), (["a", "b"], -2), (["b", "a"], 2)):
        session = get_runtime("ort").load(data, threads=1, place="a", inputs=names)
        assert list(session.inputs) == (names or ["a", "b"])
        (y,) = session.query((one, two))
        assert y.tolist() == [[expected] * 2]
    with pytest.raises(InputError, match="has the inputs a, b, but a, x in the manifest"):
        get_runtime("ort").load(data, threads=1, place="a", inputs=["a", "x"])
    with pytest.raises(InputError, match="there are 2, and this works with one alone"):
        session.run(one)


def test_an_unknown_runtime_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"unknown runtime 'tensorrt' \(known: ort, tflite\)"):
        get_runtime("tensorrt")


@pytest.mark.parametrize(
    ("runtime", "modules", "package"),
    [
        ("ort", ["onnxruntime"], "onnxruntime"),
        (
            "tflite",
            ["ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite"],
            "ai-edge-litert",
        ),
    ],
)
def test_a_missing_runtime_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, runtime: str, modules: list[str], package: str
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        InputError, match=f"runtime {runtime} cannot be used .*pip install {package}"
    ):
        get_runtime(runtime).load(b"", threads=1, place="a")


def test_a_package_without_metadata_has_a_reason() -> None:
    assert installed_version("no-such-package") == Unavailable(
        "no package metadata for no-such-package"
    )
