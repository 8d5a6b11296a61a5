"""Files of weights: safetensors, or a state_dict that torch.save wrote. Nothing in them runs."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import safetensors
from safetensors.torch import load
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular
from edgeticket.pipeline.data import find_file
from edgeticket.pipeline.network.torch_file import read_torch

# Where the dictionaries that training scripts save have the state_dict, the best first.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
# What DataParallel, torch.compile and Lightning put before names.
PREFIXES = ("module.", "_orig_mod.", "model.")

IN_A_PACKAGE = "package:"

# First bytes of other files that people take for weights.
OTHERS = {
    b"\x89HDF": "an HDF5 file (Keras, old TensorFlow)",
    b"GGUF": "a GGUF file",
    b"\x93NUMPY": "a .npy file of one array",
    b"version https://git-lfs": "a pointer of Git LFS, whose file was never fetched (git lfs pull)",
    b"<!DOCTYPE": "a web page: the download went wrong",
    b"<html": "a web page: the download went wrong",
    b"\x1f\x8b": "compressed: gunzip it",
}


def find_weights(name: str, *, folders: Sequence[Path]) -> Path:
    """A file of weights in one of ``folders``, or ``package:NAME/FILE`` in an installed package.

    Raises:
        InputError: it is not there.
    """
    if not name.startswith(IN_A_PACKAGE):
        return find_file(name, folders=folders)
    package, _, file = name.removeprefix(IN_A_PACKAGE).partition("/")
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except ValueError:  # of a module that was never imported from a file
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"model.weights: no package {package!r} is installed ({name})")
    return find_file(file, folders=[Path(p) for p in spec.submodule_search_locations])


def read_weights(
    file: Path,
    *,
    rename: Mapping[str, str] = MappingProxyType({}),
    wanted: Collection[str] = (),
) -> dict[str, Tensor]:
    """Tensors by name: of a safetensors file, or of a state_dict that torch.save wrote.

    A state_dict may lie in a dictionary of a training run (under state_dict, model and the like),
    and what wrapped the network is taken off its names.

    Args:
        file: the suffix of its name does not matter.
        rename: regular expressions, and what stands for them in names of tensors.
        wanted: names that the network has.

    Raises:
        InputError: the file is missing, damaged, or holds more than tensors; ``rename`` is no
            regular expression, or makes two names one.
    """
    tensors = _by_content(read_regular(file, kind="weights"), place=str(file))
    tensors = _unwrapped(tensors, wanted)
    try:
        renamed = {_renamed(name, rename): tensor for name, tensor in tensors.items()}
    except (re.error, IndexError) as error:
        raise InputError(f"model.rename: {error}") from None
    if len(renamed) < len(tensors):
        raise InputError(f"model.rename gives two tensors of {file} one name")
    return renamed


def _renamed(name: str, rename: Mapping[str, str]) -> str:
    for pattern, replacement in rename.items():
        name = re.sub(pattern, replacement, name)
    return name


def _by_content(data: bytes, *, place: str) -> dict[str, Tensor]:
    """What a file is shows in its first bytes; its name may end in anything."""
    if data[8:9] == b"{" and 2 <= int.from_bytes(data[:8], "little") <= len(data) - 8:
        return _read_safetensors(data, place=place)
    if data[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return _only_network(read_torch(data, place=place), place=place)
    if data[257:262] == b"ustar":
        raise InputError(
            f"{place} is a tar, as torch.save made before 2017, or an archive: unpack it, or load "
            "it where it was made and save torch.save(network.state_dict(), FILE)"
        )
    known = [title for start, title in OTHERS.items() if data.startswith(start)]
    kind = f" is {known[0]}, and" if known else ""
    raise InputError(
        f"{place}{kind} is not a whole safetensors file, nor one that torch.save wrote; its "
        f"{len(data):,} bytes begin with {data[:8]!r}"
    )


def _only_network(found: Mapping[str, dict[str, Tensor]], *, place: str) -> dict[str, Tensor]:
    """Of the state_dicts in a file the one that is the network, its names without wrappers.

    Raises:
        InputError: there are several, and none is where training scripts put the network's.
    """
    names = list(found)
    preferred = [n for w in WRAPPERS for n in names if n.rpartition(".")[2] == w]
    if len(names) > 1 and not preferred:
        raise InputError(
            f"{place} holds {len(names)} state_dicts, under {', '.join(names[:8])}: save the one "
            f"that is meant, torch.save(torch.load(FILE){_indexed(names[0])}, NEW_FILE)"
        )
    return found[(preferred or names)[0]]


def _unwrapped(tensors: dict[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """Names without what wrapped the network; one that is ``wanted`` as it is stays so."""
    while not tensors.keys() & set(wanted):
        prefixes = [p for p in PREFIXES if all(name.startswith(p) for name in tensors)]
        if not prefixes or not tensors:
            break
        tensors = {name.removeprefix(prefixes[0]): t for name, t in tensors.items()}
    return tensors


def _indexed(place: str) -> str:
    return "".join(f"[{part!r}]" for part in place.split("."))


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors by name of a safetensors file.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    return _read_safetensors(read_regular(file, kind="weights"), place=str(file))


def _read_safetensors(data: bytes, *, place: str) -> dict[str, Tensor]:
    try:
        return load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise InputError(f"{place} is not a whole safetensors file: {reason}") from None
