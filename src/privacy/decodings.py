"""Every text that a string or a file may hold is found here: escapes, base64, hex and compression are undone."""

import base64
import binascii
import gzip
import html
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from urllib.parse import unquote

DEPTH = 5
"""Encodings within encodings that are followed."""

LARGEST = 256 * 2**20
"""Bytes of decompressed text that are read; what is longer is refused by form, as W&B's own files never are."""

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
    opened = _decompressed(data) if depth else None
    if opened is not None:
        for part in opened:
            yield from texts_of(part, depth - 1)
        return
    if data.count(0) > len(data) // 4:  # as text of two bytes a character
        yield from decodings(data.decode("utf-16-le", errors="replace"), depth)
    yield from decodings(data.decode("utf-8", errors="replace"), depth)


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
    opened = _decompressed(data)
    if opened is not None:
        for part in opened:
            yield from texts_of(part, depth)
    elif looks_like_text(data):
        yield from decodings(data.decode("utf-8"), depth)
    # Text of two bytes a character: every second one is 0.
    elif looks_like_text(narrow := data.replace(b"\0", b"")) and len(narrow) * 2 <= len(data) + 1:
        yield from decodings(narrow.decode("utf-8"), depth)
    else:
        for run in PRINTABLE.findall(data):
            yield from decodings(run.decode("ascii"), depth)


def looks_like_text(data: bytes) -> bool:
    """Says whether random bytes would hardly be this: UTF-8 of at least 8 printable characters."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return len(text) >= 8 and all(sign.isprintable() or sign in "\n\r\t" for sign in text)


def _decompressed(data: bytes) -> list[bytes] | None:
    """Decompresses `data`, an archive member by member; None where nothing is compressed."""
    try:
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                return [file.read(LARGEST)]
        if data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return [archive.read(name) for name in archive.namelist()]
        # RFC 1950: the two bytes of a zlib header are a multiple of 31.
        if data[:1] == b"\x78" and len(data) > 2 and int.from_bytes(data[:2]) % 31 == 0:
            return [zlib.decompressobj().decompress(data, LARGEST)]
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return None
    return None


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
