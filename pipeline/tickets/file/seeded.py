"""A strong ticket as a value, and as the bytes of a ticket file."""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular
from edgeticket.models.network import Network
from edgeticket.models.own import is_own
from edgeticket.pipeline.network.description import check_size, permit
from edgeticket.pipeline.network.draw import DRAWS, draw, settle
from edgeticket.pipeline.network.file import known_tensors
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.tickets.file import layout, mask_code
from edgeticket.pipeline.tickets.file.header import (
    Header,
    MaskEntry,
    SettledBySeed,
    TensorEntry,
    read_header,
    write_header,
)
from edgeticket.pipeline.tickets.file.mask_code import Known

STORED = {"float16": "<f2", "float32": "<f4", "int64": "<i8"}  # dtype of a header -> of numpy


@dataclass(frozen=True, eq=False)
class SeededTicket:
    """A network whose masked weights are those that a seed draws, or zero."""

    network: Network
    mask: Mask  # of all tensors that are drawn
    init: str  # a key of pipeline.network.draw.DRAWS
    init_kept: float
    seed: int
    settled: SettledBySeed | None = None  # what a seed decides of the mask


def is_strong(network: Network, mask: Mask, *, init: str, init_kept: float, seed: int) -> bool:
    """Whether `encode` takes it: the masked weights are as they were drawn, and all are there."""
    return (
        init in DRAWS
        and not is_own(network.arch)  # others may not have its code, and its inputs are not known
        and not network.removed
        and not network.bypassed
        and _changed(network, mask, init=init, init_kept=init_kept, seed=seed) is None
    )


def encode(
    network: Network,
    mask: Mask,
    *,
    init: str,
    init_kept: float,
    seed: int,
    settled: SettledBySeed | None = None,
) -> bytes:
    """A strong ticket -> the bytes of its file.

    Args:
        network: what the mask zeroes is zero.
        mask: the weights that were kept; weights that it does not name are kept whole.
        init, init_kept, seed: how the weights were drawn, see `pipeline.network.draw`.
        settled: what a seed decided before the search; of masks that keep to it, that is left out.

    Raises:
        InputError: masked weights are not those that the seed draws; channels or blocks were
            removed; the weights were drawn in a way that is not reproducible.
    """
    if init not in DRAWS:
        raise InputError(
            f"a ticket file needs weights of init {', '.join(DRAWS)}; those of {init} cannot be "
            "drawn again"
        )
    _check_source(network.arch)
    if network.removed or network.bypassed:
        raise InputError(
            "a ticket file is for networks of which no channel or block was removed; keep "
            "network.json and weights.safetensors of this one"
        )
    changed = _changed(network, mask, init=init, init_kept=init_kept, seed=seed)
    if changed is not None:
        raise InputError(
            f"{changed} is not what seed {seed} draws with init {init} and init_kept "
            f"{init_kept:g}: only a strong ticket, whose weights were never trained, fits into a "
            "ticket file"
        )
    entries, numbers, matrices = [], [], list[tuple[mask_code.Bits, mask_code.Model, Known]]()
    # In the order of the architecture; that of `network.weights` is of no meaning.
    weights = {n: network.weights[n] for n in known_tensors(network.arch, network.args, {}, ())}
    for name, tensor in weights.items():
        kept = mask.tensors.get(name)
        if kept is None and tensor.ndim > 1:
            drawn = draw(init, tensor.shape, name=name, seed=seed, kept=init_kept)
            if torch.from_numpy(drawn).equal(tensor):
                kept = torch.ones(tensor.shape, dtype=torch.bool)
        if kept is not None:
            matrix = kept.flatten(1).numpy()
            known = _known(name, matrix.shape, settled)
            holds = settled is not None and _keeps_to(matrix, known)
            if not holds:
                known = Known.none(matrix.shape)
            model = mask_code.fit(matrix, known)
            matrices.append((matrix, model, known))
            coded = MaskEntry(kept=model.kept, along=model.along, prior=model.prior, settled=holds)
            entries.append(TensorEntry(name=name, shape=tuple(tensor.shape), mask=coded))
        else:
            entry, stored = _stored(name, tensor)
            entries.append(entry)
            numbers.append(stored)
    header = Header.model_validate(
        {
            "arch": network.arch,
            "args": dict(network.args),
            "init": init,
            "init_kept": float(init_kept),
            "seed": seed,
            "settled": settled if any(e.mask and e.mask.settled for e in entries) else None,
            "tensors": tuple(entries),
        }
    )
    sections = layout.Sections(
        layout.PLAIN if header.settled is None else layout.SETTLED,
        layout.deflate(write_header(header)),
        layout.deflate(b"".join(numbers)),
        mask_code.encode(
            [matrix for matrix, _, _ in matrices],
            [model for _, model, _ in matrices],
            [known for _, _, known in matrices],
        ),
        _digest(weights),
    )
    return layout.join(sections)


def decode(data: bytes, *, place: str) -> SeededTicket:
    """The inverse of `encode`: the same network, bit for bit.

    Args:
        data: the bytes of a file.
        place: what errors call it, e.g. its path.

    Raises:
        InputError: this is no ticket file, it is damaged or from a newer version, its
            architecture is unknown, or the weights that come out are not those that went in.
    """
    sections = layout.split(data, place=place)
    text = layout.inflate(sections.header, at_most=layout.MAX_HEADER_BYTES, place=place)
    header = read_header(text, place=place)
    of_header = layout.PLAIN if header.settled is None else layout.SETTLED
    if sections.version != of_header:
        raise InputError(
            f"{place} is damaged: it is of version {sections.version}, and its header of version "
            f"{of_header}"
        )
    _check_architecture(header, place=place)
    stored_bytes = sum(t.size * np.dtype(STORED[t.dtype]).itemsize for t in header.stored)
    numbers = layout.inflate(sections.numbers, at_most=stored_bytes, place=place)
    if len(numbers) != stored_bytes:
        raise InputError(f"{place} is damaged: {len(numbers)} bytes of numbers, not {stored_bytes}")
    masked = header.masked
    try:
        matrices = mask_code.decode(
            sections.mask,
            [t.matrix_shape for t in masked],
            [t.model for t in masked],
            [_known_of(t, header) for t in masked],
        )
    except mask_code.DamagedMaskError as error:
        raise InputError(f"{place} is damaged: {error}") from None
    mask = {
        t.name: torch.from_numpy(matrix).reshape(t.shape)
        for t, matrix in zip(masked, matrices, strict=True)
    }
    weights: dict[str, Tensor] = {}
    offset = 0
    for entry in header.tensors:
        if entry.mask is not None:
            drawn = draw(
                header.init,
                entry.shape,
                name=entry.name,
                seed=header.seed,
                kept=header.init_kept,
            )
            weights[entry.name] = torch.from_numpy(drawn).where(mask[entry.name], 0)
        elif entry.fill is not None:
            dtype = torch.int64 if entry.dtype == "int64" else torch.float32
            weights[entry.name] = torch.full(entry.shape, entry.fill, dtype=dtype)
        else:
            values = np.frombuffer(numbers, STORED[entry.dtype], entry.size, offset)
            offset += values.nbytes
            wide = values.astype(np.int64 if entry.dtype == "int64" else np.float32)
            weights[entry.name] = torch.from_numpy(wide.reshape(entry.shape))
    if _digest(weights) != sections.digest:
        raise InputError(
            f"{place}: the weights that come out are not those that went in; the file is damaged, "
            "or was written by another program"
        )
    network = Network(header.arch, header.args, weights)
    return SeededTicket(
        network, Mask(mask), header.init, header.init_kept, header.seed, header.settled
    )


def read(path: Path) -> SeededTicket:
    """`decode` a file.

    Raises:
        InputError: it cannot be read, or as for `decode`.
    """
    data = read_regular(path, kind="ticket", limit_bytes=layout.MAX_FILE_BYTES)
    return decode(data, place=str(path))


def _changed(network: Network, mask: Mask, *, init: str, init_kept: float, seed: int) -> str | None:
    """The first masked tensor that is not what the seed draws, or zero where the mask says so."""
    for name, kept in mask.tensors.items():
        tensor = network.weights[name]
        drawn = torch.from_numpy(draw(init, tensor.shape, name=name, seed=seed, kept=init_kept))
        if not _same_bits(drawn.where(kept, 0), tensor):
            return name
    return None


def _known(name: str, shape: tuple[int, ...], settled: SettledBySeed | None) -> Known:
    """What a seed decides of the mask of a tensor, as a matrix."""
    if settled is None:
        return Known.none(shape)
    return Known(
        *settle(shape, name=name, seed=settled.seed, zeros=settled.zeros, ones=settled.ones)
    )


def _known_of(entry: TensorEntry, header: Header) -> Known:
    assert entry.mask is not None
    return _known(entry.name, entry.matrix_shape, header.settled if entry.mask.settled else None)


def _keeps_to(matrix: mask_code.Bits, known: Known) -> bool:
    return bool(matrix[known.ones].all()) and not matrix[known.zeros].any()


def _stored(name: str, tensor: Tensor) -> tuple[TensorEntry, bytes]:
    """What is no drawn weight -> its entry, and what the file must hold of it."""
    dtype: Literal["float16", "float32", "int64"] = "float32"
    if tensor.dtype == torch.int64:
        dtype = "int64"
    elif tensor.dtype != torch.float32:
        raise InputError(f"{name} is {tensor.dtype}, and a ticket file holds float32 and int64")
    flat = tensor.flatten()
    shape = tuple(tensor.shape)
    if len(flat) and _same_bits(flat, flat[0].expand(len(flat))):
        return TensorEntry(name=name, shape=shape, fill=flat[0].item(), dtype=dtype), b""
    if dtype == "float32" and _same_bits(flat, flat.half().float()):
        dtype = "float16"
    stored = flat.numpy().astype(STORED[dtype]).tobytes()
    return TensorEntry(name=name, shape=shape, dtype=dtype), stored


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal, and zeros of the same sign."""
    return a.numpy().tobytes() == b.contiguous().numpy().tobytes()


def _digest(weights: Mapping[str, Tensor]) -> bytes:
    """SHA-256 of all tensors one after the other, little-endian."""
    digest = hashlib.sha256()
    for tensor in weights.values():
        array = tensor.contiguous().numpy()
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.digest()


def _check_architecture(header: Header, *, place: str) -> None:
    """
    Raises:
        InputError: the architecture is unknown, or has other tensors.
    """
    permit(header.arch, header.args, place=place)
    _check_source(header.arch, place=f"{place}: ")
    # What an architecture makes of buffers and parts that it drops again is little.
    numbers = 2 * sum(tensor.size for tensor in header.tensors) + 2**16
    room = {"numbers": numbers, "tensors": 2 * len(header.tensors) + 100}
    check_size(header.arch, header.args, **room, place=place)
    known = known_tensors(header.arch, header.args, {}, ())
    wanted = {name: (tuple(t.shape), t.dtype) for name, t in known.items()}
    found = {
        t.name: (t.shape, torch.int64 if t.dtype == "int64" else torch.float32)
        for t in header.tensors
    }
    if found == wanted and list(found) != list(wanted):
        raise InputError(f"{place} has the tensors of {header.arch} in another order")
    if found != wanted:
        names = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
        raise InputError(
            f"{place} does not fit {header.arch}: its tensor {names[0]} is "
            f"{_told(found.get(names[0]))}, and should be {_told(wanted.get(names[0]))}"
        )


def _check_source(arch: str, *, place: str = "") -> None:
    """
    Raises:
        InputError: the architecture is from elsewhere.
    """
    if is_own(arch):
        raise InputError(
            f"{place}{reprlib.repr(arch)} is from elsewhere, and a ticket file is for the "
            "architectures of this project alone: keep network.json and weights.safetensors of "
            "such a network"
        )


def _told(of: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return "absent" if of is None else f"{list(of[0])} of {of[1]}"
