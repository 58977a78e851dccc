"""Files of W&B's form are written here, so that tests can plant records in them."""

import zlib
from collections.abc import Iterable

from src.privacy.wandb_frames import BLOCK, FIRST, FULL, HEAD, LAST, MAGIC, MIDDLE


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
