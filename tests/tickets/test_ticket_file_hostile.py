"""Ticket files that are damaged, or made to hurt: one sentence, little time, little memory."""

from __future__ import annotations

import json
import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutations import mutate_bytes, mutate_json, mutate_json_text
from ticket_fixtures import example

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.tickets.file import decode, layout, read
from edgeticket.pipeline.tickets.file.layout import Sections, join, split

GOLDEN = (Path(__file__).parents[1] / "golden" / "strong.ticket").read_bytes()
HEADER: dict[str, Any] = json.loads(zlib.decompress(split(GOLDEN, place="golden").header))


def rebuilt(**parts: bytes) -> bytes:
    """The golden file with other parts, and a checksum that fits them."""
    return join(Sections(**{**vars(split(GOLDEN, place="golden")), **parts}))


def with_header(document: Any) -> bytes:
    return rebuilt(header=zlib.compress(json.dumps(document).encode()))


def refusal(data: bytes) -> str:
    """What `decode` says; it must say it soon, and without making much."""
    tracemalloc.start()
    begin = time.monotonic()
    with pytest.raises(InputError) as caught:
        decode(data, place="x.ticket")
    seconds, (_, peak_bytes) = time.monotonic() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 10
    assert peak_bytes < 20_000_000
    told = str(caught.value)
    assert "x.ticket" in told or "known:" in told or "architecture" in told, told
    assert "\n" not in told
    return told


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The golden file with one thing changed in its header."""
    document = json.loads(json.dumps(HEADER))
    change(document)
    return with_header(document)


def tensor(document: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [t for t in document["tensors"] if t["name"] == name]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("kept", [0, 3, 4, 13, 49, 50, 200, len(GOLDEN) - 1])
def test_a_cut_file_is_told(kept: int) -> None:
    assert "is no ticket file" in (told := refusal(GOLDEN[:kept])) or "copy it anew" in told


def test_any_damage_is_noticed() -> None:
    rng = random.Random(0)
    for _ in range(200):
        damaged = mutate_bytes(rng, GOLDEN)
        if damaged != GOLDEN:
            refusal(damaged)


def test_damage_behind_a_right_checksum_is_noticed() -> None:
    rng = random.Random(1)
    parts = vars(split(GOLDEN, place="golden"))
    whole, _ = example()
    for round_ in range(150):
        name = ("mask", "mask", "digest", "numbers", "header")[round_ % 5]
        plain = parts[name] if name in ("mask", "digest") else zlib.decompress(parts[name])
        damaged = mutate_bytes(rng, plain)
        if damaged == plain or (name == "digest" and len(damaged) != 32):
            continue
        if name in ("header", "numbers"):
            damaged = zlib.compress(damaged)
        try:
            ticket = decode(rebuilt(**{name: damaged}), place="x.ticket")
        except InputError:
            continue
        assert ticket.network.digest == whole.digest  # the seed of a tensor that is all zero, say


def test_headers_that_say_something_else_are_refused_or_change_nothing() -> None:
    rng = random.Random(2)
    whole, _ = example()
    text = json.dumps(HEADER).encode()
    for round_ in range(200):
        if round_ % 4:
            damaged = json.dumps(mutate_json(rng, HEADER)).encode()
        else:
            damaged = mutate_json_text(rng, text)
        try:
            ticket = decode(rebuilt(header=zlib.compress(damaged)), place="x.ticket")
        except InputError:
            continue
        assert ticket.network.digest == whole.digest


def test_sizes_that_would_fill_the_memory_are_refused_unread() -> None:
    def wide(document: dict[str, Any]) -> None:
        document["args"]["width"] = 60_000

    def huge(document: dict[str, Any]) -> None:
        document["args"]["width"] = 10**15

    def claims(document: dict[str, Any]) -> None:
        tensor(document, "classifier.weight")["shape"] = [30_000, 30_000]

    assert "it has more than 73,024 numbers" in refusal(changed(wide))
    assert "numbers up to 65,536" in refusal(changed(huge))
    assert "900" in refusal(changed(claims))
    bomb = zlib.compress(bytes(1 << 26))
    assert "not as long as it should be" in refusal(rebuilt(header=bomb))
    assert "not as long as it should be" in refusal(rebuilt(numbers=bomb))


def test_parts_that_lie_about_their_length() -> None:
    for at in (6, 10):
        for size in (0, 1, len(GOLDEN), 2**32 - 1):
            start = bytearray(GOLDEN[:-4])
            struct.pack_into("<I", start, at, size)
            refusal(bytes(start) + struct.pack("<I", zlib.crc32(bytes(start))))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda d: d.update(arch="digits_cnm"), "did you mean digits_cnn"),
        (
            lambda d: d.update(arch="lenet5", args={}),
            "does not fit lenet5: its tensor conv1.weight",
        ),
        (lambda d: d["args"].update(widht=3), "has no argument 'widht' (known: "),
        (lambda d: d.update(seed=8), "weights that come out are not those that went in"),
        (lambda d: d.update(init_kept=0.5), "weights that come out are not those that went in"),
        (lambda d: d.update(init="default"), "init"),
        (lambda d: d.update(more=1), "unknown key"),
        (lambda d: d["tensors"].pop(), "is absent, and should be [10]"),
        (lambda d: d["tensors"].reverse(), "has the tensors of digits_cnn in another order"),
        (lambda d: d["tensors"].append(d["tensors"][0]), "names a tensor twice"),
        (lambda d: tensor(d, "features.0.weight")["mask"].update(kept=5), "damaged: "),
        (lambda d: tensor(d, "features.0.weight")["mask"].update(kept=28), "no such mask"),
        (lambda d: tensor(d, "features.0.weight")["mask"].update(prior=5), "damaged: "),
        (lambda d: tensor(d, "features.0.weight").update(fill=0.0), "either drawn, one number or"),
        (
            lambda d: tensor(d, "features.1.running_mean").update(dtype="float32"),
            "bytes of numbers",
        ),
        (lambda d: tensor(d, "features.1.num_batches_tracked").update(fill=0.5), "no whole number"),
    ],
)
def test_what_a_header_cannot_say(change: Callable[[dict[str, Any]], object], part: str) -> None:
    assert part in refusal(changed(change))


def test_a_version_that_the_header_does_not_fit() -> None:
    """A file of version 1 has nothing that a seed decided, one of version 2 has."""
    data = bytearray(GOLDEN)
    data[4] = 2
    data[-4:] = struct.pack("<I", zlib.crc32(data[:-4]))
    assert "is of version 2, and its header of version 1" in refusal(bytes(data))
    settled = {"zeros": 0.5, "seed": 1}
    assert "and its header of version 2" in refusal(changed(lambda d: d.update(settled=settled)))


def test_another_version_and_other_files() -> None:
    newer = bytearray(GOLDEN)
    newer[4] = 3
    assert "has version 3, and this edgeticket reads 1 and 2" in refusal(bytes(newer))
    assert "is no ticket file" in refusal(b"PK\x03\x04" + bytes(500))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read ticket .*none.ticket: No such file"):
        read(tmp_path / "none.ticket")
    with pytest.raises(InputError, match=r"cannot read ticket .*: Is a directory"):
        read(tmp_path)
    big = tmp_path / "big.ticket"
    big.write_bytes(layout.MAGIC)
    with open(big, "r+b") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(InputError, match="has 1,099,511,627,776 bytes, more than"):
        read(big)
