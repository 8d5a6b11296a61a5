"""ONNX files with weights in files beside them: taken in whole, or refused with the reason."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from typer.testing import CliRunner

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.check import check_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plan import Plan
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.formats.onnx_model import (
    parse_onnx,
    read_file,
    read_onnx,
    tensors_of,
)
from edgeticket.pipeline.inspect.file import inspect_file

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)
X = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)


def model() -> onnx.ModelProto:
    """x [1, 4] times an initializer, plus a Constant's [3]."""
    bias = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "bias")
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["b"], value=bias),
            helper.make_node("MatMul", ["x", "w"], ["xw"]),
            helper.make_node("Add", ["xw", "b"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def saved(folder: Path, *, all_of_it: bool = False, **entries: str) -> Path:
    """``model.onnx`` with w, or all tensors, in ``model.onnx.data``; ``entries`` are those of w."""
    made = model()
    onnx.save(
        made,
        folder / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
        convert_attribute=all_of_it,
    )
    made = onnx.load(folder / "model.onnx", load_external_data=False)
    for entry in made.graph.initializer[0].external_data:
        entry.value = entries.pop(entry.key, entry.value)
    for key, value in entries.items():
        made.graph.initializer[0].external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    return folder / "model.onnx"


def answers(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = session.run(None, {"x": X})[0]
    return found


def test_what_lies_beside_is_taken_in(tmp_path: Path) -> None:
    data = read_onnx(saved(tmp_path, all_of_it=True))
    (tmp_path / "model.onnx.data").unlink()
    assert not any(
        t.data_location or t.external_data for t in tensors_of(onnx.ModelProto.FromString(data))
    )
    np.testing.assert_array_equal(answers(data), answers(model().SerializeToString()))


def test_a_whole_file_stays_as_it_is(tmp_path: Path) -> None:
    data = model().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data)
    assert read_onnx(tmp_path / "m.onnx") == data


def test_bytes_alone_are_not_enough(tmp_path: Path) -> None:
    data = saved(tmp_path).read_bytes()
    with pytest.raises(InputError, match="m keeps the numbers of w in another file"):
        parse_onnx(data, place="m")


def test_folders_links_and_checksums_within(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    digest = hashlib.sha1((saved(tmp_path).parent / "model.onnx.data").read_bytes()).hexdigest()
    (tmp_path / "model.onnx.data").rename(tmp_path / "weights" / "kept")
    (tmp_path / "model.onnx.data").symlink_to("weights/kept")
    (tmp_path / "again").symlink_to(tmp_path)
    kept = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx.data").unlink()
    (tmp_path / "model.onnx.data").symlink_to("weights/kept")
    assert read_onnx(tmp_path / "again" / "model.onnx") != kept
    made = onnx.ModelProto.FromString(kept)
    made.graph.initializer[0].external_data.add(key="checksum", value=digest)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    np.testing.assert_array_equal(
        answers(read_onnx(tmp_path / "model.onnx")), answers(model().SerializeToString())
    )


def _shortened(file: Path) -> None:
    data = file.with_name("model.onnx.data")
    data.write_bytes(data.read_bytes()[:20])


def _gone(file: Path) -> None:
    file.with_name("model.onnx.data").unlink()


def _piped(file: Path) -> None:
    _gone(file)
    os.mkfifo(file.with_name("model.onnx.data"))


def _led_out(file: Path) -> None:
    data = file.with_name("model.onnx.data")
    data.rename(file.parent.parent / "elsewhere.bin")
    data.symlink_to("../elsewhere.bin")


def _looped(file: Path) -> None:
    _gone(file)
    file.with_name("model.onnx.data").symlink_to("model.onnx.data")


def _as_it_is(file: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("entries", "change", "sentence"),
    [
        ({"location": "../elsewhere.bin"}, _led_out, "which is no plain name of a file beside it"),
        ({"location": "/etc/hostname"}, _as_it_is, "which is no plain name of a file beside it"),
        ({"location": "a/../../b"}, _as_it_is, "which is no plain name"),
        ({"location": "..\\b"}, _as_it_is, "which is no plain name"),
        ({"location": "c:b"}, _as_it_is, "which is no plain name"),
        ({"location": ""}, _as_it_is, "which is no plain name"),
        ({"location": "a\x1b[31m"}, _as_it_is, "which is no plain name"),
        ({"location": "*/_ORT_MEM_ADDR_/*", "offset": "1"}, _as_it_is, "is missing"),
        ({"location": "."}, _as_it_is, "is not a regular file"),
        ({}, _led_out, "a link that leads out of"),
        ({}, _looped, "cannot be read|is missing"),
        ({}, _gone, r"model\.onnx\.data is missing: copy it there"),
        ({}, _piped, "is not a regular file"),
        ({}, _shortened, r"from byte 0 to 48, but that file has 20 bytes: copy it again"),
        ({"offset": "-4"}, _as_it_is, "at offset '-4', which is no size"),
        ({"offset": "9" * 30}, _as_it_is, "which is no size"),
        ({"offset": "٣"}, _as_it_is, "which is no size"),
        ({"offset": "4000"}, _as_it_is, "from byte 4000 to 4048"),
        ({"length": "44"}, _as_it_is, r"with 44 bytes, but its \[4, 3\] values take 48"),
        ({"checksum": "0" * 40}, _as_it_is, r"is another file \(its SHA-1 differs\)"),
    ],
)
def test_what_lies_elsewhere_is_not_read(
    tmp_path: Path, entries: dict[str, str], change: Callable[[Path], None], sentence: str
) -> None:
    (tmp_path / "m").mkdir()
    file = saved(tmp_path / "m", **entries)
    change(file)
    with pytest.raises(InputError, match=sentence) as caught:
        read_onnx(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_more_than_one_piece_can_hold(tmp_path: Path) -> None:
    made = onnx.load(saved(tmp_path), load_external_data=False)
    made.graph.initializer[0].dims[:] = [2**20, 2**10]
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(InputError, match=r"has 4\.3 GB with its weights"):
        read_onnx(tmp_path / "model.onnx")
    with open(tmp_path / "large.onnx", "wb") as file:
        file.truncate(2**31)  # a hole: no disk is filled
    with pytest.raises(InputError, match="larger than 2 GB"):
        read_file(tmp_path / "large.onnx")


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    """Room for all that may be read was taken first: 2 GB, which a small machine has not."""
    (tmp_path / "m.onnx").write_bytes(b"x" * 1000)
    tracemalloc.start()
    try:
        assert len(read_file(tmp_path / "m.onnx")) == 1000
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2**20


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(InputError, match="is not a regular file"):
        read_onnx(tmp_path / "m.onnx")


@given(st.data())
def test_damaged_text_and_bytes_are_one_sentence(data: st.DataObject) -> None:
    whole = bytearray(model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = parse_onnx(bytes(whole), place="m")
    except InputError as error:
        assert str(error).startswith("m ")  # noqa: PT017 (most draws raise none)
    else:
        assert found.graph.node[0].name.encode().decode() == found.graph.node[0].name


def test_what_torch_exports_becomes_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of another network lie in the folder where it is measured."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4)).eval()
    inputs = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "s.npz", inputs=inputs, labels=np.arange(6) % 4)
    x = torch.from_numpy(inputs.astype(np.float32).transpose(0, 3, 1, 2))
    whole = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(network, (x[:1],), whole, verbose=False)  # as everyone calls it
    assert (tmp_path / "model.onnx.data").stat().st_size > 4 * 500
    found = inspect_file(whole)
    assert found.parameters == sum(p.numel() for p in network.parameters())
    assert found.files["as it is"].possible
    arguments = ["bundle", str(whole), "--samples", str(tmp_path / "s.npz")]
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "b")])
    assert done.exit_code == 0, done.output
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.onnx.data").write_bytes(bytes(4096))
    monkeypatch.chdir(elsewhere)
    (tmp_path / "model.onnx.data").unlink()
    check_bundle(tmp_path / "b")
    plan = Plan(min_seconds=0.0, min_queries=5, warmup_seconds=0.0, energy_seconds=0)
    (report,) = bench(tmp_path / "b", plan=plan)
    with torch.inference_mode():
        assert list(report.accuracy.answers) == network(x).argmax(1).tolist()
