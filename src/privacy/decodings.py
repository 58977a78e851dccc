"""Every text that a string or a file may hold is found here: escapes, base64, hex and compression are undone."""

import base64
import binascii
import bz2
import html
import io
import json
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from urllib.parse import unquote

DEPTH = 5
"""Encodings within encodings that are followed."""

LARGEST = 256 * 2**20
"""Bytes of decompressed text that are read; what is longer is refused by form, as W&B's own files never are."""

BLOCK = 2**16
"""Compressed bytes at a time."""

GZIP, ZIP = b"\x1f\x8b", b"PK\3\4"
PADDING = re.compile(rb"\0+(?=\x1f\x8b)")

BASE64 = re.compile(r"(?:[A-Za-z0-9+/_\-]|\\?\r?\n(?=[A-Za-z0-9+/_\-]{4})){12,}={0,2}")
HEX = re.compile(r"(?:[0-9a-fA-F]{2}[ :]?){8,}")
PRINTABLE = re.compile(rb"[\x20-\x7e\n\r\t]{12,}")
"""Text among other bytes; a random place begins such a run once in 100,000 times."""

ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|.)", re.DOTALL)
WORD = re.compile(r"[^\W_]+")


def decodings(text: str, depth: int = DEPTH) -> Iterator[str]:
    """Yields the text, and every other text that is encoded in it.

    >>> list(decodings('the "note" said'))
    ['the "note" said']
    >>> list(decodings("eyJub3RlIjogInByZXNlbnRlZCB3aXRoIGNoZXN0IHBhaW4ifQ=="))[1:]
    ['{"note": "presented with chest pain"}']
    """
    yield text
    if depth == 0:
        return
    plain = unescaped(text)
    if plain != text:  # escapes part what is encoded, so that is looked for once none is left
        yield from decodings(plain, depth - 1)
        return
    for match in BASE64.finditer(text):
        joined = re.sub(r"[\\\s]", "", match[0])
        for shift in range(4):  # what stands before it may not end where a group of four does
            if (body := _from_base64(joined[shift:])) is not None:
                yield from _within(body, depth - 1)
    for match in HEX.finditer(text):
        yield from _within(bytes.fromhex(re.sub(r"[^0-9a-fA-F]", "", match[0])), depth - 1)


def texts_of(data: bytes, depth: int = DEPTH) -> Iterator[str]:
    """Yields every text of a file: of what it is when decompressed, of its members where it is an archive."""
    parts, rest = _decompressed(data) if depth else ([], data)
    for part in parts:
        yield from texts_of(part, depth - 1)
    if parts and not rest:
        return
    if rest.count(0) > len(rest) // 4:  # as text of two bytes a character
        yield from decodings(rest.decode("utf-16-le", errors="replace"), depth)
    yield from decodings(rest.decode("utf-8", errors="replace"), depth)


def unescaped(text: str) -> str:
    r"""Undoes the escapes of JSON, of Python, of addresses and of HTML.

    >>> unescaped(r'said \"no\"\nthen caf\u00e9 %20 &amp; left')
    'said "no" then café   & left'
    """
    if "\\" in text:
        text = ESCAPE.sub(_escape, text)
    if "%" in text:
        text = unquote(text, errors="replace")
    return html.unescape(text) if "&" in text else text


def _escape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    if code:
        return chr(int(code, 16))
    sign = match[0][1]
    return " " if sign in "nrtbf" else sign


def _from_base64(text: str) -> bytes | None:
    # What stood around it may have lent a character, and 4n + 1 are no base64: the last is dropped.
    body = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(body[: len(body) - (len(body) % 4 == 1)] + "=" * (-len(body) % 4 % 3))
    except (binascii.Error, ValueError):
        return None


def _within(data: bytes, depth: int) -> Iterator[str]:
    """Yields the texts of bytes that were decoded, where they are text at all."""
    parts, rest = _decompressed(data)
    for part in parts:
        yield from texts_of(part, depth)
    if looks_like_text(rest):
        yield from decodings(rest.decode("utf-8"), depth)
    # Text of two bytes a character: every second one is 0.
    elif looks_like_text(narrow := rest.replace(b"\0", b"")) and len(narrow) * 2 <= len(rest) + 1:
        yield from decodings(narrow.decode("utf-8"), depth)
    else:
        for run in PRINTABLE.findall(rest):
            yield from decodings(run.decode("ascii"), depth)


def looks_like_text(data: bytes) -> bool:
    """Says whether random bytes would hardly be this: UTF-8 of at least 8 printable characters."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return len(text) >= 8 and all(sign.isprintable() or sign in "\n\r\t" for sign in text)


def _decompressed(data: bytes) -> tuple[list[bytes], bytes]:
    """Decompresses `data`, stream after stream, an archive member by member, to `LARGEST` bytes in all.

    Returns:
        Parts that may be compressed themselves, and the bytes that no stream holds, to be read as they stand: all of
        `data` where nothing is compressed, and of a stream that is cut off or damaged its own bytes too.
    """
    if data[:4] == ZIP:
        return _unzipped(data)
    parts, start, left = list[bytes](), 0, LARGEST
    while left and _begins_stream(data[start : start + 3]):
        content, end = _inflated(data, start, zlib.MAX_WBITS + 32, left)  # finds out which of gzip and zlib it is
        parts += [content] if content else []
        left -= len(content)
        if end is None:
            return parts, data[start:] if left else b""
        start = padding.end() if (padding := PADDING.match(data, end)) else end
    if parts and data[start : start + 4] == ZIP:
        return [*parts, data[start:]], b""
    return parts, data[start:] if left else b""


def _begins_stream(head: bytes) -> bool:
    # RFC 1950: the two bytes of a zlib header are a multiple of 31.
    return head[:2] == GZIP or (head[:1] == b"\x78" and len(head) > 2 and int.from_bytes(head[:2]) % 31 == 0)


def _inflated(data: bytes, start: int, wbits: int, left: int) -> tuple[bytes, int | None]:
    """Decompresses at most `left` bytes of a stream, and says where it ends; None where it is not seen to end."""
    stream, pieces = zlib.decompressobj(wbits), list[bytes]()
    while start < len(data) and left and not stream.eof:
        block = data[start : start + BLOCK]
        try:
            pieces.append(stream.decompress(block, left))
        except zlib.error:
            break
        left -= len(pieces[-1])
        start += len(block) - len(stream.unused_data)
    return b"".join(pieces), start if stream.eof else None


def _unzipped(data: bytes) -> tuple[list[bytes], bytes]:
    """Decompresses the members of an archive; names, comments and what lies between and behind are parts too."""
    end = data.rfind(b"PK\5\6") + 22  # of the directory; what follows is a comment, or anything
    try:
        with zipfile.ZipFile(io.BytesIO(data[:end])) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return [], data
    parts, position, left = list[bytes](), 0, LARGEST
    for member in members:
        head = member.header_offset
        start = head + 30 + sum(struct.unpack("<HH", data[head + 26 : head + 30].ljust(4, b"\0")))
        packed = data[start : start + member.compress_size]
        content = _member(packed, member.compress_type, left) if left else b""
        parts += [data[position:head], data[max(position, head + 30) : start], content]
        left -= len(content)
        position = max(position, start + len(packed))
    return [part for part in [*parts, data[position:end], data[end:]] if part], b""


def _member(packed: bytes, method: int, left: int) -> bytes:
    """Decompresses at most `left` bytes of an archive's member, whose checksum does not matter here."""
    try:
        if method == zipfile.ZIP_DEFLATED:
            return _inflated(packed, 0, -zlib.MAX_WBITS, left)[0] or packed[:left]
        if method == zipfile.ZIP_BZIP2:
            return bz2.BZ2Decompressor().decompress(packed, left)
        if method == zipfile.ZIP_LZMA:  # as a file of .lzma of unknown length, whose head is laid out otherwise
            file = packed[4:9] + b"\xff" * 8 + packed[9:]
            return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=LARGEST).decompress(file, left)
    except (OSError, EOFError, lzma.LZMAError):
        pass
    return packed[:left]


def json_leaves(text: str, depth: int = DEPTH) -> Iterator[tuple[str, object]]:
    """Yields keys and values of a JSON text, and of the JSON in its strings: (`key` or `value`, what stands there).

    A text that is no JSON is its own only value.

    >>> list(json_leaves('{"a": [1, "[true]"]}'))
    [('key', 'a'), ('value', 1), ('value', True)]
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        yield "value", text
        return
    yield from _leaves(content, depth)


def _leaves(node: object, depth: int) -> Iterator[tuple[str, object]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield "key", key
            yield from _leaves(value, depth)
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(value, depth)
    elif isinstance(node, str) and depth and node.lstrip()[:1] in ("{", "[", '"'):
        yield from json_leaves(node, depth - 1)
    else:
        yield "value", node
