"""What our own code may log: numbers, and short names of a fixed form; never text."""

import re
from collections.abc import Mapping
from typing import Any

NAME = re.compile(r"[A-Za-z0-9_.+\-]{1,40}(/[A-Za-z0-9_.+\-]{1,40}){0,3}")
"""Metric names, model names, run names: no blanks, so never a phrase of a note."""


class LeakError(RuntimeError):
    """Something other than a number or a short name was about to be logged."""


def guarded(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, when each is a number, a truth value, null, or a short name.

    Raises:
        LeakError: naming the key, never the value.

    >>> guarded({"train/loss": 0.5, "labels": "two"})
    {'train/loss': 0.5, 'labels': 'two'}
    >>> guarded({"text": "Patient was admitted"})
    Traceback (most recent call last):
    src.tracking.guard.LeakError: text: only numbers and short names may be logged
    """
    for key, value in values.items():
        if not NAME.fullmatch(key):
            raise LeakError("a key that is not a short name may not be logged")
        if isinstance(value, bool | int | float) or value is None:
            continue
        if not (isinstance(value, str) and NAME.fullmatch(value)):
            raise LeakError(f"{key}: only numbers and short names may be logged")
    return dict(values)
