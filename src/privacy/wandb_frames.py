"""The files that W&B 0.31 writes, as frames: a header of 7 bytes, then LevelDB's log format with IEEE checksums.

Blocks of 32 KiB hold chunks of a checksum, a length and a type; a record is one chunk or several. Source:
https://github.com/google/leveldb/blob/main/doc/log_format.md, and `core/internal/transactionlog` of W&B.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from src.cli.errors import UserError

MAGIC = b":W&B\xe1\xbe\x00"
BLOCK = 32 * 1024
HEAD = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class Frames:
    """The records of one file.

    Attributes:
        bodies: each record's place in the file and its bytes, in order.
        torn: from which byte on the end is missing, as a kill leaves it; None for a file that ends with a record.
    """

    bodies: list[tuple[int, bytes]]
    torn: int | None


def read_frames(path: Path) -> Frames:
    """Every whole record of a file.

    Raises:
        UserError: the file is none of W&B's, or damaged before its end; the message says at which byte.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not data.startswith(MAGIC):
        if MAGIC.startswith(data):
            return Frames([], 0)
        raise UserError(f"{path}: byte 0: not a file of W&B 0.31")
    found: list[tuple[int, bytes]] = []
    place, start, parts = len(MAGIC), len(MAGIC), list[bytes]()
    while place < len(data):
        if BLOCK - place % BLOCK < HEAD.size:
            place += BLOCK - place % BLOCK
            continue
        chunk = _chunk(path, data, place)
        if chunk is None:
            return Frames(found, start if parts else place)
        kind, body = chunk
        if (kind in (MIDDLE, LAST)) is not bool(parts):
            raise UserError(f"{path}: byte {place}: damaged, a record begins or goes on where it cannot")
        start = start if parts else place
        parts.append(body)
        place += HEAD.size + len(body)
        if kind in (FULL, LAST):
            found.append((start, b"".join(parts)))
            parts = []
    return Frames(found, start if parts else None)


def _chunk(path: Path, data: bytes, place: int) -> tuple[int, bytes] | None:
    """Type and bytes of the chunk at `place`; None where the file ends within it."""
    if place + HEAD.size > len(data) or not any(data[place:]):
        return None
    checksum, length, kind = HEAD.unpack_from(data, place)
    end = place + HEAD.size + length
    if not FULL <= kind <= LAST or length > BLOCK - HEAD.size - place % BLOCK:
        raise UserError(f"{path}: byte {place}: damaged, no record begins there")
    if end > len(data):
        return None
    if zlib.crc32(data[place + HEAD.size - 1 : end]) != checksum:
        raise UserError(f"{path}: byte {place}: damaged, its checksum is another")
    return kind, data[place + HEAD.size : end]


def framed(bodies: Iterable[bytes]) -> bytes:
    """A whole file of these records."""
    out = bytearray(MAGIC)
    for body in bodies:
        left, first = memoryview(body), True
        while first or left:
            room = BLOCK - len(out) % BLOCK
            if room < HEAD.size:
                out += bytes(room)
                room = BLOCK
            part = bytes(left[: room - HEAD.size])
            left = left[len(part) :]
            kind = (FULL if not left else FIRST) if first else (LAST if not left else MIDDLE)
            out += HEAD.pack(zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            first = False
    return bytes(out)
