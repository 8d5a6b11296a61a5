"""Strong tickets for tests, and a reader of ticket files that follows docs/ticket-format.md.

The reader uses plain Python numbers and nothing of the pipeline, as one in another language would.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import torch

from models.network import Network
from pipeline.initialise import Init, initialise
from pipeline.mask import Mask
from pipeline.tickets.prunable import prunable

WORD = 2**64 - 1


def strong(
    arch: str,
    args: dict[str, int],
    *,
    init: Init,
    kept: float,
    seed: int,
    exclude: tuple[str, ...] = (),
) -> tuple[Network, Mask]:
    """A masked network of drawn weights, with statistics as training leaves them."""
    drawn = initialise(Network.fresh(arch, args, seed=0), init, seed=seed, kept=0.25)
    generator = torch.Generator().manual_seed(seed)
    weights = dict(drawn.weights)
    for name, tensor in weights.items():
        if name.endswith("running_mean"):
            weights[name] = torch.randn(tensor.shape, generator=generator).half().float()
        elif name.endswith("running_var"):
            weights[name] = torch.rand(tensor.shape, generator=generator) + 0.5
        elif name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(4321)
    names = prunable(drawn.module(), exclude)
    mask = Mask({n: torch.rand(w.shape, generator=generator) < kept for n, w in names.items()})
    return mask.apply(Network(arch, args, weights)), mask


def example() -> tuple[Network, Mask]:
    """What tests/golden/strong.ticket holds; drawn with init_kept 0.25 from seed 7."""
    _, mask = strong("digits_cnn", {"width": 3}, init="uniform", kept=0.2, seed=7)
    tensors = dict(mask.tensors)
    tensors["features.3.weight"] = torch.zeros_like(tensors["features.3.weight"])
    tensors["features.6.weight"] = torch.ones_like(tensors["features.6.weight"])
    tensors["features.9.weight"][3:] = False  # units without weights: densities differ
    whole, _ = strong("digits_cnn", {"width": 3}, init="uniform", kept=1.0, seed=7)
    return Mask(tensors).apply(whole), Mask(tensors)


def philox(key: tuple[int, int]) -> Iterator[int]:
    """The 64-bit words of Philox4x64-10, its counter from 1 up."""
    counter = 0
    while True:
        counter += 1
        x, (k0, k1) = [counter & WORD, counter >> 64, 0, 0], key
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
            x = [(b >> 64) ^ x[1] ^ k0, b & WORD, (a >> 64) ^ x[3] ^ k1, a & WORD]
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & WORD, (k1 + 0xBB67AE8584CAA73B) & WORD
        yield from x


def drawn_by_hand(init: str, size: int, *, name: str, seed: int) -> Iterator[float]:
    """Weights in units of their deviation."""
    words = philox((seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")))
    word = 0
    for i in range(size):
        if init == "signed_constant":
            word = next(words) if i % 64 == 0 else word
            yield -1.0 if word >> i % 64 & 1 else 1.0
        elif init == "uniform":
            yield (2 * (next(words) >> 40) + 1 - 2**24) * (math.sqrt(3) / 2**24)
        else:
            three = [next(words) for _ in range(3)]
            total = sum(word >> shift & 0xFFFF for word in three for shift in (0, 16, 32, 48))
            yield (total - 6 * 65535) / math.sqrt(2**32 - 1)


def read_by_hand(data: bytes) -> dict[str, list[float]]:
    """The bytes of a ticket file -> every tensor, flat, as Python numbers."""
    magic, version, header_bytes, numbers_bytes = struct.unpack_from("<4sHII", data)
    assert (magic, version) == (b"ETKT", 1)
    assert zlib.crc32(data[:-4]) == struct.unpack("<I", data[-4:])[0]
    at = 14
    header = json.loads(zlib.decompress(data[at : at + header_bytes]))
    at += header_bytes
    numbers = zlib.decompress(data[at : at + numbers_bytes])
    at += numbers_bytes
    masks = masks_by_hand(data[at:-36], [t for t in header["tensors"] if "mask" in t])
    tensors: dict[str, list[float]] = {}
    digest = hashlib.sha256()
    for tensor in header["tensors"]:
        name, size = tensor["name"], math.prod(tensor["shape"])
        dtype = tensor.get("dtype", "float32")
        if "mask" in tensor:
            deviation = math.sqrt(2 / (math.prod(tensor["shape"][1:]) * header["init_kept"]))
            units = drawn_by_hand(header["init"], size, name=name, seed=header["seed"])
            kept = masks[name]
            values = [u * deviation if k else 0.0 for u, k in zip(units, kept, strict=True)]
        elif "fill" in tensor:
            values = [tensor["fill"]] * size
        else:
            code = {"float16": "e", "float32": "f", "int64": "q"}[dtype]
            values = list(struct.unpack_from(f"<{size}{code}", numbers))
            numbers = numbers[struct.calcsize(f"<{size}{code}") :]
        packed = struct.pack(f"<{size}{'q' if dtype == 'int64' else 'f'}", *values)
        digest.update(packed)
        tensors[name] = list(struct.unpack(f"<{size}{'q' if dtype == 'int64' else 'f'}", packed))
    assert digest.digest() == data[-36:-4]
    return tensors


def masks_by_hand(code: bytes, entries: list[dict[str, Any]]) -> dict[str, list[bool]]:
    """The coded masks -> name -> flat bits."""
    states = list(struct.unpack_from("<32I", code))
    words = iter(struct.unpack_from(f"<{(len(code) - 128) // 2}H", code, 128))
    masks = {}
    for entry in entries:
        outputs, inputs = entry["shape"][0], math.prod(entry["shape"][1:])
        model, size = entry["mask"], outputs * inputs
        bits = [model["kept"] > 0] * size
        masks[entry["name"]] = bits
        if model["kept"] in (0, size):
            continue
        overall = min(max((model["kept"] * 16384 + size // 2) // size, 1), 16383)
        by_input = model["along"] == "outputs"
        rows, columns = (inputs, outputs) if by_input else (outputs, inputs)
        counts = [0] * columns
        for row in range(rows):
            total = row + model["prior"]
            for column in range(columns):
                share = counts[column] * 16384 + model["prior"] * overall + total // 2
                frequency = min(max(share // total, 1), 16383)
                lane = column % 32
                quotient, place = divmod(states[lane], 16384)
                kept = place < frequency
                if kept:
                    state = quotient * frequency + place
                else:
                    state = quotient * (16384 - frequency) + place - frequency
                states[lane] = state << 16 | next(words) if state < 65536 else state
                bits[column * inputs + row if by_input else row * inputs + column] = kept
                counts[column] += kept
    assert states == [65536] * 32
    assert next(words, None) is None
    return masks
