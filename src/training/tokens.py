"""Makes the tokens of a cohort's notes once for each tokenizer; every run shares them through a memory map."""

import hashlib
import json
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from src.cli.errors import UserError
from src.cli.files import atomic_folder, private_folder
from src.cli.json_files import read_json, set_aside
from src.cli.progress import track
from src.cohort.prepared import NOTES, Cohort

FORMAT = 1
"""Goes up with every change of what the files hold, so that no older ones are read."""

NOTES_AT_ONCE = 512
"""Notes in memory while tokens are made."""

IDS, OFFSETS, RECORD = "ids.npy", "offsets.npy", "tokens.json"


@dataclass(frozen=True)
class NoteTokens:
    """Token ids of every note, untruncated and without the tokenizer's own tokens, by row of `notes.parquet`.

    Attributes:
        ids: all notes one after the other, uint16 or uint32, in the file.
        offsets: [notes + 1] where each note starts, int64, in the file.
    """

    ids: NDArray[Any]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def head(self, row: int, count: int) -> list[int]:
        """Returns the first `count` tokens of a note at most."""
        start, end = int(self.offsets[row]), int(self.offsets[row + 1])
        ids: list[int] = self.ids[start : min(end, start + count)].tolist()
        return ids

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of some notes."""
        return np.asarray(self.offsets[rows + 1] - self.offsets[rows])


def open_tokens(cohort: Cohort, tokenizer: Any) -> NoteTokens:
    """Returns the tokens of a cohort, made first if no run has made them before.

    They lie in the cohort's folder; where that cannot be written, in the user's cache.

    Raises:
        UserError: there is no place to write them.
    """
    made_from = _made_from(cohort, tokenizer)
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    private_folder(cohort.folder, whole=True)
    folders = [home / key for home in (cohort.folder / "tokens", user_cache() / "tokens")]
    for folder in folders:
        if (tokens := _read(folder)) is not None:
            return tokens
    refused = []
    for folder in folders:
        try:
            return _make_once(folder, cohort, tokenizer, made_from)
        except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
            refused.append(f"{folder.parent}: {error.__class__.__name__}")
    raise UserError(f"no place for the cohort's tokens ({'; '.join(refused)}); set XDG_CACHE_HOME to one with room")


def user_cache() -> Path:
    """Returns the folder for what can be made again: `XDG_CACHE_HOME`, or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drg-llama"


def tokenizer_hash(tokenizer: Any) -> str:
    """Hashes what a tokenizer does, whatever its name and whatever it cut or padded last."""
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        content = json.loads(backend.to_str())
        whole = json.dumps({**content, "truncation": None, "padding": None}, sort_keys=True).encode()
    else:
        with tempfile.TemporaryDirectory() as folder:
            files = sorted(Path(name) for name in tokenizer.save_vocabulary(folder) if name)
            whole = b"".join(path.read_bytes() for path in files)
        whole += json.dumps([type(tokenizer).__name__, sorted(tokenizer.get_added_vocab().items())]).encode()
    return hashlib.sha256(whole).hexdigest()[:16]


def _made_from(cohort: Cohort, tokenizer: Any) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "cohort": cohort.fingerprint,
        "notes_bytes": (cohort.folder / NOTES).stat().st_size,
        "tokenizer": tokenizer_hash(tokenizer),
    }


def _read(folder: Path) -> NoteTokens | None:
    """Reads what a folder holds, or None unless it is whole."""
    try:
        record = read_json(folder / RECORD, {"crc32": list[int]})
        ids, offsets = (np.load(folder / name, mmap_mode="r") for name in (IDS, OFFSETS))
        whole = record["crc32"] == [zlib.crc32(ids), zlib.crc32(offsets)]
    except (OSError, ValueError, TypeError, EOFError, OverflowError, MemoryError):
        return None
    return NoteTokens(ids, offsets) if whole else None


def _make_once(folder: Path, cohort: Cohort, tokenizer: Any, made_from: dict[str, Any]) -> NoteTokens:
    """Makes the tokens, or waits for the run that is making them."""
    if folder.is_relative_to(user_cache()):
        private_folder(user_cache(), whole=True)
    private_folder(folder.parent)
    with _alone(folder.with_name(f"{folder.name}.lock")):
        if (tokens := _read(folder)) is not None:
            return tokens
        if os.path.lexists(folder):
            set_aside(folder, "its checksums differ, or a file is missing")
        with atomic_folder(folder) as tmp:
            _write(tmp, cohort, tokenizer, made_from)
        tokens = _read(folder)
    if tokens is None:
        raise UserError(f"{folder}: what was just written there reads back differently; is the disk sound?")
    return tokens


def _alone(path: Path) -> FileLock:
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print("tokens: another run is making them, waiting", file=sys.stderr, flush=True)
        lock.acquire()
    return lock


def _write(folder: Path, cohort: Cohort, tokenizer: Any, made_from: dict[str, Any]) -> None:
    largest = max(tokenizer.get_vocab().values())
    kind = np.dtype(np.uint16 if largest < 2**16 else np.uint32)
    total = pl.scan_parquet(cohort.folder / NOTES).select(pl.len()).collect().item()
    offsets, crc = np.zeros(total + 1, dtype=np.int64), 0
    with (folder / IDS).open("wb") as file:
        _header(file, kind, 0)
        notes = track(_tokenised(cohort, tokenizer), total=total, what="tokens", unit="note")
        for row, note in enumerate(notes):
            written = np.asarray(note, dtype=kind).tobytes()
            file.write(written)
            crc = zlib.crc32(written, crc)
            offsets[row + 1] = offsets[row] + len(note)
        file.seek(0)
        _header(file, kind, int(offsets[-1]))
    np.save(folder / OFFSETS, offsets)
    record = {**made_from, "notes": total, "tokens": int(offsets[-1]), "crc32": [crc, zlib.crc32(offsets.data)]}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def _header(file: Any, kind: np.dtype[Any], count: int) -> None:
    # NumPy pads the header so that a later, larger count fits in its place.
    fields = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, fields)


def _tokenised(cohort: Cohort, tokenizer: Any) -> Iterator[Sequence[int]]:
    texts = pl.scan_parquet(cohort.folder / NOTES).select("text")
    for some in texts.collect_batches(chunk_size=NOTES_AT_ONCE, maintain_order=True):
        if some.height:
            options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
            yield from tokenizer(some["text"].to_list(), **options)["input_ids"]
