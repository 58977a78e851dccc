"""Keeps what a sweep asked for when it was last started, for whoever wants to know where it stands."""

import time
from collections.abc import Sequence
from pathlib import Path

from src.cli.json_files import write_json
from src.runs.find import SWEEP
from src.runs.job import Job
from src.runs.provenance import code_version
from src.runs.status import SWEEPS


def write_sweep(out: Path, name: str, jobs: Sequence[Job]) -> None:
    """Writes `.sweeps/NAME.json`: the cells in order with the words that tell them apart."""
    content = {
        "name": name,
        "started": time.time(),
        "code": code_version(),
        "cells": [{"name": job.name, "words": job.words} for job in jobs],
    }
    write_json(out / SWEEPS / f"{name}.json", content, SWEEP)
