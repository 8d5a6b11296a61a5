"""Networks on disk: ``network.json`` (what it is) beside ``weights.safetensors`` (its values)."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from edgeticket import models
from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular
from edgeticket.models.network import Network, Takes, skeleton
from edgeticket.models.own import is_own
from edgeticket.pipeline.network.description import (
    ANY,
    FORMAT_VERSION,
    MOST_BYTES,
    check_size,
    read_description,
)
from edgeticket.pipeline.network.weights import read_tensors, read_weights

_SHOWN = 4  # problems that one message lists


def new_network(arch: str, args: models.Args, *, seed: int, takes: Takes = ()) -> Network:
    """A dense network with random initial weights that ``seed`` alone determines.

    Raises:
        InputError: unknown architecture or argument.
    """
    known_tensors(arch, args, {}, ())
    return Network.fresh(arch, args, seed=seed, takes=takes)


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
        **({"takes": list(network.takes)} if network.takes else {}),
    }
    weights = {name: tensor.contiguous() for name, tensor in network.weights.items()}
    make_folder(folder)
    # The description is written last: where it is, the weights are whole.
    write_atomic(folder / "weights.safetensors", save(weights))
    write_atomic(folder / "network.json", json.dumps(description, indent=1).encode())


def load_network(folder: Path, *, trusted: str = "") -> Network:
    """Read what `save_network` wrote.

    Args:
        folder: with the two files.
        trusted: as `pipeline.network.description` has it.

    Raises:
        InputError: a file is missing, damaged, from a newer version, or asks for code to be run.
    """
    path, file = folder / "network.json", folder / "weights.safetensors"
    data = read_regular(path, limit_bytes=MOST_BYTES)
    described = read_description(data, place=str(path), trusted=trusted)
    weights = read_tensors(file)
    arch, args = described.arch, described.args
    if trusted != ANY:
        # Of what was removed, the file has nothing to show; this leaves room for most of a network.
        numbers = sum(tensor.numel() for tensor in weights.values())
        room = {"numbers": 100 * numbers + 2**22, "tensors": 10 * len(weights) + 1000}
        check_size(arch, args, **room, place=str(path))
    known = known_tensors(arch, args, described.removed, described.bypassed)
    _check(file, arch, weights, known, optional=())
    return Network(arch, args, weights, described.removed, described.bypassed, described.takes)


def import_weights(
    file: Path,
    arch: str,
    args: models.Args,
    *,
    rename: Mapping[str, str] = MappingProxyType({}),
    takes: Takes = (),
) -> Network:
    """A file of weights with PyTorch's names of ``arch`` -> the dense network.

    The file may leave out what the architecture fixes (parameters that require no gradient) and
    batch norm's counters.

    Args:
        file: safetensors, or what torch.save made of a state_dict (`read_weights`).
        arch, args, takes: as `Network`.
        rename: regular expressions, and what stands for them in names of tensors.

    Raises:
        InputError: unknown architecture or argument; the file is missing or of another kind;
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
    weights = read_weights(file, rename=rename, wanted=known)
    _check(file, arch, weights, known, optional=optional)
    fixed = {n: t for n, t in module.state_dict().items() if n in optional and n not in weights}
    return Network(arch, args, {name: (weights | fixed)[name] for name in known}, takes=takes)


def known_tensors(arch: str, args: models.Args, removed: Any, bypassed: Any) -> dict[str, Tensor]:
    """The tensors that an architecture has, by name, without values.

    Raises:
        InputError: unknown architecture or argument, or one too large to build.
    """
    if arch not in models.ARCHITECTURES and not is_own(arch):
        near = difflib.get_close_matches(str(arch)[:64], models.ARCHITECTURES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        known = ", ".join(models.ARCHITECTURES)
        raise InputError(f"unknown architecture {arch!r} ({hint}known: {known})")
    try:
        return skeleton(arch, args, removed, bypassed).state_dict()
    except (ValueError, TypeError, RuntimeError, OverflowError, MemoryError) as error:
        raise InputError(str(error).partition("\n")[0]) from None


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
