"""Models that other tools made become bundles that the runner measures right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_fixtures import export_onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn
from typer.testing import CliRunner

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.check import check_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plan import Plan
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.external.bundle import bundle_foreign
from edgeticket.pipeline.external.file import read_external

FILES = Path(__file__).parents[1] / "foreign"
MEAN, STD = [127.5], [60.0]
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 40)
INPUTS = np.clip(
    RNG.normal(60 + 40 * LABELS[:, None, None, None], 25, (40, 8, 10, 3)), 0, 255
).astype(np.uint8)


def network() -> nn.Module:
    """Tells the four brightnesses apart: logits a·x − a²/2 of the mean x."""
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 4),
    )
    levels = (torch.tensor([60.0, 100.0, 140.0, 180.0]) - 127.5) / 60
    with torch.no_grad():
        conv, head = module[0], module[4]
        conv.weight.zero_()
        conv.weight[0, :, 1, 1], conv.weight[1, :, 1, 1] = 1 / 3, -1 / 3
        conv.bias.copy_(torch.tensor([2.0, 2.0, 0.0, 0.0]))
        head.weight.zero_()
        head.weight[:, 0], head.weight[:, 1] = levels, -levels
        head.weight *= 0.5
        head.bias.copy_(-(levels**2) / 2)
    return module.eval()


def values(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = ((inputs.astype(np.float32) - MEAN[0]) / STD[0]).astype("f4")
    return found


def expected_top1() -> float:
    with torch.inference_mode():
        outputs = network()(torch.from_numpy(values(INPUTS).transpose(0, 3, 1, 2)))
    top1 = float((outputs.argmax(1).numpy() == LABELS).mean())
    assert top1 > 0.9
    return top1


class _Reader(CalibrationDataReader):
    def __init__(self, name: str) -> None:
        batches = values(INPUTS).transpose(0, 3, 1, 2)
        self._queries = iter([{name: one[None]} for one in batches])

    def get_next(self) -> Any:
        return next(self._queries, None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """float.onnx with an open batch, qdq.onnx and qoperator.onnx of ONNX Runtime's quantiser,
    codes.onnx that takes and gives codes, and samples."""
    folder = tmp_path_factory.mktemp("foreign")
    model = onnx.load_model_from_string(export_onnx(network(), torch.zeros(1, 3, 8, 10)))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, folder / "float.onnx")
    name = onnx.load(folder / "float.onnx").graph.input[0].name
    for form, activations in (("QDQ", QuantType.QInt8), ("QOperator", QuantType.QUInt8)):
        quantize_static(
            *(folder / "float.onnx", folder / f"{form.lower()}.onnx", _Reader(name)),
            quant_format=QuantFormat[form],
            activation_type=activations,
            weight_type=QuantType.QInt8,
        )
    np.savez(folder / "samples.npz", inputs=INPUTS, labels=LABELS)
    return folder


def _with_codes(file: Path, target: Path) -> None:
    """Take the outer QuantizeLinear and DequantizeLinear off, as converters do."""
    model = onnx.load(file)
    graph = model.graph
    first = next(n for n in graph.node if graph.input[0].name in n.input)
    last = next(n for n in graph.node if graph.output[0].name in n.output)
    assert (first.op_type, last.op_type) == ("QuantizeLinear", "DequantizeLinear")
    for value, name in ((graph.input[0], first.output[0]), (graph.output[0], last.input[0])):
        value.name = name
        value.type.tensor_type.elem_type = TensorProto.INT8
    graph.node.remove(first)
    graph.node.remove(last)
    onnx.save(model, target)


def top1_of(folder: Path, *models: Path, **keys: Any) -> dict[str, float]:
    options: dict[str, Any] = {
        "labels": None,
        "names": None,
        "mean": MEAN,
        "std": STD,
        "layout": None,
    }
    samples = keys.pop("samples", folder / "samples.npz")
    bundle_foreign(models, samples=samples, out=folder / "made", **{**options, **keys})
    plan = Plan(min_seconds=0.0, min_queries=5, warmup_seconds=0.0)
    reports = bench(folder / "made", plan=plan)
    return {r.artifact.id: r.accuracy.top1 for r in reports}


def test_models_of_onnxruntimes_quantiser(made: Path) -> None:
    _with_codes(made / "qdq.onnx", made / "codes.onnx")
    names = ("float", "qdq", "qoperator", "codes")
    found = top1_of(made, *(made / f"{name}.onnx" for name in names))
    assert found.pop("float") == expected_top1()
    assert all(abs(top1 - expected_top1()) <= 0.05 for top1 in found.values())
    with open_bundle(made / "made") as bundle:
        by_id = {artifact.id: artifact for artifact in bundle.manifest.artifacts}
        networks = bundle.manifest.networks
    assert [by_id[name].precision for name in names] == ["fp32", "int8", "int8", "int8"]
    assert by_id["codes"].input.dtype == by_id["codes"].output.dtype == "int8"
    assert by_id["float"].role == "baseline"
    # 3×3 convolution of 3 channels to 4 on 8×10 pixels, and 4×4.
    assert networks == {"model-1": networks["model-1"]}
    assert networks["model-1"].macs == 80 * 4 * 27 + 16
    assert networks["model-1"].parameters == 4 * 27 + 4 + 16 + 4


def test_codes_come_from_the_files_scale(made: Path) -> None:
    _with_codes(made / "qdq.onnx", made / "codes.onnx")
    (found,) = read_external(made / "codes.onnx").inputs
    model = onnx.load(made / "qdq.onnx")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    first = next(n for n in model.graph.node if n.op_type == "QuantizeLinear")
    assert found.scale == float(constants[first.input[1]])
    assert found.zero_point == int(constants[first.input[2]])


def test_channels_first_and_float_samples(made: Path) -> None:
    np.save(made / "floats.npy", values(INPUTS).transpose(0, 3, 1, 2))
    (made / "labels.txt").write_text("\n".join(map(str, LABELS)))
    keys = {"samples": made / "floats.npy", "labels": made / "labels.txt", "mean": [], "std": []}
    assert top1_of(made, made / "float.onnx", **keys) == {"float": expected_top1()}


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.glob("*.tflite")))
def test_models_of_tensorflow(name: str, made: Path) -> None:
    """Made by tests/foreign/make.py: float and integer, channels last."""
    facts = json.loads((FILES / "facts.json").read_text())
    inputs = np.load(FILES / "inputs.npy")
    np.savez(made / "theirs.npz", inputs=inputs, labels=np.array(facts["labels"]))
    keys = {"samples": made / "theirs.npz", "mean": [facts["mean"]], "std": [facts["std"]]}
    (found,) = top1_of(made, FILES / name, **keys).values()
    assert found == facts["top1"][name] > 0.8
    described = read_external(FILES / name)
    with open_bundle(made / "made") as bundle:
        assert bundle.manifest.artifacts[0].input.layout == "NHWC"
    assert described.macs == facts["macs"]
    assert described.precision == ("int8" if "int8" in name or "uint8" in name else "fp32")


def test_a_count_that_nobody_knows_is_no_number(tmp_path: Path) -> None:
    """And it is in the manifest as such, with the reason."""
    matrix = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Constant", [], ["w"], value=matrix),
        helper.make_node("Einsum", ["f", "w"], ["y"], equation="...i,ij->...j"),
    ]
    (tmp_path / "m.onnx").write_bytes(_graph(*nodes, y=(1, 4)))
    np.savez(tmp_path / "samples.npz", inputs=INPUTS, labels=LABELS)
    top1_of(tmp_path, tmp_path / "m.onnx")
    with open_bundle(tmp_path / "made") as bundle:
        (network,) = bundle.manifest.networks.values()
    assert network.parameters == 12
    assert network.macs == Unavailable("the sizes of y (Einsum) are not known")


@pytest.mark.parametrize(
    "name",
    ["a\x1b[31m", "[bold]", "a|b`c`", "<b>", "\udcff", "\u202e", "-", "a b\n", "&amp;", "ß" * 60],
)
def test_whatever_files_are_called(made: Path, tmp_path: Path, name: str) -> None:
    """Names of model files, samples and classes end in the manifest, which stays readable."""
    model, samples = tmp_path / f"{name}.onnx", tmp_path / f"{name}.npz"
    model.write_bytes((made / "float.onnx").read_bytes())
    samples.write_bytes((made / "samples.npz").read_bytes())
    kept = name.encode(errors="replace").decode().replace("\n", "")
    (tmp_path / "names").write_text("\n".join(f"{kept}{i}" for i in range(4)))
    keys = {"samples": samples, "names": tmp_path / "names", "mean": MEAN, "std": STD}
    bundle_foreign([model], labels=None, layout=None, out=tmp_path / "b", **keys)
    manifest = check_bundle(tmp_path / "b")
    assert manifest.labels == tuple(f"{kept}{i}" for i in range(4))
    told = [manifest.samples.dataset, *manifest.provenance["files"]]
    assert all(text.isprintable() and text.encode() for text in told)


def test_the_command(made: Path) -> None:
    arguments = ["bundle", str(made / "float.onnx"), "--samples", str(made / "samples.npz")]
    done = CliRunner().invoke(
        app, [*arguments, "--mean", "127.5", "--std", "60", "-o", str(made / "b")]
    )
    assert done.exit_code == 0, done.output
    assert "float: ort fp32, takes float32 NCHW [1, 3, 8, 10]" in done.output
    assert (made / "b.zip").exists()


def _graph(
    *nodes: onnx.NodeProto, shape: Any = (1, 3, 8, 10), out: int = TensorProto.FLOAT, y: Any = None
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", out, y or shape)],
    )
    opset = [helper.make_opsetid("", 20)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString())


def _branch() -> bytes:
    def side(name: str) -> onnx.GraphProto:
        made = helper.make_node("Identity", ["x"], [name])
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 8, 10))
        return helper.make_graph([made], name, [], [value])

    yes = numpy_helper.from_array(np.array(True), "yes")
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=yes),
        helper.make_node("If", ["yes"], ["y"], then_branch=side("a"), else_branch=side("b")),
    ]
    return _graph(*nodes)


RELU = helper.make_node("Relu", ["x"], ["y"])
BAD = {
    "empty.onnx": (b"", "empty.onnx is no whole ONNX file"),
    "text.onnx": (b"hello, this is no model", "text.onnx is no whole ONNX file"),
    "if.onnx": (_branch(), r"\(If\) is control flow"),
    "size.onnx": (_graph(RELU, shape=("n", 3, "h", 10)), r"x leaves its size 2 open \(h\)"),
    "own.onnx": (
        _graph(helper.make_node("Mine", ["x"], ["y"], domain="mine")),
        "own.onnx: onnxruntime refuses the model file|is no whole ONNX file",
    ),
    "half.onnx": (
        _graph(
            helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16), out=TensorProto.FLOAT16
        ),
        "the output is float16, which bundles cannot hold",
    ),
    "empty.tflite": (b"", "no whole TFLite file"),
    "text.tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(40), "empty.tflite|refuses|no whole TFLite"),
    "model.pb": (b"", "ends in .onnx or .tflite"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_no_bundle_can_hold_is_named(name: str, tmp_path: Path) -> None:
    data, sentence = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=sentence) as caught:
        read_external(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_named(made: Path, tmp_path: Path) -> None:
    for length in (10, 200, 900):
        (tmp_path / "cut.onnx").write_bytes((made / "float.onnx").read_bytes()[:length])
        with pytest.raises(InputError, match=r"cut\.onnx"):
            read_external(tmp_path / "cut.onnx")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"labels": LABELS[:-1]}, r"labels are int64 \[39\]: give the class of each of the 40"),
        ({"labels": LABELS / 2}, "labels are float64"),
        ({"inputs": None}, "but no inputs"),
        ({"inputs": INPUTS.astype(np.complex64)}, "inputs are complex64"),
        ({"inputs": INPUTS[:0]}, r"inputs are uint8 \[0, 8, 10, 3\]"),
        ({"inputs": np.full((40, 8), np.nan, "f4")}, "not all finite"),
        ({"inputs": INPUTS[:, :5]}, "they do not fit; resize the samples"),
        ({"inputs": np.array([None])}, "is no whole .npy or .npz of plain arrays"),
    ],
)
def test_samples_that_do_not_fit(
    made: Path, tmp_path: Path, changed: dict[str, Any], sentence: str
) -> None:
    arrays = {"inputs": INPUTS, "labels": LABELS, **changed}
    np.savez(tmp_path / "s.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(InputError, match=sentence):
        top1_of(tmp_path, made / "float.onnx", samples=tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"mean": [1.0]}, "give both"),
        ({"mean": [1.0], "std": [0.0]}, "std above 0"),
        ({"mean": [1.0, 2.0], "std": [1.0, 1.0]}, r"one number or 3 \(one per channel\)"),
        ({"layout": "NC", "mean": [], "std": []}, "is not a batch of 1 and the layout"),
    ],
)
def test_wishes_that_do_not_fit(made: Path, keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        top1_of(made, made / "float.onnx", **{"std": [], **keys})
    assert not list(made.glob(".made-*"))
