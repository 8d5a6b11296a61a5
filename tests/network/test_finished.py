"""A finished file as the network that a recipe starts from."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_fixtures import export_onnx

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.data.examples import Dataset
from edgeticket.pipeline.network.file import load_network, save_network
from edgeticket.pipeline.network.finished import read_finished
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.quantize import fold_bn
from edgeticket.pipeline.recipe import Recipe, check
from edgeticket.pipeline.run.candidate import Job
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.passes import apply_pass
from edgeticket.pipeline.run.preflight import check_recipe
from edgeticket.pipeline.store import Store

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def write(
    folder: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray[Any, Any]],
    *,
    takes: tuple[int | str, ...] = ("N", 3, 8, 8),
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("y",),
) -> Path:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", dtype, takes)],
        [helper.make_tensor_value_info(name, dtype, ("N", "M")) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), output.split(), name=output, **attributes)


HEAD = [node("ReduceMean", "f", "p", axes=[2, 3], keepdims=0), node("Gemm", "p m b", "y", transB=0)]


def classifier(folder: Path, body: list[onnx.NodeProto], width: int, **keys: Any) -> Path:
    """``body`` makes f of x, with ``width`` channels; a linear layer of 4 classes follows."""
    constants = {"m": numbers(width, 4), "b": numbers(4), "w": numbers(6, 3, 3, 3)}
    extra = {"w1": numbers(6, 1, 3, 3), "s": numbers(6, 1, 1), "half": np.float32(0.5)}
    constants |= extra | {"shape": np.array([0, 2, 3, -1]), "flat": np.array([1, 6, 6, 6])}
    constants |= {n: np.array(v) for n, v in {"one": 1, "ends": [7], "starts": [1]}.items()}
    constants |= {"sizes": np.array([2, 4]), "axes": np.array([1]), "shift": numbers(1, 6, 8, 8)}
    used = {name for n in (*body, *HEAD) for name in n.input}
    return write(folder, [*body, *HEAD], {n: constants[n] for n in constants if n in used}, **keys)


BODIES: dict[str, tuple[list[onnx.NodeProto], int]] = {
    "padded one side": (
        [node("Conv", "x w", "c", strides=[2, 2], pads=[0, 0, 1, 1]), node("Relu", "c", "f")],
        6,
    ),
    "padding by name": ([node("Conv", "x w", "f", strides=[2, 2], auto_pad="SAME_UPPER")], 6),
    "padding below": ([node("Conv", "x w", "f", strides=[3, 3], auto_pad="SAME_LOWER")], 6),
    "bias as an addition": ([node("Conv", "x w", "c"), node("Add", "s c", "f")], 6),
    "stored numbers": (
        [
            node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
            node("Relu", "c", "r"),
            node("Mul", "r s", "a"),
            node("Add", "a shift", "d"),
            node("Sub", "d half", "e"),
            node("Sub", "half e", "g"),
            node("Div", "g half", "f"),
        ],
        6,
    ),
    "differences": (
        [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Sub", "r c", "f")],
        6,
    ),
    "pieces": (
        [
            node("Conv", "x w", "c"),
            node("Split", "c sizes", "a d", axis=1),
            node("Slice", "a starts ends axes", "e"),
            node("Concat", "e d", "g", axis=1),
            node("Concat", "g one6", "f", axis=1),
        ],
        6,
    ),
    "shuffled": (
        [
            node("Conv", "x w", "c"),
            node("Reshape", "c shape", "r"),
            node("Transpose", "r", "t", perm=[0, 2, 1, 3]),
            node("Reshape", "t flat", "f"),
        ],
        6,
    ),
    "pools": (
        [
            node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
            node("MaxPool", "c", "a", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
            node(
                *("AveragePool", "a", "f"),
                kernel_shape=[2, 2],
                pads=[0, 0, 1, 1],
                count_include_pad=1,
            ),
        ],
        6,
    ),
}
BODIES["pieces"][0].pop()  # a constant is not as large as the batch is: see the class token below
BODIES["pieces"][0].append(node("Identity", "g", "f"))


@pytest.mark.parametrize("body", BODIES)
def test_files_answer_as_they_do_in_onnx_runtime(body: str, tmp_path: Path) -> None:
    """`read_finished` compares by itself; here the batch is larger, too."""
    nodes, width = BODIES[body]
    opset = 13
    if body == "pieces":
        width = 5  # one channel was cut away
    network = read_finished(classifier(tmp_path, nodes, width, opset=opset))
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        together = network.module()(x)
        single = torch.cat([network.module()(one) for one in x.split(1)])
    assert together.shape == (3, 4)
    torch.testing.assert_close(together, single)


@pytest.mark.parametrize(
    ("arch", "args"),
    [
        ("lenet5", {}),
        ("cifar_conv_vit", {"width": 16, "heads": 2, "depth": 1}),
        ("separable_classifier", {"mels": 6, "frames": 21, "width": 8, "blocks": 1, "kernel": 5}),
    ],
)
def test_exported_networks_come_back(arch: str, args: dict[str, int], tmp_path: Path) -> None:
    network = Network.fresh(arch, args, seed=0)
    module = fold_bn(network.module(), network.input_shape)
    x = torch.randn(2, *network.input_shape)
    file = tmp_path / "model.onnx"
    file.write_bytes(export_onnx(module, x[:1]))
    again = read_finished(file)
    assert again.takes == network.input_shape
    with torch.no_grad():
        torch.testing.assert_close(again.module()(x), module(x), atol=1e-4, rtol=1e-4)
    save_network(again, tmp_path / "saved")  # and need the file no more
    assert load_network(tmp_path / "saved").digest == again.digest


def test_gelu_of_five_operators_and_a_class_token(tmp_path: Path) -> None:
    for halved_first in (False, True):
        last = [node("Mul", "e2 x1", "e3"), node("Mul", "e3 half", "g")]
        if halved_first:
            last = [node("Mul", "x1 half", "e3"), node("Mul", "e2 e3", "g")]
        nodes = [
            node("Reshape", "x tokens", "t"),
            node("MatMul", "t m1", "x0"),
            node("Add", "x0 b1", "x1"),
            node("Div", "x1 root", "e0"),
            node("Erf", "e0", "e1"),
            node("Add", "e1 one", "e2"),
            *last,
            node("Concat", "token g", "j", axis=1),
            node("LayerNormalization", "j scale b1", "n"),
            node("Gather", "n first", "c", axis=1),
            node("Gemm", "c m b", "y", transB=0),
        ]
        constants = {"tokens": np.array([0, 16, 12]), "m1": numbers(12, 8), "b1": numbers(8)}
        constants |= {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
        constants |= {"token": numbers(1, 1, 8), "scale": numbers(8), "first": np.array(0)}
        constants |= {"m": numbers(8, 4), "b": numbers(4)}
        network = read_finished(write(tmp_path, nodes, constants))
        assert '"Gelu"' in str(network.args["graph"])
        assert network.module()(torch.randn(5, 3, 8, 8)).shape == (5, 4)


def conv(**keys: Any) -> Callable[[Path], Path]:
    body = [node("Conv", "x w", "c"), node("Relu", "c", "f")]
    return lambda folder: classifier(folder, body, 6, **keys)


def one(kind: str, inputs: str = "x", **attributes: Any) -> Callable[[Path], Path]:
    body = [node(kind, inputs, "c", **attributes), node("Conv", "c w", "f")]
    return lambda folder: classifier(folder, body, 6)


def truncated(folder: Path) -> Path:
    file = conv()(folder)
    file.write_bytes(file.read_bytes()[:-40])
    return file


def not_finite(folder: Path) -> Path:
    model = onnx.load(conv()(folder))
    array = numpy_helper.to_array(model.graph.initializer[0]).copy()
    array.flat[0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "m"))
    onnx.save(model, folder / "nan.onnx")
    return folder / "nan.onnx"


def outside(folder: Path) -> Path:
    model = onnx.load(conv()(folder))
    file = folder / "outside.onnx"
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return file


def outside_and_gone(folder: Path) -> Path:
    file = outside(folder)
    (folder / "weights.bin").unlink()
    return file


def test_weights_in_a_file_beside_it_are_taken_in(tmp_path: Path) -> None:
    file = outside(tmp_path)
    onnx.save(onnx.load(file), tmp_path / "inside.onnx")
    kept = read_finished(file).weights
    inside = read_finished(tmp_path / "inside.onnx").weights
    assert kept.keys() == inside.keys()
    assert all(torch.equal(kept[name], inside[name]) for name in kept)


def branches(folder: Path) -> Path:
    branch = helper.make_graph(
        [node("Identity", "x", "i")],
        "branch",
        [],
        [helper.make_tensor_value_info("i", TensorProto.FLOAT, ("N", 3, 8, 8))],
    )
    nodes = [node("If", "yes", "y", then_branch=branch, else_branch=branch)]
    return write(folder, nodes, {"yes": np.array(True)})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (truncated, r"is no whole ONNX file \(.*\): export or copy it again"),
        (not_finite, "m holds NaN or infinity: the training diverged, or the file is damaged"),
        (outside_and_gone, r"weights\.bin is missing: copy it there, or export with the weights"),
        (branches, r"y \(If\) is control flow.*: export it traced, without branches and loops"),
        (conv(takes=("N", 3, "H", 8)), r"leaves size 2 open \(H\): export it with that size fixed"),
        (conv(takes=(4, 3, 8, 8)), "takes 4 examples at a time: export it with a batch of 1, or"),
        (conv(takes=(1, 8, 8)), "export it with operator set 20|not valid ONNX"),
        (conv(dtype=TensorProto.FLOAT16), "its input is float16: export the network in float32"),
        (one("Hardmax"), r"c \(Hardmax\) has no counterpart here; replace it by one of Abs, Add"),
        (one("QuantizeLinear", "x half"), "is quantised already: give the float one, or make a"),
        (one("Nonsense"), "No Op registered for Nonsense.*: use standard ONNX operators"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(
    make: Callable[[Path], Path], sentence: str, tmp_path: Path
) -> None:
    file = make(tmp_path)
    with pytest.raises(InputError, match=sentence) as caught:
        read_finished(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_network_may_have_several_outputs(tmp_path: Path) -> None:
    network = read_finished(conv(outputs=("y", "c"))(tmp_path))
    first, second = network.module()(torch.randn(3, 3, 8, 8))
    assert first.shape == (3, 4)
    assert second.shape == (3, 6, 6, 6)


def test_heads_of_a_file_with_a_batch_of_one_stay_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Detectors reshape each map to [1, -1, 2]: what is left are its places, not the batch."""
    count = 8 * 8 * 3 + 2 * 2 * 2
    constants = {
        "w": numbers(6, 3, 3, 3),
        "v": numbers(4, 6, 3, 3),
        "left": np.array([1, -1, 2]),
        "rows": np.array([-1, 2]),
        "apart": np.array([1, count, 2]),
    }
    nodes = [
        node("Conv", "x w", "one", pads=[1, 1, 1, 1]),
        node("Conv", "one v", "two", strides=[3, 3]),
        node("Transpose", "one", "one_last", perm=[0, 2, 3, 1]),
        node("Transpose", "two", "two_last", perm=[0, 2, 3, 1]),
        node("Reshape", "one_last left", "of_one"),
        node("Reshape", "two_last left", "of_two"),
        node("Concat", "of_one of_two", "both", axis=1),
        node("Reshape", "both rows", "flat"),
        node("Softmax", "flat", "likely", axis=1),
        node("Reshape", "likely apart", "scores"),
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    # Files of old exporters list weights among the inputs, too.
    weight = helper.make_tensor_value_info("w", TensorProto.FLOAT, (6, 3, 3, 3))
    graph = helper.make_graph(
        nodes,
        "heads",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8)), weight],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, count, 2))],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=8)
    file = tmp_path / "heads.onnx"
    file.write_bytes(model.SerializeToString())
    module = read_finished(file).module()
    assert module(torch.zeros(3, 3, 8, 8)).shape == (3, count, 2)
    assert not caplog.records


def test_no_file_and_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_finished(tmp_path / "absent.onnx")
    for data in (b"", b"a text"):
        (tmp_path / "text.onnx").write_bytes(data)
        with pytest.raises(InputError, match="is no whole ONNX file"):
            read_finished(tmp_path / "text.onnx")


def data(side: int = 8) -> Dataset:
    labels = np.arange(60, dtype=np.int64) % 4
    inputs = RNG.integers(0, 255, (60, side, side, 3)).astype(np.uint8)
    split = Split(inputs, labels)
    steps = ({"op": "normalize", "mean": [127.5] * 3, "std": [64.0] * 3},)
    return Dataset("made up", split, split, split, split, tuple("abcd"), steps)


def recipe(*passes: dict[str, Any], **model: Any) -> Recipe:
    keys = {"name": "own", "data": {"name": "digits"}, "compress": [*passes]}
    source = {} if "pt2" in model else {"onnx": "model.onnx"}
    return check(Recipe, {**keys, "model": {**source, **model}}, place="test")


def test_a_file_becomes_int8(tmp_path: Path) -> None:
    conv()(tmp_path)
    job = Job(recipe({"method": "ptq"}), data(), Store(tmp_path / "s"), QUIET, (tmp_path,))
    check_recipe(job)
    dense = dense_network(job)
    int8 = apply_pass(job, dense, 0)
    assert dense.log[0]["onnx"] == "model.onnx"
    assert int8.scales is not None
    assert int8.log[-1]["validation_agreement"] > 0.9


def test_a_program_of_torch_export_becomes_int8(tmp_path: Path) -> None:
    """Exported from the network of an ONNX file, which is a module like any other."""
    module = read_finished(conv()(tmp_path)).module()
    sizes = ({0: torch.export.Dim.DYNAMIC},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=(sizes,), strict=False
        )
    torch.export.save(program, tmp_path / "model.pt2")
    asked = recipe({"method": "ptq"}, pt2="model.pt2")
    job = Job(asked, data(), Store(tmp_path / "s"), QUIET, (tmp_path,))
    check_recipe(job)
    int8 = apply_pass(job, dense_network(job), 0)
    assert int8.scales is not None
    assert int8.log[-1]["validation_agreement"] > 0.9


def test_channels_go_with_the_stored_numbers_of_what_they_pass(tmp_path: Path) -> None:
    """PRelu has slopes for each channel, which go with what it reads."""
    body = [
        node("Conv", "x w", "c"),
        node("Conv", "c w1", "d", group=6),
        node("Conv", "d w2", "e"),
        node("PRelu", "e s", "f"),
    ]
    constants = {"m": numbers(6, 4), "b": numbers(4), "w": numbers(6, 3, 3, 3)}
    constants |= {"w1": numbers(6, 1, 3, 3), "w2": numbers(6, 6, 1, 1), "s": numbers(6, 1, 1)}
    network = read_finished(write(tmp_path, [*body, *HEAD], constants))
    groups = find_groups(network.module(), network.input_shape)
    group = next(group for group in groups if "c" in group.producers)
    assert {*group.producers} == {"c", "d"}
    kept = torch.arange(6) > 1
    shapes = {f"{n}.weight": network.weights[f"{n}.weight"].shape for n in group.producers}
    mask = Mask({n: kept.reshape(-1, 1, 1, 1).expand(shape) for n, shape in shapes.items()})
    narrow = shrink(network, mask)
    assert narrow.weights["d.weight"].shape == (4, 1, 3, 3)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(narrow.module()(x), mask.apply(network).module()(x))
    folded = fold_bn(narrow.module(), narrow.input_shape)
    torch.testing.assert_close(folded(x), narrow.module()(x))


@pytest.mark.parametrize(
    ("passes", "model", "sentence"),
    [
        (["finetune", "ptq"], {}, "finetune trains, and model.onnx is a finished file"),
        (["qat"], {}, "qat trains, and model.onnx .* give the network that it was exported from"),
        (["ptq"], {"weights": "w"}, "model.onnx has its weights and sizes in it: leave out"),
        (
            ["ptq"],
            {"arch": "resnet20"},
            "exactly one of arch, import, torchvision, timm, onnx, pt2",
        ),
    ],
)
def test_recipes_that_ask_too_much_of_a_file(
    passes: list[str], model: dict[str, Any], sentence: str
) -> None:
    steps = [{"method": p, **({} if p == "ptq" else {"train": {"epochs": 1}})} for p in passes]
    with pytest.raises(InputError, match=sentence):
        recipe(*steps, **model)
