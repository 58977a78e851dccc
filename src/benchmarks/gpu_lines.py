"""Writes results of `python -m src.benchmarks.gpu` as they come: one JSON object a line, whatever comes next."""

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from src.cli.errors import UserError

Row = dict[str, Any]
Measure = Callable[[], Row]


class LeftOut(Exception):
    """Says that a part cannot run here, for a reason that is no fault."""


@dataclass(frozen=True)
class Unit:
    """Holds one measurement.

    Attributes:
        settings: what it is of; `part` is its part.
        measure: gives its results.
    """

    settings: Row
    measure: Measure


class Lines:
    """Writes results to standard output and to a file.

    Attributes:
        failed: how many units gave an error.
    """

    def __init__(self, path: Path | None) -> None:
        self.failed = 0
        self._streams: list[TextIO] = [sys.stdout]
        if path is not None:
            try:
                self._streams.append(path.open("w", encoding="utf-8"))
            except OSError as error:
                raise UserError(f"out={path}: {error.strerror}") from error

    def attempt(self, unit: Unit) -> Row:
        """Writes and returns the unit's settings and results; `error` and `reason` where it raised an error.

        A result that is not finite is an error too.
        """
        try:
            row = {**unit.settings, **rounded(unit.measure())}
            json.dumps(row, allow_nan=False)
        except LeftOut as reason:
            row = {**unit.settings, "left_out": str(reason)}
        except Exception as error:  # whatever it is, the next unit can do without it
            traceback.print_exc()
            row = {**unit.settings, "error": type(error).__name__, "reason": str(error).strip().partition("\n")[0]}
        self.write(row)
        return row

    def write(self, row: Row) -> None:
        """Writes a line at once."""
        self.failed += "error" in row
        for stream in self._streams:
            print(json.dumps(row), file=stream, flush=True)

    def close(self) -> None:
        """Closes the file."""
        for stream in self._streams[1:]:
            stream.close()


def differs(difference: float, most: float, quantity: str) -> Row:
    """Judges the difference of two computations, with an error where it is above `most`.

    >>> differs(1e-6, 1e-4, "losses")
    {'difference': 1e-06}
    >>> differs(float("nan"), 1e-4, "losses")
    {'difference': None, 'error': 'Differs', 'reason': 'losses differ by nan, at most 1e-04 is let pass'}
    """
    row: Row = {"difference": difference if difference < float("inf") else None}
    if not difference <= most:
        row |= {"error": "Differs", "reason": f"{quantity} differ by {difference:.1e}, at most {most:.0e} is let pass"}
    return row


def rounded(value: Any) -> Any:
    """Rounds every float in a result to four significant digits.

    >>> rounded({"seconds": 1.23456, "rows": [{"share": 0.000123456}], "steps": 12})
    {'seconds': 1.235, 'rows': [{'share': 0.0001235}], 'steps': 12}
    """
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
