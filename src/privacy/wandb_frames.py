"""Files that W&B writes consist of frames: a header of 7 bytes, then LevelDB's log format with IEEE checksums.

Blocks of 32 KiB hold chunks of a checksum, a length and a type; a record is one chunk or several. Source:
https://github.com/google/leveldb/blob/main/doc/log_format.md, and `core/internal/transactionlog` of W&B, whose own
Python reader, `wandb.sdk.internal.datastore`, went with version 0.30.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from src.cli.errors import UserError

MAGIC = b":W&B\xe1\xbe\x00"
BLOCK = 32 * 1024
HEAD = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class Frames:
    """Holds the records of one file.

    Attributes:
        bodies: each record's place in the file and its bytes, in order.
        torn: from which byte on the end is missing, as a kill leaves it; None for a file that ends with a record.
    """

    bodies: list[tuple[int, bytes]]
    torn: int | None


def read_frames(path: Path) -> Frames:
    """Reads every whole record of a file.

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
        raise UserError(f"{path}: byte 0: not a file of W&B's form")
    bodies: list[tuple[int, bytes]] = []
    offset, start, parts = len(MAGIC), len(MAGIC), list[bytes]()
    while offset < len(data):
        if BLOCK - offset % BLOCK < HEAD.size:
            offset += BLOCK - offset % BLOCK
            continue
        chunk = _chunk(path, data, offset)
        if chunk is None:
            return Frames(bodies, start if parts else offset)
        kind, body = chunk
        if (kind in (MIDDLE, LAST)) is not bool(parts):
            raise UserError(f"{path}: byte {offset}: damaged, a record begins or goes on where it cannot")
        start = start if parts else offset
        parts.append(body)
        offset += HEAD.size + len(body)
        if kind in (FULL, LAST):
            bodies.append((start, b"".join(parts)))
            parts = []
    return Frames(bodies, start if parts else None)


def _chunk(path: Path, data: bytes, offset: int) -> tuple[int, bytes] | None:
    """Reads type and bytes of the chunk at `offset`; None where the file ends within it.

    Raises:
        UserError: it is damaged.
    """
    if offset + HEAD.size > len(data) or not any(data[offset:]):
        return None
    checksum, length, kind = HEAD.unpack_from(data, offset)
    end = offset + HEAD.size + length
    if not FULL <= kind <= LAST or length > BLOCK - HEAD.size - offset % BLOCK:
        raise UserError(f"{path}: byte {offset}: damaged, no record begins there")
    if end > len(data):
        return None
    if zlib.crc32(data[offset + HEAD.size - 1 : end]) != checksum:
        raise UserError(f"{path}: byte {offset}: damaged, its checksum is another")
    return kind, data[offset + HEAD.size : end]
