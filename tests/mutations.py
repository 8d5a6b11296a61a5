"""Seeded damage for fuzz tests: the same seed always breaks the same thing."""

from __future__ import annotations

import copy
import io
import random
import stat
import warnings
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 255, -129, 2**31, 2**63 - 1, -(2**63) + 1),
    *(0.0, -0.0, 1.5, -1e-300, 1e300, 5e-324),
    *("", "a", "..", "../../etc/passwd", "/etc/passwd", "C:\\x", "a\x00b", "é", "x" * 300),
    *([], {}, [[]], [None], {"": {}}, [0] * 50, {"unavailable": "because"}),
)
NASTY_TEXT = (
    *("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "1" + "0" * 25, '"\\ud800"', "'a'"),
    *("[" * 300 + "]" * 300, "[" * 100_000, '{"a":1,"a":2}', "//", "", "nul", "\ufeff", "-"),
)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip a bit, cut, repeat, blank, insert or overwrite."""
    length = rng.choice((1, 2, 4, 8, 64, 1024))
    noise = rng.randbytes(length)
    if not data:
        return noise
    at = rng.randrange(len(data))
    return rng.choice(
        (
            lambda: data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
            lambda: data[:at],
            lambda: data[at:],
            lambda: data[:at] + data[at : at + length] * 2 + data[at + length :],
            lambda: data[:at] + bytes(length) + data[at + length :],
            lambda: data[:at] + b"\xff" * length + data[at + length :],
            lambda: data[:at] + noise + data[at:],
            lambda: data[:at] + noise + data[at + length :],
            lambda: data[:at] + data[at + length :],
        )
    )()


def mutate_json(rng: random.Random, document: Any) -> Any:
    """Replace, remove, rename, double or add one part of a JSON document, anywhere in it."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    parent, key = rng.choice(places)
    action = rng.choice(("replace", "replace", "replace", "remove", "double", "rename", "add"))
    if action == "replace":
        parent[key] = copy.deepcopy(rng.choice(NASTY))
    elif action == "remove":
        del parent[key]
    elif action == "double" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif action == "rename" and isinstance(parent, dict):
        parent[key + "_"] = parent.pop(key)
    elif isinstance(parent, dict):
        parent["extra"] = copy.deepcopy(rng.choice(NASTY))
    else:
        other, name = rng.choice(places)  # a value that fits somewhere else
        parent[key] = copy.deepcopy(other[name])
    return document


def mutate_json_text(rng: random.Random, text: bytes) -> bytes:
    """Put something that strict JSON does not have where a value was."""
    marks = [i for i, byte in enumerate(text) if byte in b":,["]
    at = rng.choice(marks) + 1
    end = min((i for i in marks if i >= at), default=len(text))
    return text[:at] + rng.choice(NASTY_TEXT).encode() + text[end:]


def pack(files: Mapping[str, bytes]) -> bytes:
    """Path -> bytes, as a zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def hostile_zips(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What an attacker would try -> a zip of it. Each must be refused when read whole."""
    victim = max(files, key=lambda path: len(files[path]))

    def entry(name: str, *, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
        made = zipfile.ZipInfo(name)
        made.external_attr = mode << 16
        return made

    def with_entry(made: zipfile.ZipInfo, data: bytes = b"x", *, without: str = "") -> bytes:
        file = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
            warnings.simplefilter("ignore")  # duplicate names
            for path, content in files.items():
                if path != without:
                    archive.writestr(zipfile.ZipInfo(path), content)
            archive.writestr(made, data, zipfile.ZIP_DEFLATED)
        return file.getvalue()

    whole = pack(files)
    packed = with_entry(entry("unlisted"))
    placeholder = with_entry(entry("unlisted!slash"))
    return {
        "parent": with_entry(entry("../evil")),
        "absolute": with_entry(entry("/etc/evil")),
        "drive": with_entry(entry("C:evil")),
        "backslash": placeholder.replace(b"unlisted!slash", b"unlisted\\slash"),
        "nul": placeholder.replace(b"unlisted!slash", b"unlisted\x00slash"),
        "inner parent": with_entry(entry("models/../../evil")),
        "link": with_entry(
            entry(victim, mode=stat.S_IFLNK | 0o777), b"/etc/passwd", without=victim
        ),
        "unlisted link": with_entry(entry("link", mode=stat.S_IFLNK | 0o777), b"/etc/passwd"),
        "device": with_entry(entry("fifo", mode=stat.S_IFIFO | 0o644)),
        "twice": with_entry(entry(victim)),
        "bomb": with_entry(entry(victim), bytes(50_000_000), without=victim),
        "missing": pack({path: data for path, data in files.items() if path != victim}),
        "nested": pack({f"bundle/{path}": data for path, data in files.items()}),
        "truncated": whole[: len(whole) // 2],
        "tail only": packed[len(packed) // 2 :],
        "empty zip": pack({}),
        "empty": b"",
        "no zip": b"PK" + bytes(1000),
        "encrypted": _patch(whole, offset=8, value=1, width=2),
        "method": _patch(whole, offset=10, value=12, width=2),
        "lying sizes": _patch(whole, offset=20, value=2**31 - 1, width=4),
    }


MUTATIONS: Mapping[str, Callable[[random.Random, bytes], bytes]] = {
    "bytes": mutate_bytes,
    "json text": mutate_json_text,
}


def _patch(data: bytes, *, offset: int, value: int, width: int) -> bytes:
    """Overwrite a field of every central directory record (APPNOTE 4.3.12)."""
    out, at = bytearray(data), data.find(b"PK\x01\x02")
    while at >= 0:
        out[at + offset : at + offset + width] = value.to_bytes(width, "little")
        at = data.find(b"PK\x01\x02", at + 4)
    return bytes(out)


def _places(node: Any) -> Any:
    """(container, key) of every value inside a document."""
    keys = node if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from _places(node[key])
