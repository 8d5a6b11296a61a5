"""The bytes of a ticket file, without what they mean. docs/ticket-format.md describes them.

magic ETKT, version (uint16), size of header (uint32), size of numbers (uint32)
header      zlib: JSON
numbers     zlib: what cannot be drawn, one tensor after the other
mask        rANS (`mask_code`)
digest      SHA-256 of the weights that come out
checksum    CRC-32 of everything before
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from edgeticket.device_runner.errors import InputError

MAGIC = b"ETKT"
VERSIONS = PLAIN, SETTLED = 1, 2  # 2: a seed decides some elements of masks
START = struct.Struct("<4sHII")
DIGEST_BYTES, CHECKSUM_BYTES = 32, 4
MAX_FILE_BYTES = 1 << 26
MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class Sections:
    """The parts of a ticket file; header and numbers as zlib has them."""

    version: int
    header: bytes
    numbers: bytes
    mask: bytes
    digest: bytes


def join(sections: Sections) -> bytes:
    """Sections -> the bytes of a file."""
    start = START.pack(MAGIC, sections.version, len(sections.header), len(sections.numbers))
    body = start + sections.header + sections.numbers + sections.mask + sections.digest
    return body + struct.pack("<I", zlib.crc32(body))


def split(data: bytes, *, place: str) -> Sections:
    """The bytes of a file -> its parts, whole and undamaged.

    Raises:
        InputError: this is no ticket file, or not a whole one.
    """
    if data[:4] != MAGIC:
        raise InputError(f"{place} is no ticket file: it does not begin with {MAGIC.decode()}")
    least = START.size + DIGEST_BYTES + CHECKSUM_BYTES
    if not least <= len(data) <= MAX_FILE_BYTES:
        raise InputError(f"{place} is no whole ticket file: it has {len(data)} bytes; copy it anew")
    _, version, header_bytes, numbers_bytes = START.unpack_from(data)
    if version not in VERSIONS:
        known = " and ".join(map(str, VERSIONS))
        raise InputError(
            f"{place} has version {version}, and this edgeticket reads {known}: take a newer one"
        )
    body, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if struct.pack("<I", zlib.crc32(body)) != checksum:
        raise InputError(f"{place} is damaged: its checksum is another; copy it anew")
    first = START.size + header_bytes
    second, third = first + numbers_bytes, len(body) - DIGEST_BYTES
    if second > third:
        raise InputError(f"{place} is damaged: its parts are longer than the file")
    return Sections(
        version, body[START.size : first], body[first:second], body[second:third], body[third:]
    )


def deflate(data: bytes) -> bytes:
    """What `inflate` undoes."""
    return zlib.compress(data, 9)


def inflate(data: bytes, *, at_most: int, place: str) -> bytes:
    """Undo zlib, but never to more than ``at_most`` bytes.

    Raises:
        InputError: this is no zlib stream, or would become longer.
    """
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, at_most + 1)
    except zlib.error as error:
        raise InputError(f"{place} is damaged: {error}") from None
    if len(plain) > at_most or not stream.eof or stream.unused_data:
        raise InputError(f"{place} is damaged: a part of it is not as long as it should be")
    return plain
