"""A file alone never runs code, opens no other file, and costs no more than its size allows."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runner_fixtures as tiny
import torch
from safetensors.torch import save_file
from watching import at_most, watched

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.models.imported import look_in
from edgeticket.models.network import Network
from edgeticket.models.own import build_own
from edgeticket.pipeline.commands.tickets import pack
from edgeticket.pipeline.network.description import ANY, check_size, permit
from edgeticket.pipeline.network.file import load_network, save_network
from edgeticket.pipeline.reference.networks import load_reference
from edgeticket.pipeline.tickets.file import read
from edgeticket.pipeline.tickets.file.layout import Sections, deflate, join

CODE = "__import__('os').system('touch pwned')"


WEIGHTS = {"a.weight": [[4, 3, 3, 3], "float32", None], "a.bias": [[4], "float32", None]}


def graph(*operators: Any, **more: Any) -> dict[str, Any]:
    document = {
        "inputs": [["x", [3, 8, 8], "float32"]],
        "outputs": ["a"],
        "constants": WEIGHTS,
        "trained": ["a.bias", "a.weight"],
        "operators": operators,
    }
    return {"graph": json.dumps({**document, **more})}


def operator(
    kind: Any, attributes: Any, name: Any = "a", inputs: Any = ("x",), clamp: Any = None
) -> list[Any]:
    return [name, kind, list(inputs), name, attributes, clamp, []]


WINDOW = {
    "kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1],
    "group": 1,
}  # fmt: skip
CONVOLUTION = operator("Conv", WINDOW, inputs=("x", "a.weight", "a.bias"))


def constant(shape: Any, numbers: Any = None, dtype: Any = "float32") -> dict[str, Any]:
    return {"c": [shape, dtype, numbers]}


# What a description may try. Each would run something, fetch something, or fill the memory.
HOSTILE: dict[str, tuple[Any, Any]] = {
    "command": ("import:os:system", {"command": "touch pwned"}),
    "expression": ("import:builtins:exec", {"source": CODE}),
    "module": ("import:attacker:make", {}),
    "near": ("import:torch.nn:Linear", {"in_features": 3, "out_features": 4}),
    "spaces": (" import:os:system", {}),
    "capitals": ("IMPORT:os:system", {}),
    "module as argument": ("torchvision:resnet18", {"norm_layer": "os.system"}),
    "unknown source": ("pickle:weights", {}),
    "nothing": ("", {}),
    "colon": (":", {}),
    "list": ([], {}),
    "mapping": ({"arch": "lenet5"}, {}),
    "number": (3, {}),
    "arguments are a list": ("lenet5", []),
    "arguments are a text": ("lenet5", "width=3"),
    "long": ("x" * 100_000, {}),
    "fetches": ("torchvision:resnet18", {"weights": "DEFAULT"}),
    "fetches too": ("torchvision:resnet18", {"pretrained": True}),
    "opens a file": ("timm:resnet18", {"checkpoint_path": "/etc/passwd"}),
    "hub": ("timm:hf-hub:someone/something", {}),
    "folder": ("timm:local-dir:/tmp/x", {}),
    "path": ("torchvision:../../etc/passwd", {}),
    "text": ("torchvision:vit_b_16", {"representation_size": "../x"}),
    "nested": ("torchvision:resnet18", {"layers": [1] * 4}),
    "wide": ("torchvision:resnet18", {"num_classes": 10**12}),
    "wider": ("torchvision:mobilenet_v2", {"width_mult": 1e300}),
    "large pictures": ("torchvision:vit_b_16", {"image_size": 2**20}),
    "endless": ("resnet20", {"width": 10**12}),
    "not so endless": ("resnet20", {"width": 2**16}),
    "many classes": ("torchvision:resnet18", {"num_classes": 2**16}),
    "beyond 64 bits": ("resnet20", {"width": 2**63 - 1}),
    "deep": ("cifar_vit", {"depth": 10**9}),
    "no number": ("lenet5", {"num_classes": "10"}),
    "negative": ("lenet5", {"num_classes": -1}),
    "graph with a named function": ("onnx:x", graph(operator("os.system", {"command": "id"}))),
    "graph with code in an attribute": ("pt2:x", graph(operator("Relu", {"f": CODE}))),
    "graph with a path": ("onnx:x", graph(operator("Gelu", {"approximate": "/etc/passwd"}))),
    "graph with a type that is none": ("onnx:x", graph(operator("Cast", {"to": "load"}))),
    "graph with a nested attribute": ("onnx:x", graph(operator("Clip", {"a": [[1]]}))),
    "graph with a mapping": ("onnx:x", graph(operator("Clip", {"a": {"b": 1}}))),
    "graph of what is only written": ("onnx:x", graph(operator("QuantizeLinear", {}))),
    "graph that reads nothing": ("onnx:x", graph(operator("Sigmoid", {}, inputs=("z",)))),
    "graph that reads itself": ("onnx:x", graph(operator("Sigmoid", {}, inputs=("a",)))),
    "graph of a list of nothing": ("onnx:x", graph(operator("Concat", {"axis": 1}, inputs=()))),
    "graph with a huge output": (
        "onnx:x", graph(operator("Reshape", {"shape": [10**9, 10**9], "free": [-1, 10**9]})),
    ),
    "graph with a huge constant": ("onnx:x", graph(constants=constant([10**6, 10**6]))),
    "graph with a constant of no shape": ("onnx:x", graph(constants=constant([-1]))),
    "graph with an odd type": ("onnx:x", graph(constants=constant([1], None, "object"))),
    "graph with numbers that do not fit": ("onnx:x", graph(constants=constant([3], [1]))),
    "graph with code for a number": ("onnx:x", graph(constants=constant([1], [CODE]))),
    "graph of a convolution of one axis too many": (
        "onnx:x", graph(
            CONVOLUTION, constants={**WEIGHTS, "a.weight": [[4, 3, 3, 3, 3], "float32", None]}
        ),
    ),
    "graph that trains what is not there": ("onnx:x", graph(CONVOLUTION, trained=["b"])),
    "graph of no list": ("onnx:x", graph(operators={})),
    "graph without an end": ("onnx:x", graph(CONVOLUTION, outputs=["b"])),
    "graph without outputs": ("onnx:x", graph(CONVOLUTION, outputs=[])),
    "graph of a list": ("onnx:x", {"graph": "[]"}),
    "graph that is deep": ("onnx:x", {"graph": "[" * 100_000}),
    "no graph": ("onnx:x", {}),
    "graph and more": ("onnx:x", {**graph(CONVOLUTION), "weights": "x"}),
}  # fmt: skip


def as_ticket(folder: Path, arch: Any, args: Any) -> Callable[[], object]:
    header = {
        "arch": arch, "args": args, "init": "uniform", "init_kept": 0.5, "seed": 1, "tensors": [],
    }  # fmt: skip
    text = deflate(json.dumps(header).encode())
    (folder / "x.ticket").write_bytes(join(Sections(1, text, deflate(b""), b"", bytes(32))))
    return lambda: read(folder / "x.ticket")


def as_network(folder: Path, arch: Any, args: Any) -> Callable[[], object]:
    described = {"version": 1, "arch": arch, "args": args, "removed": {}, "bypassed": []}
    (folder / "network.json").write_text(json.dumps(described))
    save_file({"a.weight": torch.zeros(4, 3)}, folder / "weights.safetensors")
    return lambda: load_network(folder)


def as_reference(folder: Path, arch: Any, args: Any) -> Callable[[], object]:
    return _as_reference(folder, arch, args, precision="fp32", name="fp32-tiny")


def as_int8_reference(folder: Path, arch: Any, args: Any) -> Callable[[], object]:
    return _as_reference(folder, arch, args, precision="int8", name="int8")


def _as_reference(
    folder: Path, arch: Any, args: Any, *, precision: str, name: str
) -> Callable[[], object]:
    bundle = tiny.write_tiny_bundle(folder / "bundle", 4)
    with open_bundle(bundle) as opened:
        record = {"bundle": opened.digest}
    (folder / "reference" / name).mkdir(parents=True)
    as_network(folder / "reference" / name, arch, args)
    scales = {"activations": {}, "weights": {}, "fp32": []}
    (folder / "reference" / name / "scales.json").write_text(json.dumps(scales))
    (folder / "reference" / "reference.json").write_text(json.dumps(record))
    place = folder / "reference"
    return lambda: load_reference(place, network="tiny", precision=precision, bundle=bundle)


def as_packed(folder: Path, arch: Any, args: Any) -> Callable[[], object]:
    as_network(folder, arch, args)
    return lambda: pack(folder, folder / "x.ticket")


READERS = {
    "ticket": as_ticket,
    "network": as_network,
    "reference": as_reference,
    "int8 reference": as_int8_reference,
    "pack": as_packed,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder in which a module waits to be imported."""
    (tmp_path / "attacker.py").write_text("open('pwned', 'w')\ndef make(): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    look_in((Path(),))
    return tmp_path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_no_reader_is_talked_into_anything(name: str, reader: str, here: Path) -> None:
    attempt = READERS[reader](here, *HOSTILE[name])
    with watched(here) as seen, at_most(20), pytest.raises(InputError) as caught:
        attempt()
    assert seen == []
    assert not (here / "pwned").exists()
    assert "attacker" not in sys.modules
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_function_is_built_where_the_user_asked_for_it(here: Path) -> None:
    (here / "mine.py").write_text("from torch import nn\ndef make(): return nn.Linear(3, 4)\n")
    network = Network.fresh("import:mine:make", {}, seed=0, takes=(3,))
    save_network(network, here / "net")
    for trusted in (ANY, "import:mine:make"):
        assert load_network(here / "net", trusted=trusted).digest == network.digest
    for trusted in ("", "import:mine:other", "import:"):
        with pytest.raises(InputError, match="building it runs that code"):
            load_network(here / "net", trusted=trusted)


@pytest.mark.parametrize(
    ("arch", "args"),
    [
        ("torchvision:mobilenet_v2", {"num_classes": 4, "width_mult": 0.25, "dropout": 0.0}),
        ("torchvision:regnet_x_400mf", {"num_classes": 4}),  # reckons with tensors
        ("torchvision:googlenet", {"num_classes": 4, "init_weights": False, "aux_logits": False}),
        ("onnx:x", graph(CONVOLUTION)),
        ("pt2:x", graph(CONVOLUTION)),
    ],
)
def test_networks_of_libraries_and_graphs_need_no_trust(
    arch: str, args: Any, tmp_path: Path
) -> None:
    network = Network.fresh(arch, args, seed=0, takes=(3, 32, 32))
    save_network(network, tmp_path)
    assert load_network(tmp_path).digest == network.digest


def test_libraries_never_fetch_even_when_a_recipe_says_so() -> None:
    for key in ("weights", "weights_backbone", "pretrained", "pretrained_cfg", "checkpoint_path"):
        with pytest.raises(ValueError, match="never fetched"):
            build_own("torchvision:resnet18", {key: "DEFAULT"})


def test_a_ticket_is_for_architectures_of_this_project(here: Path) -> None:
    attempt = as_ticket(here, "torchvision:resnet18", {})
    with pytest.raises(InputError, match="is from elsewhere"):
        attempt()


def test_what_is_permitted_is_still_bounded() -> None:
    permit("resnet20", {"width": 4096}, place="x")
    with pytest.raises(InputError, match="has more than 1,000 numbers"):
        check_size("resnet20", {"width": 4096}, numbers=1000, tensors=1000, place="x")
    with pytest.raises(InputError, match="has more than 5 tensors"):
        check_size("resnet20", {}, numbers=10**9, tensors=5, place="x")


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000, b'{"a":' * 20_000, b"", b"null", b"\xff\xfe", b'{"version": NaN}', b"{}",
        b'{"version": 1}', b'{"version": true}', b'{"version": 1, "arch": [], "args": {}}',
        b'{"version": 1, "version": 1}', zlib.compress(b"x"),
    ],
)  # fmt: skip
def test_what_is_no_description(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "network.json").write_bytes(text)
    with at_most(5), pytest.raises(InputError, match=r"network\.json"):
        load_network(tmp_path)
