"""A .pt2 file is read without running or unpickling anything in it."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from watching import watched

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.pt2 import read_program
from edgeticket.pipeline.network.file import load_network, save_network
from edgeticket.pipeline.network.finished import read_finished

CODE = "__import__('os').system('touch pwned')"


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.relu_(self.norm(self.conv(x))).chunk(2, 1)
        x = torch.cat((parts[1], parts[0]), 1) + x.shape[0] * 0
        return self.fc(x.mean((2, 3)).reshape(x.shape[0], -1))


def saved(module: nn.Module, batch: int | None = None) -> bytes:
    """``batch`` None: open."""
    file = io.BytesIO()
    sizes = ({0: torch.export.Dim.DYNAMIC},) if batch is None else None
    example = torch.zeros(batch or 2, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (example,), dynamic_shapes=sizes, strict=False)
    torch.export.save(program, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def file() -> bytes:
    torch.manual_seed(0)
    return saved(Small().eval())


def changed(file: bytes, change: Callable[[dict[str, Any]], object], name: str = "model") -> bytes:
    """The file with one of its JSON documents changed."""
    return rewritten(file, lambda n, data: _changed(data, change) if f"{name}.json" in n else data)


def _changed(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(data)
    change(document)
    return json.dumps(document).encode()


def rewritten(file: bytes, each: Callable[[str, bytes], bytes | None], **more: Any) -> bytes:
    result = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(file)) as source,
        zipfile.ZipFile(result, "w", **more) as target,
    ):
        for name in source.namelist():
            data = each(name, source.read(name))
            if data is not None:
                target.writestr(name, data)
    return result.getvalue()


def test_it_answers_as_the_module(file: bytes, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Small().eval()
    (tmp_path / "small.pt2").write_bytes(file)
    network = read_finished(tmp_path / "small.pt2")
    assert network.arch == "pt2:small.pt2"
    assert {"conv.weight", "norm.running_mean", "fc.bias"} <= network.weights.keys()
    x = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(network.module()(x), module(x))
    save_network(network, tmp_path / "saved")  # and needs the file no more
    assert load_network(tmp_path / "saved").digest == network.digest


def nodes(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["graph_module"]["graph"]["nodes"]
    return found


def calls(target: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: nodes(document)[0].update(target=target)


def hands(argument: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda document: nodes(document)[0]["inputs"][0].update(arg=argument)


def sized(size: dict[str, Any], axis: int) -> Callable[[dict[str, Any]], object]:
    def change(document: dict[str, Any]) -> None:
        document["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][axis] = size

    return change


OPEN = {"as_expr": {"expr_str": CODE, "hint": {"as_int": 8}}}

HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "calls a function": lambda f: changed(f, calls("torch.hub.load")),
    "calls by way of an operator": lambda f: changed(f, calls("torch.ops.aten.__class__.mro")),
    "opens a file": lambda f: changed(f, calls("torch.ops.aten.from_file.default")),
    "loads a library": lambda f: changed(f, calls("torch.ops.load_library")),
    "calls an operator of others": lambda f: changed(f, calls("torch.ops.mine.run.default")),
    "calls no name": lambda f: changed(f, calls(["torch.ops.aten.relu.default"])),
    "calls no overload": lambda f: changed(f, calls("torch.ops.aten.relu.__init__")),
    "code for a size": lambda f: changed(f, sized(OPEN, 2)),
    "a huge size": lambda f: changed(f, sized({"as_int": 2**40}, 2)),
    "an object": lambda f: changed(f, hands({"as_custom_obj": {"name": "x", "class_fqn": "os"}})),
    "a graph": lambda f: changed(f, hands({"as_graph": {"name": "x", "graph": {}}})),
    "an operator": lambda f: changed(f, hands({"as_operator": "os.system"})),
    "a long text": lambda f: changed(f, hands({"as_string": CODE * 10})),
    "nothing known": lambda f: changed(f, hands({"as_none": True, "as_int": 1})),
    "a name that is code": lambda f: changed(
        f, lambda d: nodes(d)[0]["outputs"][0].update(as_tensor={"name": f"a={CODE}"})
    ),
    "a setting that is code": lambda f: changed(
        f, lambda d: nodes(d)[0]["inputs"][-1].update(name=f"a={CODE}", kind=2)
    ),
    "a node twice": lambda f: changed(f, lambda d: nodes(d).append(nodes(d)[0])),
    "too many nodes": lambda f: changed(f, lambda d: nodes(d).extend([{}] * 200_000)),
    "no nodes": lambda f: changed(f, lambda d: d["graph_module"]["graph"].update(nodes=None)),
    "another version": lambda f: changed(f, lambda d: d["schema_version"].update(major=99)),
    "a custom input": lambda f: changed(
        f, lambda d: d["graph_module"]["signature"]["input_specs"][0].update(custom_obj={})
    ),
    "pickled weights": lambda f: changed(
        f, lambda d: d["config"]["fc.bias"].update(use_pickle=True), "model_weights_config"
    ),
    "weights elsewhere": lambda f: changed(
        f, lambda d: d["config"]["fc.bias"].update(path_name="../../etc/passwd"),
        "model_weights_config",
    ),
    "weights that are too large": lambda f: changed(
        f, lambda d: d["config"]["fc.bias"]["tensor_meta"].update(sizes=[{"as_int": 10**9}]),
        "model_weights_config",
    ),
    "weights read from behind": lambda f: changed(
        f,
        lambda d: d["config"]["fc.bias"]["tensor_meta"].update(storage_offset={"as_int": 10**6}),
        "model_weights_config",
    ),
    "compressed": lambda f: rewritten(f, lambda n, d: d, compression=zipfile.ZIP_DEFLATED),
    "no program": lambda f: rewritten(f, lambda n, d: None if "models/" in n else d),
    "no JSON": lambda f: rewritten(f, lambda n, d: b"[" * 10**5 if "model.json" in n else d),
    "cut": lambda f: f[: len(f) // 2],
    "zip of nothing": lambda f: b"PK\x03\x04" + bytes(40),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_runs_nothing(
    kind: str, file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = HOSTILE[kind](file)
    with watched(tmp_path) as seen, pytest.raises(InputError) as caught:
        read_program(data, place="the file")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()
    assert not seen


class Runs:
    def __reduce__(self) -> Any:
        return exec, ("open('pwned', 'w')",)


def test_what_is_pickled_is_left_alone(
    file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = pickle.dumps(Runs())
    data = rewritten(file, lambda n, d: bad if "sample_inputs" in n else d)
    read_program(data, place="the file")
    assert not (tmp_path / "pwned").exists()


def test_what_is_no_program_is_told(tmp_path: Path) -> None:
    scripted = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = torch.jit.trace(Small().eval(), torch.zeros(1, 3, 8, 8))  # type: ignore[no-untyped-call]
        torch.jit.save(module, scripted)
    with pytest.raises(InputError, match=r"is a scripted module .*write the nn\.Module"):
        read_program(scripted.getvalue(), place="the file")
    with pytest.raises(InputError, match=r"takes \[4\] examples at a time: export it with a batch"):
        read_program(saved(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), 4), place="the file")
    one = saved(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).eval(), 1)
    graph, trained = read_program(one, place="the file")
    assert trained == {"0.weight", "0.bias"}
    assert [op.kind for op in graph.operators] == ["Conv", "Flatten"]
