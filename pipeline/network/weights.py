"""Files of weights: safetensors, or a state_dict that torch.save wrote. Nothing in them runs."""

from __future__ import annotations

import importlib.util
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import safetensors
import torch
from safetensors.torch import load
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data import find_file

# Where the dictionaries that training scripts save have the state_dict, the best first.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
# What DataParallel, torch.compile and Lightning put before names.
PREFIXES = ("module.", "_orig_mod.", "model.")

IN_A_PACKAGE = "package:"


def find_weights(name: str, *, folders: Sequence[Path]) -> Path:
    """A file of weights in one of ``folders``, or ``package:NAME/FILE`` in an installed package.

    Raises:
        InputError: it is not there.
    """
    if not name.startswith(IN_A_PACKAGE):
        return find_file(name, folders=folders)
    package, _, file = name.removeprefix(IN_A_PACKAGE).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"model.weights: no package {package!r} is installed ({name})")
    return find_file(file, folders=[Path(p) for p in spec.submodule_search_locations])


def read_weights(
    file: Path, *, rename: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Tensor]:
    """Tensors by name: of a safetensors file, or of a state_dict that torch.save wrote.

    A state_dict may lie in a dictionary of a training run (under state_dict, model and the like),
    and what wrapped the network is taken off its names.

    Raises:
        InputError: the file is missing, damaged, or holds more than tensors; ``rename`` is no
            regular expression, or makes two names one.
    """
    if file.suffix not in (".pt", ".pth", ".bin", ".ckpt", ".tar"):
        tensors = read_tensors(file)
    else:
        tensors = _read_state_dict(file)
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


def _read_state_dict(file: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats, which can be read
            # Only tensors and plain values: a file cannot run code.
            loaded = torch.load(file, weights_only=True, map_location="cpu")
    except OSError as error:
        raise InputError(f"cannot read weights {file}: {error.strerror or error}") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{file} holds more than tensors, which only running code could read: save them with "
            "torch.save(network.state_dict(), FILE) where it was made"
        ) from None
    except (EOFError, RuntimeError, KeyError, ValueError, IndexError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{file} is not a whole file of torch.save: {reason}") from None
    if isinstance(loaded, Mapping) and not _is_state_dict(loaded):
        inner = [name for name in WRAPPERS if _is_state_dict(loaded.get(name))]
        loaded = loaded[inner[0]] if inner else loaded
    if not _is_state_dict(loaded):
        raise InputError(
            f"{file} holds a {type(loaded).__name__}, not a state_dict of tensors by name"
        )
    tensors = {str(name): tensor.contiguous() for name, tensor in loaded.items()}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): t for name, t in tensors.items()}
    return tensors


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(tensor, Tensor) for tensor in value.values())
    )


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors by name of a safetensors file.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    try:
        return load(file.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read weights {file}: {error.strerror}") from None
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{file} is not a whole safetensors file: {error}") from None
