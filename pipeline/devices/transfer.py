"""Bring files to a device: only what it lacks, verified there, all or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.bundle import MANIFEST, Bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.connection import Connection, Patience, Tell
from edgeticket.pipeline.devices.remote_calls import call

ROUNDS = 3  # a file that arrives damaged so often has another reason than chance
SLOWEST_BYTES_PER_S = 20_000  # what a poor radio link still does
_PIECE_BYTES = 2**16


@dataclass(frozen=True)
class Content:
    """Bytes to send, in memory or in a file, and what they must be."""

    sha256: str
    size_bytes: int
    source: bytes | Path

    def pieces(self, start: int) -> Iterator[bytes]:
        """The bytes from ``start`` on."""
        if isinstance(self.source, bytes):
            yield from (
                self.source[i : i + _PIECE_BYTES]
                for i in range(start, self.size_bytes, _PIECE_BYTES)
            )
            return
        with open(self.source, "rb") as file:
            file.seek(start)
            while piece := file.read(_PIECE_BYTES):
                yield piece


def content_of(source: bytes | Path) -> Content:
    """Bytes, or the path of a file -> content."""
    if isinstance(source, bytes):
        return Content(hashlib.sha256(source).hexdigest(), len(source), source)
    with open(source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Content(digest, file.tell(), source)


def bundle_contents(bundle: Bundle) -> dict[str, Content]:
    """Path -> content of every file of a bundle, each verified; folder or zip alike.

    Raises:
        InputError: a file is not what the manifest says.
    """
    paths = [file.path for file in bundle.manifest.files]
    return {
        MANIFEST: content_of(bundle.manifest_bytes),
        **{path: content_of(bundle.read(path)) for path in paths},
    }


async def push(
    connection: Connection,
    name: str,
    contents: Mapping[str, Content],
    *,
    patience: Patience,
    tell: Tell,
) -> str:
    """Lay files out on the device as a folder -> its path there.

    Args:
        connection: the device.
        name: of the folder; the same name stands for the same contents.
        contents: by path in the folder.
        patience: how long to wait for what.
        tell: hears what is sent.

    Raises:
        InputError: the disk there is full, or files keep arriving damaged.
        LinkError: the link broke; the next call goes on where this one was.
    """
    by_digest = {content.sha256: content for content in contents.values()}
    wanted = {path: [content.sha256, content.size_bytes] for path, content in contents.items()}
    for _ in range(ROUNDS):
        found, _rest = await call(
            connection, "place", patience=patience, name=name, files=wanted, tell=tell
        )
        if "folder" in found:
            folder: str = found["folder"]
            return folder
        lacks = found["lacks"]
        left = sum(size - start for _, size, start in lacks)
        await call(
            connection,
            "receive",
            files=lacks,
            payload=_payload(lacks, by_digest, left, tell),
            timeout_s=patience.step_s + left / SLOWEST_BYTES_PER_S,
            patience=patience,
            tell=tell,
        )
    raise InputError(
        f"{connection.address}: files keep arriving damaged or vanish there: "
        "check its memory card and its power supply"
    )


def _payload(
    lacks: Sequence[tuple[str, int, int]],
    contents: Mapping[str, Content],
    left_bytes: int,
    tell: Tell,
) -> Iterator[bytes]:
    """The bytes that `receive` expects, one file after the other."""
    sent, told = 0, -1
    for digest, _, start in lacks:
        for piece in contents[digest].pieces(start):
            percent = 100 * sent // left_bytes
            if percent > told:
                tell(f"sending {left_bytes / 1e6:.1f} MB, {percent} %")
                told = percent
            yield piece
            sent += len(piece)
