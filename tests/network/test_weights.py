"""Files of weights are what their first bytes say, are read as data, and cost what they weigh."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from watching import at_most, watched

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.network.weights import read_weights


class Settings:
    """What training scripts save beside a network: a class that a reader does not have."""

    def __init__(self) -> None:
        self.depth = 3


def state() -> dict[str, Tensor]:
    """Of every type, and laid out in every way."""
    made = {
        "turned": torch.randn(3, 4).t(),
        "parameter": nn.Parameter(torch.randn(2, 2)),
        "scalar": torch.tensor(5),
        "half": torch.randn(2).half(),
        "bfloat": torch.randn(5).bfloat16(),
        "double": torch.randn(5).double(),
        "empty": torch.empty(0, 3),
        "bool": torch.tensor([True, False]),
        "every other": torch.arange(10)[2:8:2],
        "unsigned": torch.arange(5).to(torch.uint16),
        "byte": torch.arange(5).to(torch.uint8),
    }
    return {**made, "tied": made["parameter"]}


def saved(value: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **how)
    return file.getvalue()


def same(read: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return read.keys() == wanted.keys() and all(
        read[name].dtype == tensor.dtype and torch.equal(read[name], tensor)
        for name, tensor in wanted.items()
    )


SUFFIXES = (".pt", ".pth", ".th", ".bin", ".ckpt", ".tar", ".safetensors", ".weights", "")
FORMATS = {
    "safetensors": lambda s: to_safetensors({n: t.contiguous().clone() for n, t in s.items()}),
    "zip": saved,
    "zip, protocol 4": lambda s: saved(s, pickle_protocol=4),
    "before 1.6": lambda s: saved(s, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("form", FORMATS)
def test_the_name_of_a_file_says_nothing(form: str, suffix: str, tmp_path: Path) -> None:
    wanted = {name: t.detach() for name, t in state().items()}
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(FORMATS[form](wanted))
    assert same(read_weights(file), wanted)


def _optimizer() -> dict[str, Any]:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.ones(3)
    optimizer.step()
    return optimizer.state_dict()


WRAPPED = {
    "plain": lambda s: s,
    "ordered": collections.OrderedDict,
    "with an epoch": lambda s: {**s, "epoch": 3},
    "DataParallel": lambda s: {f"module.{n}": t for n, t in s.items()},
    "Lightning": lambda s: {
        "state_dict": {f"model.{n}": t for n, t in s.items()},
        "epoch": 1,
        "hyper_parameters": {"settings": Settings(), "lr": np.float64(3)},
        "optimizer_states": [_optimizer()],
        "callbacks": {"best": {"score": torch.tensor(1.0)}},
        "best": torch.tensor(2.0),
    },
    "timm": lambda s: {
        "arch": "x",
        "state_dict": {n: torch.zeros_like(t) for n, t in s.items()},
        "state_dict_ema": s,
        "optimizer": _optimizer(),
        "args": argparse.Namespace(settings=Settings(), out=Path("x")),
    },
    "deep": lambda s: {"checkpoint": {"net": {f"_orig_mod.module.{n}": t for n, t in s.items()}}},
    "of its own": lambda s: {"generator": s, "step": 3},
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", WRAPPED)
def test_what_training_scripts_wrap_a_network_in(wrap: str, legacy: bool, tmp_path: Path) -> None:
    wanted = state()
    file = tmp_path / "file"
    file.write_bytes(saved(WRAPPED[wrap](wanted), _use_new_zipfile_serialization=not legacy))
    with watched(tmp_path) as seen:
        assert same(read_weights(file), wanted)
    assert seen == []


def test_a_wrapper_around_data_parallel_is_taken_off_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(saved({f"module._orig_mod.model.{n}": t for n, t in state().items()}))
    assert read_weights(file).keys() == state().keys()


def test_several_networks_are_named(tmp_path: Path) -> None:
    file = tmp_path / "gan.pt"
    file.write_bytes(saved({"generator": state(), "nets": {"critic": state()}}))
    with pytest.raises(InputError, match=r"2 state_dicts, under generator, nets\.critic: save the"):
        read_weights(file)


class Runs:
    """A pickle that runs a command when it is read as pickles are."""

    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


def _zip(document: bytes, **members: bytes) -> bytes:
    file, compression = io.BytesIO(), zipfile.ZIP_DEFLATED if members else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("x/data.pkl", document)
        for name, data in members.items():
            archive.writestr(f"x/{name.replace('_', '/')}", data)
    return file.getvalue()


def _tensor(*, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """A file of one tensor that claims what its storage of four numbers does not have."""
    data = saved({"a": torch.zeros(4)})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (n for n in members if n.endswith("data.pkl"))
    document = members[name]
    old = b"K\x00K\x04\x85q\x08K\x01\x85q\t"
    assert old in document
    numbers = [offset, *size, *stride]
    packed = [b"\x8a\x08" + n.to_bytes(8, "little", signed=True) for n in numbers]
    axes = len(size)
    new = packed[0] + b"(" + b"".join(packed[1 : 1 + axes]) + b"tq\x08"
    new += b"(" + b"".join(packed[1 + axes :]) + b"tq\t"
    members[name] = document.replace(old, new)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    return file.getvalue()


REFUSED = {
    "a command": (saved({"a": torch.zeros(3), "b": Runs()}), None),
    "a command alone": (pickle.dumps(Runs()), "a pickle of something else"),
    "a command in a zip": (_zip(pickle.dumps(Runs(), protocol=2)), "not a state_dict"),
    "a network": (saved(nn.Linear(2, 2)), "holds more than tensors, a whole network"),
    "a network in a mapping": (saved({"model": nn.Linear(2, 2)}), "holds more than tensors"),
    "a list": (saved([torch.zeros(3)]), "holds a list, not a state_dict"),
    "a setting": (saved({"lr": 0.1}), "holds a dict of lr, not a state_dict"),
    "arrays": (_zip(b""), "not a whole file of torch.save"),
    "a tar": (_tar(), "is a tar"),
    "nothing": (b"", "not a whole safetensors file"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file"),
    "a web page": (b"<!DOCTYPE html><html>" + bytes(100), "is a web page"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "a bomb": (_zip(b"", data_0=bytes(2**27)), "compressed, or lies"),
    "far too large": (_tensor(size=(10**12,), stride=(0,)), "far larger than the file"),
    "beyond its end": (_tensor(size=(5,), stride=(1,)), "beyond its numbers"),
    "before its begin": (_tensor(size=(4,), stride=(1,), offset=-1), "no whole size"),
    "backwards": (_tensor(size=(4,), stride=(-1,), offset=3), "no whole size"),
    "deep": (_zip(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."), "holds a list"),
    "deep tuples": (_zip(b"\x80\x02)" + b"\x85" * 100_000 + b"."), "holds a tuple"),
    "no end": (_zip(b"\x80\x02]"), "not a whole file of torch.save"),
    "a long text": (_zip(b"\x80\x04\x8d" + b"\xff" * 8 + b"."), "not a whole file"),
    "a far place": (_zip(b"\x80\x02]r\xff\xff\xff\x7f."), "holds a list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_file_of_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, sentence = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").write_bytes(data)
    with watched(tmp_path) as seen, at_most(5):
        if sentence is None:
            assert list(read_weights(tmp_path / "w.pt")) == ["a"]  # and what would run is passed by
        else:
            with pytest.raises(InputError, match=sentence) as caught:
                read_weights(tmp_path / "w.pt")
            assert "\n" not in str(caught.value)
    assert seen == []
    assert not (tmp_path / "pwned").exists()


def test_a_scripted_network_is_named(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))
        traced.save(str(tmp_path / "w.pt"))
    with pytest.raises(InputError, match="scripted network"):
        read_weights(tmp_path / "w.pt")


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    for place, reason in ((tmp_path / "pipe.pt", "named pipe"), (Path("/dev/zero"), "a device")):
        with at_most(5), pytest.raises(InputError, match=reason):
            read_weights(place)
