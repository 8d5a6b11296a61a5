"""Recurrent layers, unrolled: the same function in torch, and in the files of both runtimes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.read import read_graph
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.graph.capture import capture
from edgeticket.pipeline.graph.graph import IR_VERSION, OPSET, Graph
from edgeticket.pipeline.graph.module import to_module
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq

STEPS, INPUTS, SIZE = 5, 3, 4
LAYERS = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
}


def outputs(found: Any) -> list[Tensor]:
    if isinstance(found, Tensor):
        return [found]
    return [tensor for part in found for tensor in outputs(part)]


class Sequence(nn.Module):
    """[N, T, I] -> all that a recurrent layer returns, examples first."""

    def __init__(self, kind: str, *, start: str = "zero", **settings: Any) -> None:
        super().__init__()
        self.layer = LAYERS[kind](INPUTS, SIZE, **settings)
        self.is_lstm, self.start = kind == "lstm", start
        states = self.layer.num_layers * (1 + self.layer.bidirectional)
        self.state = nn.Parameter(torch.randn(1 + self.is_lstm, states, 1, SIZE))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        before = None
        if self.start == "stored":
            parts = [part.expand(-1, x.shape[0], -1) for part in self.state]
            before = tuple(parts) if self.is_lstm else parts[0]
        if not self.layer.batch_first:
            x = x.transpose(0, 1)
        found, last = self.layer(x, before)
        if not self.layer.batch_first:
            found = found.transpose(0, 1)
        return found, *(part.transpose(0, 1) for part in outputs(last))


def check(module: nn.Module, graph: Graph, *shape: int) -> None:
    """The graph computes what the module does, for one example and for several."""
    for batch in (1, 3):
        x = torch.randn(batch, *shape)
        with torch.no_grad():
            expected, given = outputs(module(x)), outputs(to_module(graph)(x))
        for want, have in zip(expected, given, strict=True):
            assert want.shape == have.shape
            assert (want - have).abs().max() <= 1e-5 * max(1.0, float(want.abs().max()))


# Layers, both directions, batch first, bias: each pair of settings once at least.
FORMS = [
    (1, False, False, False),
    (1, True, True, True),
    (2, False, True, True),
    (2, True, False, True),
    (2, True, True, False),
]


class Variants(nn.Module):
    """Layers of one kind in several forms, side by side: tracing each by itself takes long."""

    def __init__(self, kind: str, start: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Sequence(
                kind,
                start=start,
                num_layers=layers,
                bidirectional=both,
                batch_first=first,
                bias=bias,
            )
            for layers, both, first, bias in FORMS
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor for layer in self.layers for tensor in layer(x))


@pytest.mark.parametrize("start", ["zero", "stored"])
@pytest.mark.parametrize("kind", LAYERS)
def test_capture_computes_what_the_layer_does(kind: str, start: str) -> None:
    torch.manual_seed(0)
    module = Variants(kind, start).eval()
    check(module, capture(module, (3, INPUTS)), 3, INPUTS)


class Last(nn.Module):
    """Classes of the last state, read in one of several ways."""

    def __init__(self, kind: str, how: str, **settings: Any) -> None:
        super().__init__()
        self.layer = LAYERS[kind](INPUTS, SIZE, batch_first=True, **settings)
        self.head = nn.Linear(SIZE, 2)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        y, last = self.layer(x)
        h = last[0] if isinstance(last, tuple) else last
        state = {
            "last step": lambda: y[:, -1],
            "last state": lambda: h[-1],
            "squeezed": lambda: h.squeeze(0),
            "mean": lambda: y.mean(1),
        }[self.how]()
        return self.head(state)


@pytest.mark.parametrize("how", ["last step", "last state", "squeezed", "mean"])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_state_may_be_read_in_any_way(kind: str, how: str) -> None:
    torch.manual_seed(0)
    module = Last(kind, how).eval()
    check(module, capture(module, (STEPS, INPUTS)), STEPS, INPUTS)


def test_what_is_not_read_is_not_there() -> None:
    graph = capture(Last("lstm", "last step").eval(), (STEPS, INPUTS))
    kinds = [op.kind for op in graph.operators]
    assert "Concat" not in kinds
    assert kinds.count("Gemm") == 1 + (STEPS - 1) + 1  # of all inputs; each state but 0; the head


def test_the_last_step_of_two_directions_runs_one_step_backwards() -> None:
    graph = capture(_LastOfBoth().eval(), (STEPS, INPUTS))
    assert sum(op.kind == "Gemm" for op in graph.operators) == 2 + (STEPS - 1)


class _LastOfBoth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(INPUTS, SIZE, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0][:, -1]  # type: ignore[no-any-return]


class Cells(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for t in range(3):
            state = self.cell(x[:, t], state)
        return outputs(state)[0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        nn.LSTMCell,
        nn.GRUCell,
        nn.RNNCell,
        lambda *a, **k: nn.RNNCell(*a, nonlinearity="relu", **k),
    ],
)
def test_cells_that_a_module_runs_itself(make: Any, bias: bool) -> None:
    torch.manual_seed(0)
    module = Cells(make(INPUTS, SIZE, bias=bias)).eval()
    check(module, capture(module, (3, INPUTS)), 3, INPUTS)


class Encoded(nn.Module):
    """One layer starts where another ended."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(INPUTS, SIZE, num_layers=2, batch_first=True)
        self.decoder = nn.LSTM(INPUTS, SIZE, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.encoder(x)
        return self.decoder(x, state)[0]  # type: ignore[no-any-return]


def test_a_state_may_come_from_another_layer() -> None:
    torch.manual_seed(0)
    module = Encoded().eval()
    check(module, capture(module, (STEPS, INPUTS)), STEPS, INPUTS)


def test_projections_are_refused_by_name() -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.r = nn.LSTM(INPUTS, SIZE, proj_size=2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.r(x)[0]  # type: ignore[no-any-return]

    with pytest.raises(InputError, match=r"r \(lstm\) projects its state"):
        capture(Projected(), (STEPS, INPUTS))


def test_examples_are_no_steps_of_time() -> None:
    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.r = nn.GRU(INPUTS, SIZE)

        def forward(self, x: Tensor) -> Tensor:
            return self.r(x)[0]  # type: ignore[no-any-return]

    with pytest.raises(InputError, match=r"r \(gru\) takes the examples for steps of time"):
        capture(TimeFirst(), (STEPS, INPUTS))


# --- ONNX


def onnx_model(kind: str, **attributes: Any) -> tuple[bytes, bool]:
    """A file of one recurrent node with all its outputs, and whether it starts at stored states."""
    start = attributes.pop("start", "zero")
    bias = attributes.pop("bias", True)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    count = 2 if attributes.get("direction") == "bidirectional" else 1
    layout = attributes.get("layout", 0)
    random = np.random.default_rng(0)

    def stored(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(0, 0.5, shape).astype(np.float32), name)

    tensors = [
        stored("w", count, gates * SIZE, INPUTS),
        stored("r", count, gates * SIZE, SIZE),
    ]
    inputs = ["x", "w", "r", "", "", ""]
    if bias:
        tensors.append(stored("b", count, 2 * gates * SIZE))
        inputs[3] = "b"
    if start == "stored":
        shape = (1, count, SIZE) if layout else (count, 1, SIZE)
        tensors.append(stored("h0", *shape))
        inputs[5] = "h0"
        if kind == "LSTM":
            tensors.append(stored("c0", *shape))
            inputs.append("c0")
    names = ["y", "y_h", "y_c"][: 3 if kind == "LSTM" else 2]
    node = helper.make_node(kind, inputs, names, hidden_size=SIZE, **attributes)
    # Networks begin with the batch: what is time first is turned in the file.
    begin, source = [], "input"
    if not layout:
        begin = [helper.make_node("Transpose", ["input"], ["x"], perm=[1, 0, 2])]
    else:
        node.input[0] = source
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * (3 + (name == "y")))
        for name in names
    ]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, STEPS, INPUTS])
    body = helper.make_graph([*begin, node], "g", [given], ends, tensors)
    model = helper.make_model(
        body, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    return bytes(model.SerializeToString()), start == "stored"


ONNX_CASES = [
    (kind, {"direction": direction, "layout": layout, "start": start, "bias": bias} | more)
    for kind, more in [
        ("LSTM", {}),
        ("GRU", {"linear_before_reset": 0}),
        ("GRU", {"linear_before_reset": 1}),
        ("RNN", {}),
    ]
    for direction in ("forward", "reverse", "bidirectional")
    for layout, start, bias in [
        (0, "zero", True),
        (0, "stored", True),
        (0, "zero", False),
        (1, "stored", True),
    ]
]


@pytest.mark.parametrize(("kind", "settings"), ONNX_CASES)
def test_onnx_nodes_compute_what_onnx_says(kind: str, settings: dict[str, Any]) -> None:
    """Against the reference implementation of ONNX, which knows every layout."""
    data, _ = onnx_model(kind, **settings)
    x = np.random.default_rng(1).normal(size=(1, STEPS, INPUTS)).astype(np.float32)
    graph = read_graph(data)
    with torch.no_grad():
        given = outputs(to_module(graph)(torch.from_numpy(x)))
    for want, have in zip(_expected(data, settings, x), given, strict=True):
        assert have.shape == want.shape
        np.testing.assert_allclose(have.numpy(), want, atol=1e-5)


def _expected(data: bytes, settings: dict[str, Any], x: np.ndarray) -> list[np.ndarray]:
    """ONNX Runtime's own operator; it knows time first alone."""
    import onnxruntime

    model = onnx.load_model_from_string(data)
    batch_first = settings["layout"] == 1
    if batch_first:
        node = model.graph.node[0]
        node.attribute.remove(next(a for a in node.attribute if a.name == "layout"))
        for tensor in model.graph.initializer:
            if tensor.name in ("h0", "c0"):
                turned = numpy_helper.to_array(tensor).transpose(1, 0, 2)
                tensor.CopyFrom(numpy_helper.from_array(turned.copy(), tensor.name))
        shape = model.graph.input[0].type.tensor_type.shape.dim
        shape[0].dim_value, shape[1].dim_value = STEPS, 1
        x = x.transpose(1, 0, 2)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"input": np.ascontiguousarray(x)})
    if batch_first:
        found = [found[0].transpose(2, 0, 1, 3), *(part.transpose(1, 0, 2) for part in found[1:])]
    return [np.asarray(part) for part in found]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"clip": 3.0}, "clip"),
        ({"activations": ["Sigmoid", "Relu", "Tanh"]}, "activations"),
        ({"input_forget": 1}, "couples"),
    ],
)
def test_what_onnx_has_beyond_that_is_refused(settings: dict[str, Any], match: str) -> None:
    data, _ = onnx_model("LSTM", **settings)
    with pytest.raises(InputError, match=match):
        read_graph(data)


# --- files


def run_onnx(data: bytes, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: one[None]})[0] for one in x])


def run_tflite(data: bytes, x: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for one in x:
        interpreter.set_tensor(source["index"], one[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(end["index"]).copy())
    return np.concatenate(found)


class Whole(nn.Module):
    """[N, I, T] -> [N, classes, T]: all steps are read, channels first as files have them."""

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__()
        self.layer = LAYERS[kind](INPUTS, 8, batch_first=True, **settings)
        self.head = nn.Linear(16 if settings.get("bidirectional") else 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x.transpose(1, 2))[0]).transpose(1, 2)  # type: ignore[no-any-return]


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


FILES = [
    *((kind, {}) for kind in LAYERS),
    ("gru", {"bidirectional": True}),
    ("lstm", {"num_layers": 2, "bidirectional": True}),
]


@pytest.mark.parametrize(("kind", "settings"), FILES)
def test_files_compute_what_the_layer_does(kind: str, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = Whole(kind, **settings).eval()
    x = torch.randn(4, INPUTS, 12)
    graph = export(fold_bn(module, tuple(x.shape[1:])))
    with torch.no_grad():
        expected = module(x).numpy()
    largest = np.abs(expected).max()
    by_onnx = run_onnx(TARGETS["onnx-fp32"].convert(graph).data, x.numpy())
    by_tflite = run_tflite(TARGETS["tflite-fp32"].convert(graph).data, channels_last(x.numpy()))
    assert np.abs(by_onnx - expected).max() <= 1e-4 * largest
    assert np.abs(np.moveaxis(by_tflite, -1, 1) - expected).max() <= 1e-4 * largest


@pytest.mark.parametrize(("kind", "settings"), FILES)
def test_int8_is_the_same_in_both_runtimes_and_near_to_float(
    kind: str, settings: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    module = Whole(kind, **settings).eval()
    x = torch.randn(32, INPUTS, 12)
    folded = fold_bn(module, tuple(x.shape[1:]))
    rounded = fake_quantized(folded, calibrate(folded, [x], Ptq(method="ptq")))
    with torch.no_grad():
        expected, given = module(x), rounded(x)
    ratio = float(expected.square().sum() / (expected - given).square().sum())
    assert 10 * np.log10(ratio) >= 25
    graph = export(rounded)
    assert not {op.kind for op in graph.operators} & {"Sub", "Neg"}  # all of it on codes
    files = {kind: TARGETS[kind].convert(graph) for kind in ("onnx-int8-s8", "tflite-int8")}
    spec = files["onnx-int8-s8"].input
    codes = np.clip(np.rint(x.numpy() / np.float32(spec.scale)) + spec.zero_point, -128, 127)
    by_onnx = run_onnx(files["onnx-int8-s8"].data, codes.astype(np.int8))
    by_tflite = run_tflite(files["tflite-int8"].data, channels_last(codes.astype(np.int8)))
    same = by_onnx == np.moveaxis(by_tflite, -1, 1)
    assert same.mean() >= 0.999
