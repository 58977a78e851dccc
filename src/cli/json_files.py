"""Reads every JSON file of ours in one way: what a reader needs is checked, what is damaged is set aside."""

import json
import math
import os
import sys
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.files import atomic_write, may_write

Schema = Mapping[str, Any]
"""What a reader needs, by key, `key?` where it may be absent: a type, a union, `list[T]`, `dict[str, T]`, a schema,
or a list of one schema."""

LARGEST = 2**63
"""No count of ours reaches this; a larger number is damage, and no float."""


REMADE = "remove the run's result.json, and the command that trained it makes it again"
"""What to do where something else of a finished run is damaged."""


class Damaged(UserError):
    """Says that a file of ours cannot be what we wrote."""

    def __init__(self, path: Path, reason: str, instead: str = "") -> None:
        super().__init__(f"{path}: damaged ({reason})" + (f"; {instead}" if instead else ""))
        self.path, self.reason = path, reason


def read_json(path: Path, schema: Schema, instead: str = "") -> dict[str, Any]:
    """Reads a JSON file of ours, and checks that it holds what its reader needs.

    Args:
        path: the file.
        schema: what its reader needs; other keys are kept as they are.
        instead: what to do where it is damaged.

    Raises:
        FileNotFoundError: there is none.
        Damaged: it is torn, no JSON, or lacks what the reader needs; or a folder is in its place.
        UserError: it is there and cannot be read.
    """
    try:
        return parse_json(path.read_bytes(), schema)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise Damaged(path, "a folder is in its place", instead) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise Damaged(path, str(error), instead) from None


def parse_json(content: bytes | str, schema: Schema) -> dict[str, Any]:
    """Reads a JSON text, and checks that it holds what its reader needs.

    >>> parse_json('{"step": 3, "loss": 0.5}', {"step": int})
    {'step': 3, 'loss': 0.5}
    >>> parse_json('{"step": null}', {"step": int})
    Traceback (most recent call last):
    ValueError: step is not of the kind int

    Raises:
        ValueError: naming what is wrong, never a value.
    """
    try:
        content = content.decode("utf-8") if isinstance(content, bytes) else content
        parsed = json.loads(content)
        if not isinstance(parsed, dict):
            raise ValueError("no object of JSON")
        problem = _problem(parsed, schema)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON at byte {error.pos}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if problem:
        raise ValueError(problem)
    return parsed


def write_json(path: Path, content: Mapping[str, Any], schema: Schema | None = None, indent: int | None = None) -> None:
    """Writes a file of ours whole or not at all; what is there and damaged is set aside first."""
    try:
        read_json(path, schema or {})
    except Damaged as error:
        set_aside(path, error.reason)
    except (FileNotFoundError, UserError):
        pass
    with atomic_write(path) as tmp:
        tmp.write_text(json.dumps(content, indent=indent) + "\n", "utf-8")


def is_finite(value: Any) -> bool:
    """Says whether a value is a number that a file of ours can hold.

    >>> [is_finite(value) for value in (1, 0.5, True, "1", None, float("nan"), 10**400)]
    [True, True, False, False, False, False, False]
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < LARGEST and math.isfinite(value)


@cache
def tell_once(line: str) -> None:
    """Prints on standard error what a reader leaves out, however often it reads."""
    print(line, file=sys.stderr, flush=True)


def set_aside(path: Path, reason: str) -> Path:
    """Renames what is damaged to `NAME.damaged`, or `NAME.damaged-2` and so on, and says so; nothing is deleted."""
    names = (f"{path.name}.damaged{f'-{count}' if count > 1 else ''}" for count in range(1, sys.maxsize))
    aside = next(free for name in names if not os.path.lexists(free := path.with_name(name)))
    may_write(path)
    os.rename(path, aside)
    print(f"{path}: damaged ({reason}); set aside as {aside.name}", file=sys.stderr, flush=True)
    return aside


def _problem(parsed: Mapping[str, Any], schema: Schema, prefix: str = "") -> str:
    for key, kind in schema.items():
        name = key.removesuffix("?")
        if name not in parsed:
            if name == key:
                return f"no {prefix}{name}"
        elif isinstance(kind, Mapping) and isinstance(parsed[name], dict):
            if problem := _problem(parsed[name], kind, f"{prefix}{name}."):
                return problem
        elif not _fits(parsed[name], kind):
            return (
                f"{prefix}{name} is {'no object' if isinstance(kind, Mapping) else f'not of the kind {_named(kind)}'}"
            )
    return ""


def _named(kind: Any) -> str:
    return "list of objects" if isinstance(kind, list) else kind.__name__ if isinstance(kind, type) else str(kind)


def _fits(value: Any, kind: Any) -> bool:
    members = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return any(_fits(value, member) for member in members)
    if isinstance(kind, list):
        return isinstance(value, list) and all(isinstance(item, dict) and not _problem(item, kind[0]) for item in value)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return isinstance(value, str) and value in set(kind)
    if members and isinstance(value, list):
        return typing.get_origin(kind) is list and all(_fits(item, members[0]) for item in value)
    if members and isinstance(value, dict):
        return typing.get_origin(kind) is dict and all(_fits(item, members[1]) for item in value.values())
    if kind in (int, float):
        return is_finite(value) and (kind is float or isinstance(value, int))
    return not members and not isinstance(kind, Mapping) and isinstance(value, kind)
