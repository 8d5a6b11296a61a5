"""Files of `torch.export.save` as what they are: an archive of JSON and of raw numbers.

PyTorch's own reader unpickles sample inputs, evaluates expressions and looks functions up by names
from the file. Nothing of that is done here: only the JSON and the raw numbers are read, and what is
pickled is left where it is.
"""

from __future__ import annotations

import io
import math
import reprlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.strict_json import parse_json

MAJOR = 8  # version of the format: PyTorch 2.8 and later
AGAIN = "export the network again and write it with torch.export.save of PyTorch 2.8 or later"

TYPES: dict[int, torch.dtype] = {  # as the format numbers them
    2: torch.int8,
    1: torch.uint8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}


@dataclass(frozen=True)
class Archive:
    """A program as JSON, and its tensors by name."""

    program: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def read_archive(data: bytes, *, place: str) -> Archive:
    """The bytes of a .pt2 file -> its program and tensors.

    Raises:
        InputError: it is damaged, of another version, has pickled weights or compiled code.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            return _Opened(opened, place).read()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise InputError(f"{place} is no whole .pt2 file ({error}): {AGAIN}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{place} is damaged ({error!r}): {AGAIN}") from None


class _Opened:
    def __init__(self, archive: zipfile.ZipFile, place: str) -> None:
        self.archive, self.place = archive, place
        entries = archive.infolist()
        if any("/code/" in entry.filename for entry in entries):
            raise InputError(
                f"{self.place} is a scripted module (TorchScript), whose code is never run: write "
                "the nn.Module that it was made of with torch.export.save, or export it to ONNX"
            )
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise InputError(f"{place} is compressed, as PyTorch never writes it: {AGAIN}")
        self.names = {entry.filename.partition("/")[2]: entry for entry in entries}
        if len(self.names) < len(entries):
            raise InputError(f"{place} has two entries of one name: {AGAIN}")

    def read(self) -> Archive:
        programs = [n for n in self.names if n.startswith("models/") and n.endswith(".json")]
        if not programs and "serialized_exported_program.json" in self.names:
            raise InputError(f"{self.place} is of PyTorch before 2.8: {AGAIN}")
        if len(programs) != 1:
            what = "compiled code" if any("aotinductor" in n for n in self.names) else "no program"
            raise InputError(f"{self.place} has {what} of torch.export: {AGAIN}")
        program = self._json(programs[0])
        version = program["schema_version"]["major"]
        if version != MAJOR:
            shown = reprlib.repr(version)
            raise InputError(f"{self.place} is of format {shown}, not {MAJOR}: {AGAIN}")
        name = programs[0].removeprefix("models/").removesuffix(".json")
        tensors: dict[str, Tensor] = {}
        for kind in ("weights", "constants"):
            config = f"data/{kind}/{name}_{kind}_config.json"
            if config in self.names:
                for tensor, entry in self._json(config)["config"].items():
                    tensors[tensor] = self._tensor(tensor, entry, f"data/{kind}/")
        return Archive(program, tensors)

    def _json(self, name: str) -> Any:
        return parse_json(self.archive.read(self.names[name]), place=f"{self.place}: {name}")

    def _tensor(self, name: str, entry: Mapping[str, Any], folder: str) -> Tensor:
        if entry.get("use_pickle") or entry.get("tensor_meta") is None:
            raise InputError(
                f"{self.place}: {reprlib.repr(name)} is pickled, and nothing is unpickled: make it "
                "a plain tensor, and export the network again"
            )
        meta = entry["tensor_meta"]
        dtype = TYPES.get(meta["dtype"])
        if dtype is None:
            raise InputError(f"{self.place}: {reprlib.repr(name)} is of a type that is not known")
        sizes, strides = ([_whole(n) for n in meta[key]] for key in ("sizes", "strides"))
        offset = _whole(meta["storage_offset"])
        raw = self.archive.read(self.names[f"{folder}{entry['path_name']}"])
        count = len(raw) // dtype.itemsize
        last = offset + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
        if math.prod(sizes) > count or not 0 <= last < max(count, 1) or min(strides, default=0) < 0:
            raise InputError(f"{self.place}: {reprlib.repr(name)} has too few numbers: {AGAIN}")
        if not count:
            return torch.zeros(sizes, dtype=dtype)
        numbers = torch.frombuffer(bytearray(raw[: count * dtype.itemsize]), dtype=dtype)
        tensor = numbers.as_strided(sizes, strides, offset).contiguous()
        if tensor.is_floating_point():
            tensor = tensor.float()
            if not torch.isfinite(tensor).all() and name.endswith(("weight", "bias")):
                raise InputError(
                    f"{self.place}: {name} holds NaN or infinity: the training diverged, or the "
                    "file is damaged; give another"
                )
        return tensor


def _whole(size: Mapping[str, Any]) -> int:
    number = size["as_int"]
    if type(number) is not int or not 0 <= number < 2**40:
        raise ValueError(f"{reprlib.repr(number)} is no size")
    return number
