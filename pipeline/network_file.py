"""Networks on disk: ``network.json`` (what it is) beside ``weights.safetensors`` (its values)."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor

import models
from device_runner.atomic import make_folder, write_atomic
from device_runner.errors import InputError
from models.network import Network, skeleton

FORMAT_VERSION = 1
_SHOWN = 4  # problems that one message lists


def new_network(arch: str, args: models.Args, *, seed: int) -> Network:
    """A dense network with random initial weights that ``seed`` alone determines.

    Raises:
        InputError: unknown architecture or argument.
    """
    known_tensors(arch, args, {}, ())
    return Network.fresh(arch, args, seed=seed)


def save_network(network: Network, folder: Path) -> None:
    """Write ``network`` into ``folder``, made if need be; equal networks give equal bytes.

    Raises:
        InputError: the folder cannot be written.
    """
    description = {
        "version": FORMAT_VERSION,
        "arch": network.arch,
        "args": dict(network.args),
        "removed": {
            name: {str(axis): list(indices) for axis, indices in sorted(axes.items())}
            for name, axes in sorted(network.removed.items())
        },
        "bypassed": sorted(network.bypassed),
    }
    weights = {name: tensor.contiguous() for name, tensor in network.weights.items()}
    make_folder(folder)
    # The description is written last: where it is, the weights are whole.
    write_atomic(folder / "weights.safetensors", save(weights))
    write_atomic(folder / "network.json", json.dumps(description, indent=1).encode())


def load_network(folder: Path) -> Network:
    """Read what `save_network` wrote.

    Raises:
        InputError: a file is missing, damaged, or from a newer version.
    """
    path = folder / "network.json"
    try:
        description = json.loads(path.read_bytes())
        version = description["version"]
        if version != FORMAT_VERSION:
            raise InputError(f"{path}: version {version}, but only {FORMAT_VERSION} is known")
        arch, args = description["arch"], description["args"]
        removed = {
            name: {int(axis): tuple(indices) for axis, indices in axes.items()}
            for name, axes in description["removed"].items()
        }
        bypassed = frozenset(description["bypassed"])
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} describes no network: {error!r}; write it again") from None
    weights = _read_tensors(folder / "weights.safetensors")
    known = known_tensors(arch, args, removed, bypassed)
    _check(folder / "weights.safetensors", arch, weights, known, optional=())
    return Network(arch, args, weights, removed, bypassed)


def import_weights(file: Path, arch: str, args: models.Args) -> Network:
    """A safetensors file with PyTorch's names of ``arch`` -> the dense network.

    The file may leave out what the architecture fixes (parameters that require no gradient) and
    batch norm's counters.

    Raises:
        InputError: unknown architecture or argument; the file is missing or no safetensors file;
            tensors are missing, unexpected, of another shape or type, or not finite.
    """
    known = known_tensors(arch, args, {}, ())
    module = models.build(arch, args)
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    optional = {
        name
        for name, tensor in module.state_dict().items()
        if not tensor.is_floating_point()
        or (name not in trained and name in dict(module.named_parameters()))
    }
    weights = _read_tensors(file)
    _check(file, arch, weights, known, optional=optional)
    fixed = {n: t for n, t in module.state_dict().items() if n in optional and n not in weights}
    return Network(arch, args, {name: (weights | fixed)[name] for name in known})


def known_tensors(arch: str, args: models.Args, removed: Any, bypassed: Any) -> dict[str, Tensor]:
    """The tensors that an architecture has, by name, without values.

    Raises:
        InputError: unknown architecture or argument, or one too large to build.
    """
    if arch not in models.ARCHITECTURES:
        near = difflib.get_close_matches(str(arch), models.ARCHITECTURES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        known = ", ".join(models.ARCHITECTURES)
        raise InputError(f"unknown architecture {arch!r} ({hint}known: {known})")
    try:
        return skeleton(arch, args, removed, bypassed).state_dict()
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise InputError(str(error).partition("\n")[0]) from None


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load(file.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read weights {file}: {error.strerror}") from None
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{file} is not a whole safetensors file: {error}") from None


def _check(
    file: Path,
    arch: str,
    weights: Mapping[str, Tensor],
    known: Mapping[str, Tensor],
    *,
    optional: Iterable[str],
) -> None:
    problems = [f"{n} is missing" for n in known if n not in weights and n not in optional]
    for name, tensor in weights.items():
        if name not in known:
            problems.append(f"{name} is unexpected")
        elif tensor.shape != known[name].shape:
            found, wanted = list(tensor.shape), list(known[name].shape)
            problems.append(f"{name} has shape {found}, not {wanted}")
        elif tensor.dtype != known[name].dtype:
            problems.append(f"{name} is {tensor.dtype}, not {known[name].dtype}")
        elif not torch.isfinite(tensor).all():
            problems.append(f"{name} contains NaN or infinity")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" * (len(problems) > _SHOWN)
        raise InputError(f"{file} does not fit {arch}: {'; '.join(problems[:_SHOWN])}{more}")
