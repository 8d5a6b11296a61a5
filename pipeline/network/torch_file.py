"""Files that torch.save wrote, read without running what is in them: today's zip and the format
before it. Tensors become tensors; whatever else there is stays a description (`pickled.Call`)."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.network.pickled import Call, Name, Persistent, parse

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MOST_COPIED = 4  # times the file's size, by tensors that overlap or lie across their storage
_MOST_AXES = 16
_DEEPEST = 4  # dictionaries in dictionaries that are looked through

_DAMAGE = (
    *(ValueError, IndexError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError),
    *(RecursionError, MemoryError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, UnicodeError),
)


def read_torch(data: bytes, *, place: str) -> dict[str, dict[str, Tensor]]:
    """The bytes of a file of torch.save -> every state_dict in it, by where it lies.

    The keys are like ``model.state_dict``; "" is one that is the whole file.

    Raises:
        InputError: it is damaged, or holds no state_dict.
    """
    try:
        document, storage_of = _open_zip(data) if data[:2] == b"PK" else _open_legacy(data)
        found = _state_dicts(document)
        reader = _Tensors(storage_of, _MOST_COPIED * len(data) + 2**16)
        made = {
            path: {name: reader.make(value) for name, value in items.items()}
            for path, items in found.items()
        }
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(f"{place} is no file of torch.save: {error}") from None
    except _DAMAGE as error:
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise InputError(f"{place} is not a whole file of torch.save: {reason}") from None
    if not made:
        raise InputError(f"{place} {_what_it_holds(document)}")
    return made


def read_document(data: bytes) -> Any:
    """The bytes of a file of torch.save -> what it holds, of plain values; calls stay calls.

    Raises:
        ValueError and others: it is damaged.
    """
    return (_open_zip if data[:2] == b"PK" else _open_legacy)(data)[0]


def _open_zip(data: bytes) -> tuple[Any, Callable[[Persistent], Tensor]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {entry.filename: entry for entry in archive.infolist()}
        documents = [name for name in members if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(documents) != 1:
            raise ValueError("it is a zip of something else")
        top = documents[0].removesuffix("data.pkl")
        if f"{top}constants.pkl" in members:
            raise ValueError(
                "it holds a scripted network, code and all: save its state_dict() instead"
            )
        if sum(entry.file_size for entry in members.values()) > len(data):
            raise ValueError("it is compressed, or lies about its sizes")
        order = f"{top}byteorder"
        if order in members and archive.read(order) != b"little":
            raise ValueError("it was written on a machine of the other byte order")
        document = parse(io.BytesIO(archive.read(documents[0])))
        whole: dict[str, bytes] = {
            name.removeprefix(f"{top}data/"): archive.read(name)
            for name in members
            if name.startswith(f"{top}data/")
        }
    stored: dict[str, Tensor] = {}

    def storage_of(reference: Persistent) -> Tensor:
        dtype, key, _ = _storage(reference)
        if key not in stored:
            stored[key] = _as_tensor(whole[key], dtype)
        return stored[key].view(dtype)

    return document, storage_of


def _open_legacy(data: bytes) -> tuple[Any, Callable[[Persistent], Tensor]]:
    file = io.BytesIO(data)
    if parse(file) != _LEGACY_MAGIC:
        raise pickle.UnpicklingError("it is a pickle of something else")
    parse(file)  # version of the format
    system = parse(file)
    if isinstance(system, Mapping) and not system.get("little_endian", True):
        raise ValueError("it was written on a machine of the other byte order")
    document, keys = parse(file), parse(file)
    dtypes: dict[Any, torch.dtype] = {}
    for reference in _references(document):
        dtype, key, _ = _storage(reference)
        dtypes[key] = dtype
    stored: dict[str, Tensor] = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        size = count * dtypes[key].itemsize
        if size > len(data):
            raise ValueError("it ends too early")
        raw = file.read(size)
        if len(raw) != size:
            raise ValueError("it ends too early")
        stored[key] = _as_tensor(raw, dtypes[key])

    def storage_of(reference: Persistent) -> Tensor:
        return stored[_storage(reference)[1]]

    return document, storage_of


def _references(document: Any) -> list[Persistent]:
    """Every storage that is named anywhere, without recursion."""
    found: list[Persistent] = []
    waiting, seen = [document], set[int]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Persistent):
            found.append(value)
        elif isinstance(value, dict | list | tuple | Call) and id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, dict):
                waiting += [*value.keys(), *value.values()]
            elif isinstance(value, Call):
                waiting += [value.args, value.items]
            else:
                waiting += value
    return found


def _storage(reference: Persistent) -> tuple[torch.dtype, str, int]:
    """What ('storage', kind, key, place, size, ...) says: type, key, numbers."""
    kind, storage, key, _, size, *view = reference.key
    if kind != "storage" or not isinstance(storage, Name) or (view and view[0] is not None):
        raise ValueError(f"it has a {kind!r} that is no plain storage")
    if storage.text not in STORAGES:
        raise ValueError(f"it has a {storage.text}, which is no storage of plain numbers")
    return STORAGES[storage.text], str(key), int(size)


def _as_tensor(raw: bytes, dtype: torch.dtype) -> Tensor:
    if len(raw) % dtype.itemsize:
        raise ValueError("a storage is cut short")
    return torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)


class _Tensors:
    """Makes tensors of the calls that would have, within a budget of bytes."""

    def __init__(self, storage_of: Callable[[Persistent], Tensor], budget_bytes: int) -> None:
        self._storage_of = storage_of
        self._left_bytes = budget_bytes

    def make(self, value: Any) -> Tensor:
        call = _unwrapped(value)
        reference, offset, size, stride, *rest = call.args
        storage = self._storage_of(reference)
        if call.name.endswith("_v3"):
            storage = storage.view(_DTYPES[rest[2].text])
        axes = [*size, *stride, offset]
        if len(size) != len(stride) or len(size) > _MOST_AXES:
            raise ValueError("a tensor has more axes than strides")
        if any(type(n) is not int or n < 0 for n in axes):
            raise ValueError("a tensor has no whole size")
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if count and last >= storage.numel():
            raise ValueError("a tensor reaches beyond its numbers")
        self._left_bytes -= count * storage.dtype.itemsize
        if self._left_bytes < 0:
            raise ValueError("its tensors are far larger than the file")
        strided = storage.as_strided(size, stride, offset) if count else storage[:0].reshape(size)
        return strided.contiguous()


def _unwrapped(value: Any) -> Call:
    """The call that makes a tensor, out of those that make a parameter or a subclass of it."""
    while isinstance(value, Call) and value.name in _WRAPPERS:
        if value.name.endswith("_rebuild_from_type_v2"):
            function, _, args, *_ = value.args
            value = Call(function.text, tuple(args))
        else:
            value = value.args[0]
    if not isinstance(value, Call):
        raise TypeError("it has no tensor where one should be")
    return value


def _is_tensor(value: Any) -> bool:
    depth = 0
    while isinstance(value, Call) and value.name in _WRAPPERS and depth < _DEEPEST:
        depth += 1
        if value.name.endswith("_rebuild_from_type_v2"):
            function = value.args[0] if value.args else None
            return isinstance(function, Name) and function.text in _TENSORS
        value = value.args[0] if value.args else None
    return isinstance(value, Call) and value.name in _TENSORS


def _items(value: Any) -> dict[Any, Any]:
    """What a mapping holds, a dictionary or what would have become one."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, Call):
        return {}
    pairs = value.args[0] if value.args else ()  # OrderedDict([[name, value], ...]) of Python 2
    given = {}
    if isinstance(pairs, list) and all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
        given = {p[0]: p[1] for p in pairs if isinstance(p[0], str)}
    elif isinstance(pairs, dict):
        given = pairs
    return given | value.items


def _state_dicts(document: Any) -> dict[str, dict[str, Any]]:
    """Every mapping of names to tensors; a number or a setting among them does not matter.

    One that holds others, such as a best score beside the network, does not count.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    waiting = deque[tuple[tuple[str, ...], Any]]([((), document)])
    seen = set[int]()  # each is looked at once, however shared
    while waiting:
        path, value = waiting.popleft()
        items = {name: item for name, item in _items(value).items() if isinstance(name, str)}
        if id(value) in seen or len(path) > _DEEPEST:
            continue
        seen.add(id(value))
        tensors = {name: item for name, item in items.items() if _is_tensor(item)}
        if tensors:
            found[path] = tensors
        waiting += [
            ((*path, name), item)
            for name, item in items.items()
            if name not in tensors and not name.lower().startswith(_NOT_A_NETWORK)
        ]
    holding = {path[:i] for path in found for i in range(len(path))}
    return {".".join(path): tensors for path, tensors in found.items() if path not in holding}


def _what_it_holds(document: Any) -> str:
    pickled = isinstance(document, Call) and ("state", "_modules") in document.items
    inner = [v for v in _items(document).values() if isinstance(v, Call)]
    if pickled or any(("state", "_modules") in call.items for call in inner):
        return (
            "holds more than tensors, a whole network, which only running code could read: save "
            "torch.save(network.state_dict(), FILE) where it was made"
        )
    keys = [str(key)[:40] for key in _items(document)][:8]
    kind = type(document).__name__ if not isinstance(document, Call) else document.name[:80]
    inside = f" of {', '.join(keys)}" if keys else ""
    return (
        f"holds a {kind}{inside}, not a state_dict of tensors by name: save "
        "torch.save(network.state_dict(), FILE) where it was made"
    )


_DTYPES: Mapping[str, torch.dtype] = {
    str(dtype): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
        *(torch.uint16, torch.uint32, torch.uint64),
    )
}
STORAGES: Mapping[str, torch.dtype] = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.storage.UntypedStorage": torch.uint8,
}
_TENSORS = frozenset(
    f"torch._utils.{name}"
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
)
_WRAPPERS = frozenset(
    (
        *("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"),
        "torch._tensor._rebuild_from_type_v2",
    )
)
# Where training scripts keep tensors that are no network's.
_NOT_A_NETWORK = ("optim", "scheduler", "lr_sched", "scaler", "amp", "rng", "loops", "callbacks")
