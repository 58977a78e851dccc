"""What a sweep asked for when it was last started, for whoever wants to know where it stands."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.json_files import Schema, read_json, write_json
from src.runs.job import Job
from src.runs.provenance import code_version
from src.runs.status import SWEEPS

SCHEMA: Schema = {"cells": [{"name": str, "words": list[str]}]}


def write_sweep(out: Path, name: str, jobs: Sequence[Job]) -> None:
    """Writes `.sweeps/NAME.json`: the cells in order with the words that tell them apart."""
    told = {
        "name": name,
        "started": time.time(),
        "code": code_version(),
        "cells": [{"name": job.name, "words": job.words} for job in jobs],
    }
    write_json(out / SWEEPS / f"{name}.json", told, SCHEMA)


def read_sweep(out: Path, name: str) -> dict[str, Any]:
    """What the sweep last asked for: `cells`, each with `name` and `words`.

    Raises:
        UserError: no sweep of that name was started from this folder, or what it asked for is damaged.
    """
    path = out / SWEEPS / f"{name}.json"
    try:
        return read_json(path, SCHEMA, "start the sweep again")
    except FileNotFoundError:
        known = ", ".join(sorted(each.stem for each in (out / SWEEPS).glob("*.json"))) or "none"
        raise UserError(f"{name}: no sweep of that name was started with out={out}; there are {known}") from None
