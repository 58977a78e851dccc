"""Reads the words `key=value` of a benchmark."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from src.cli.errors import UserError


def read_settings(words: Sequence[str], defaults: dict[str, Any]) -> dict[str, Any]:
    """Reads the words `key=value` of a command over their defaults, each as the kind of value that its default is.

    >>> read_settings(["rounds=3", "wide=true"], {"rounds": 8, "wide": False, "out": ""})
    {'rounds': 3, 'wide': True, 'out': ''}

    Raises:
        UserError: a word is none of them, or its value is of another kind.
    """
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if odd := [word for word in words if word.split("=")[0] not in defaults or "=" not in word]:
        raise UserError(
            f"{odd[0]}: not known here; there are {', '.join(f'{key}={defaults[key]}' for key in defaults)}"
        )
    return {**defaults, **{key: _value(key, text, defaults[key]) for key, text in given.items()}}


def own_settings(words: Sequence[str], defaults: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Reads a benchmark's own words over their defaults, and returns the others, which are for what it starts.

    Raises:
        UserError: a value is of another kind than its default.
    """
    own = [word for word in words if word.partition("=")[0] in defaults]
    return read_settings(own, defaults), [word for word in words if word not in own]


def _value(key: str, text: str, default: Any) -> Any:
    kind = type(default)
    wanted = {int: "a whole number of at least 0", float: "a number of at least 0", bool: "true or false"}
    try:
        if kind is bool:
            return {"true": True, "false": False}[text]
        value = kind(text)
        if kind in (int, float) and not 0 <= value < float("inf"):
            raise ValueError
    except (ValueError, KeyError):
        choices = f"one of {', '.join(type(default))}" if isinstance(default, StrEnum) else wanted[kind]
        raise UserError(f"{key}={text}: must be {choices}, as {key}={default}") from None
    return value
