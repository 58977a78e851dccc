"""Reads what is known of conditions before discharge: exams, vital signs, services, medicines at home."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def early_knowledge() -> dict[str, Any]:
    """Reads `data/early.yaml`, whose comments say what it holds."""
    text = files("src.synthetic").joinpath("data/early.yaml").read_text("utf-8")
    return dict(yaml.load(text, Loader=yaml.CSafeLoader))


@cache
def by_code(table: str, code: str) -> Any:
    """Looks a code up by the longest of its beginnings that the table has; None where it has none.

    >>> by_code("regions", "I2699"), by_code("regions", "I63512"), by_code("signs", "Z5111")
    ('chest', 'head', None)
    """
    rows = early_knowledge()[table]
    return next((rows[code[:length]] for length in range(len(code), -1, -1) if code[:length] in rows), None)
