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
from edgeticket.models.program import build_program
from edgeticket.pipeline.commands.tickets import pack
from edgeticket.pipeline.network.description import ANY, check_size, permit
from edgeticket.pipeline.network.file import load_network, save_network
from edgeticket.pipeline.reference.networks import load_reference
from edgeticket.pipeline.tickets.file import read
from edgeticket.pipeline.tickets.file.layout import Sections, deflate, join

CODE = "__import__('os').system('touch pwned')"


def program(*steps: Any, **more: Any) -> dict[str, Any]:
    return {"program": json.dumps({"takes": [3, 8, 8], "steps": steps, "output": "a", **more})}


def step(what: str, settings: Any, name: Any = "a", inputs: Any = ("x",)) -> list[Any]:
    return [name, what, list(inputs), settings]


CONVOLUTION = {
    "in_channels": 3, "out_channels": 4, "kernel_size": [3, 3], "stride": [1, 1],
    "padding": [1, 1], "dilation": [1, 1], "groups": 1, "bias": True,
}  # fmt: skip

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
    "program of code": ("onnx:x", program(step("mean", {f"dim={CODE}, keepdim": True}))),
    "program with a named function": ("onnx:x", program(step("os.system", {"command": "id"}))),
    "program with a hidden name": ("onnx:x", program(step("relu", {}, name=f"a={CODE}"))),
    "program with a keyword": ("onnx:x", program(step("relu", {}, name="lambda"))),
    "program with a private name": ("onnx:x", program(step("relu", {}, name="__class__"))),
    "program that is huge": (
        "onnx:x", program(step("linear", {"in_features": 10**6, "out_features": 10**6})),
    ),
    "program of a huge constant": (
        "onnx:x", program(step("constant", {"shape": [10**6, 10**6]}, inputs=())),
    ),
    "program of many axes": ("onnx:x", program(step("pick", {"axis": 10**9, "index": 0}))),
    "program with a path": ("onnx:x", program(step("gelu", {"approximate": "/etc/passwd"}))),
    "program with a device": ("onnx:x", program(step("convolution", CONVOLUTION | {"device": 1}))),
    "program of no list": ("onnx:x", program(output="a") | program(steps={})),
    "program without an end": ("onnx:x", program(step("relu", {}), output="b")),
    "program of a list": ("onnx:x", {"program": "[]"}),
    "program that is deep": ("onnx:x", {"program": "[" * 100_000}),
    "no program": ("onnx:x", {}),
    "program and more": ("onnx:x", {**program(step("relu", {})), "weights": "x"}),
}  # fmt: skip


def as_ticket(folder: Path, arch: Any, args: Any) -> Callable[[], object]:
    header = {
        "arch": arch, "args": args, "init": "uniform", "init_kept": 0.5, "seed": 1, "tensors": [],
    }  # fmt: skip
    text = deflate(json.dumps(header).encode())
    (folder / "x.ticket").write_bytes(join(Sections(text, deflate(b""), b"", bytes(32))))
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
        ("onnx:x", program(step("convolution", CONVOLUTION))),
    ],
)
def test_networks_of_libraries_and_programs_need_no_trust(
    arch: str, args: Any, tmp_path: Path
) -> None:
    network = Network.fresh(arch, args, seed=0, takes=(3, 32, 32))
    save_network(network, tmp_path)
    assert load_network(tmp_path).digest == network.digest


def test_libraries_never_fetch_even_when_a_recipe_says_so() -> None:
    for key in ("weights", "weights_backbone", "pretrained", "pretrained_cfg", "checkpoint_path"):
        with pytest.raises(ValueError, match="never fetched"):
            build_own("torchvision:resnet18", {key: "DEFAULT"})


def test_settings_never_become_code(here: Path) -> None:
    """PyTorch writes a graph as Python and runs it."""
    for what, settings in (("mean", {f"dim={CODE}, keepdim": True}), ("pad", {f"pad={CODE}#": 1})):
        with pytest.raises(ValueError, match="has no setting"):
            build_program(program(step(what, settings))["program"])
    assert not (here / "pwned").exists()


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
