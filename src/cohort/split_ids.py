"""Hides the ids of a published split by a key, so that nobody without it can tell whose they are."""

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

import polars as pl

from src.cli.errors import UserError

KEY = "split.key"
"""The file of the key, beside `split.csv`. It stays where the notes are."""

KEYED, PLAIN = re.compile(r"[np][0-9a-f]{32}"), re.compile(r"[np][0-9a-f]{16}")
"""Ids of today, and of files from before ids were keyed: a hash of a number of few digits, which is found by trying."""


def new_key() -> bytes:
    """Draws a random key of 256 bits."""
    return secrets.token_bytes(32)


def write_key(path: Path, key: bytes) -> None:
    """Writes a key that nobody but its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key.hex() + "\n")


def read_key(path: Path) -> bytes:
    """Reads the key in a file.

    Raises:
        UserError: the file cannot be read, or holds no key.
    """
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        key = b""
    if len(key) != 32:
        raise UserError(f"{path}: holds no key of a split, which is 64 hex digits; copy the file {KEY} again")
    return key


def ids_of(rows: pl.DataFrame, column: str, key: bytes | None) -> pl.Series:
    """Hashes the ids of patients, or of notes with their DRG, since the paper has some notes twice.

    Args:
        rows: notes with `subject_id`, or with `note_id` and `drg`.
        column: `subject_id` or `note_id`.
        key: the cohort's; None for ids as they were before they were keyed.
    """
    kind = "n" if column == "note_id" else "p"
    named = rows["note_id"] + ":" + rows["drg"] if kind == "n" else rows["subject_id"].cast(pl.String)
    distinct = named.unique()
    names = [f"{kind}:{name}".encode() for name in distinct]
    if key is None:
        hashes = [hashlib.sha256(name).hexdigest()[:16] for name in names]
    else:
        hashes = [hmac.digest(key, name, "sha256").hex()[:32] for name in names]
    ids = pl.Series([kind + digits for digits in hashes], dtype=pl.String)
    return named.replace_strict(distinct, ids, default=None, return_dtype=pl.String)


def key_of(path: Path, ids: pl.Series, key_path: Path | None) -> bytes | None:
    """Reads the key of a split file's ids; None where they have none.

    Args:
        path: the split file.
        ids: its ids.
        key_path: the key's file; None for the one beside `path`.

    Raises:
        UserError: an id is of no known form, or the key is missing.
    """
    form = next((form for form in (KEYED, PLAIN) if ids.str.contains(f"^{form.pattern}$").all()), None)
    if form is None or ids.str.head(1).n_unique() > 1:
        raise UserError(f"{path}: its ids are not those of a split file; take the split.csv that prepare wrote")
    if form is PLAIN:
        return None
    where = key_path or path.with_name(KEY)
    if not where.is_file():
        raise UserError(
            f"{path}: its ids are keyed, and there is no {where}; get the key from who made the split and write "
            "split_key=FILE, or make the same split by its protocol and split_seed"
        )
    return read_key(where)
