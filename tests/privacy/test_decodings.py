import base64
import gzip
import io
import zipfile
import zlib

import pytest

from src.privacy import decodings
from src.privacy.decodings import texts_of

SENTENCE = "mrs featherstone was admitted with dyspnea"
PLAIN = SENTENCE.encode()


def archive(text: bytes = PLAIN, method: int = zipfile.ZIP_DEFLATED, name: str = "t.json", note: bytes = b"") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as file:
        file.writestr(name, text)
        file.comment = note
    return content.getvalue()


STREAMS = {
    "zlib, and what follows it": zlib.compress(b"{}") + PLAIN,
    "zlib, and zlib that follows it": zlib.compress(b"{}") + zlib.compress(PLAIN),
    "gzip, and what follows it": gzip.compress(b"{}") + PLAIN,
    "gzip with bytes after its end": gzip.compress(PLAIN) + b"\1\2\3",
    "gzip of two members": gzip.compress(b"{}") + gzip.compress(PLAIN),
    "gzip of nine members": gzip.compress(b"{}") * 8 + gzip.compress(PLAIN),
    "gzip of two members with padding": gzip.compress(b"{}") + bytes(512) + gzip.compress(PLAIN),
    "gzip, and an archive that follows it": gzip.compress(b"{}") + archive(),
    "gzip that is cut off": gzip.compress(PLAIN + bytes(range(256)) * 8)[:-30],
    "text that looks like zlib": b"x\x01 " + PLAIN,
    "zip": archive(),
    "zip, stored": archive(method=zipfile.ZIP_STORED),
    "zip with a wrong checksum": archive(PLAIN.upper(), zipfile.ZIP_STORED).replace(PLAIN.upper(), PLAIN),
    "zip by bzip2": archive(method=zipfile.ZIP_BZIP2),
    "zip by lzma": archive(method=zipfile.ZIP_LZMA),
    "the name of a zip's member": archive(b"{}", name=SENTENCE),
    "the comment of a zip": archive(b"{}", note=PLAIN),
    "what follows a zip": archive(b"{}") + bytes(70_000) + PLAIN,
    "a zip, and much that follows it": archive() + bytes(70_000),
    "a zip, and another that follows it": archive() + archive(b"{}"),
    "a zip, a stream, and another zip": archive(b"{}") + gzip.compress(PLAIN) + archive(b"{}"),
}


@pytest.mark.parametrize("form", STREAMS)
def test_a_sentence_is_read_wherever_a_file_holds_it(form: str) -> None:
    assert any(SENTENCE in text for text in texts_of(STREAMS[form]))
    encoded = base64.b64encode(STREAMS[form]).decode()
    assert any(SENTENCE in text for text in decodings.decodings(f"value {encoded}"))


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, "gzip", "zlib"]
)
def test_of_what_is_compressed_no_more_is_read_than_the_bound(
    method: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decodings, "LARGEST", 2**24)
    content, zeros = io.BytesIO(), bytes(2**23)
    if isinstance(method, int):
        with zipfile.ZipFile(content, "w", method) as file:
            for name in "abcd":
                file.writestr(name, zeros)
        packed = content.getvalue()
    else:
        packed = b"".join([gzip.compress(zeros) if method == "gzip" else zlib.compress(zeros)] * 4)
    parts, _ = decodings._decompressed(packed)
    assert sum(len(part) for part in parts if not any(part)) == 2**24
