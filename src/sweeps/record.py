"""What a sweep asked for when it was last started, for whoever wants to know where it stands."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.shell.code import code_version
from src.shell.errors import UserError
from src.shell.files import replacing
from src.sweeps.cell import Cell
from src.sweeps.standing import SWEEPS


def write_sweep(out: Path, name: str, cells: Sequence[Cell]) -> None:
    """Writes `.sweeps/NAME.json`: the cells in order with the words that tell them apart."""
    told = {
        "name": name,
        "started": time.time(),
        "code": code_version(),
        "cells": [{"name": cell.name, "words": cell.words} for cell in cells],
    }
    with replacing(out / SWEEPS / f"{name}.json") as beside:
        beside.write_text(json.dumps(told) + "\n", "utf-8")


def read_sweep(out: Path, name: str) -> dict[str, Any]:
    """What the sweep last asked for: `cells`, each with `name` and `words`.

    Raises:
        UserError: no sweep of that name was started from this folder.
    """
    path = out / SWEEPS / f"{name}.json"
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        known = ", ".join(sorted(each.stem for each in (out / SWEEPS).glob("*.json"))) or "none"
        raise UserError(f"{name}: no sweep of that name was started with out={out}; there are {known}") from None
