"""Files and folders that are whole or absent: written beside their place, then renamed."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from src.shell.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` that takes its place on success and is removed on failure."""
    beside = _beside(path)
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path` that takes its place on success and is removed on failure.

    Raises:
        UserError: `path` is a folder that holds something.
    """
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{path}: the folder is not empty; name another, or remove it first")
    beside = _beside(path)
    beside.mkdir()
    try:
        yield beside
        if path.is_dir():
            path.rmdir()
        os.replace(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def exchanging_folder(path: Path, ours: Callable[[Path], bool], instead: str) -> Iterator[Path]:
    """Yields an empty folder beside `path` that takes its place on success, also of an earlier one of the same kind.

    Args:
        path: the folder.
        ours: whether a folder that is there may be replaced.
        instead: what to do where it may not.

    Raises:
        UserError: `path` is a file, or holds something that is not ours.
    """
    if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or ours(path))):
        raise UserError(f"{path}: is there and holds something else; {instead}")
    beside, old = _beside(path), _beside(path)
    beside.mkdir()
    try:
        yield beside
        if path.exists():
            os.replace(path, old)
        os.replace(beside, path)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
