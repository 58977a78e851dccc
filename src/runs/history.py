"""A run's history, `history.jsonl`, keeps what it logged at each step, with W&B and without."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.cli.files import appending, private_folder
from src.cli.json_files import is_finite, parse_json, set_aside
from src.runs.folder import RunFolder

STEP = "step"

Curves = dict[str, dict[int, float]]
"""The values of each metric by step."""


class History:
    """Appends to a run's history; a line is on its way to the disk when `add` returns."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds what was logged at an optimiser step; values that are not finite are left out."""
        numbers = {key: value for key, value in values.items() if is_finite(value)}
        path = RunFolder(private_folder(self.run_dir)).history
        if path.is_dir():
            set_aside(path, "a folder is in its place")
        with appending(path) as file:
            torn = file.tell() and not _ends_line(path)  # by a process that was killed
            file.write((b"\n" if torn else b"") + json.dumps({STEP: step, **numbers}).encode() + b"\n")


def read_history(run_dir: Path) -> Curves:
    """Reads every curve of a run; empty where no history was kept.

    A run that went on after a kill repeats the steps since its last checkpoint: of those the last counts. A line that
    a kill has torn is left out, and so is a value that is no number.
    """
    curves: Curves = {}
    try:
        lines = RunFolder(run_dir).history.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return curves
    for line in lines:
        try:
            row = parse_json(line, {STEP: int})
        except ValueError:
            continue
        step = row.pop(STEP)
        for key, value in row.items():
            if is_finite(value):
                curves.setdefault(key, {})[step] = value
    return {key: dict(sorted(values.items())) for key, values in curves.items()}


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
