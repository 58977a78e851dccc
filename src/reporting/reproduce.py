"""Writes how the runs of a report were made, as commands."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import prod
from typing import Any

from src.display.catalog import AXES, SIZE, axis_of
from src.runs.finished import Run
from src.runs.state import read_state

PLACE = "data.dir=COHORT"


@dataclass(frozen=True)
class Command:
    """Holds one command and what it makes."""

    words: str
    makes: str


def training_commands(runs: Sequence[Run]) -> list[Command]:
    """Writes the commands that train the runs: a multirun where they are a grid or most of one, else one a run.

    Bases with adapters make one grid, each baseline its own.
    """
    kinds: dict[str, list[Run]] = {}
    for run in runs:
        kinds.setdefault("" if run.axes.get("params") else str(run.axes["model"]), []).append(run)
    return [command for _, mine in sorted(kinds.items()) for command in _of(mine)]


def _of(runs: Sequence[Run]) -> list[Command]:
    adapters = any(run.axes.get("params") for run in runs)
    named = [axis.key for axis in AXES if axis.typed and axis.key != SIZE and (adapters or not axis.adapters_only)]
    columns = {axis: _values(axis, runs) for axis in named if any(axis in run.axes for run in runs)}
    limits = {run.record.config.get("data", {}).get("limit") for run in runs}
    limit = limits.pop() if len(limits) == 1 else None
    whole = prod(map(len, columns.values()))
    # One multirun trains the holes of the grid too: as many as the runs are bearable, more are not.
    if whole <= 2 * len(runs):
        makes = (
            runs[0].name
            if whole == 1
            else f"{len(runs)} runs"
            if whole == len(runs)
            else f"{len(runs)} of {whole} runs"
        )
        return [_command(columns, limit, makes)]
    models: dict[str, list[Run]] = {}
    for run in runs:
        models.setdefault(str(run.axes["model"]), []).append(run)
    if len(models) > 1:
        return [command for mine in models.values() for command in _of(mine)]
    return [_command({axis: [_value(axis, run)] for axis in columns}, limit, run.name) for run in runs]


def _value(axis: str, run: Run) -> Any:
    """Reads what a run has on an axis; a record leaves out a later axis at its default."""
    return run.axes.get(axis, axis_of(axis).default)


def _values(axis: str, runs: Sequence[Run]) -> list[Any]:
    # By their JSON, as a list has no hash.
    values = {json.dumps(value): value for value in (_value(axis, run) for run in runs)}
    if axis == "model":
        sizes = {run.axes["model"]: run.axes.get("params", 0) for run in runs}
        return sorted(values.values(), key=lambda name: (sizes[name], name))
    return sorted(values.values(), key=lambda value: (str(type(value)), value))


def _command(columns: Mapping[str, Sequence[Any]], limit: Any, makes: str) -> Command:
    many = any(len(values) > 1 for values in columns.values())
    words = [
        f"{axis_of(axis).typed}={','.join(axis_of(axis).typed_value(value) for value in values)}"
        for axis, values in columns.items()
    ]
    words += ["model.path=FOLDER"] if "local" in columns["model"] else []
    words += [PLACE] + ([f"data.limit={limit}"] if limit is not None else [])
    return Command(f"python -m src.train {'-m ' if many else ''}{' '.join(words)}", makes)


def dates_of(runs: Sequence[Run]) -> str:
    """Names the days on which the runs were made (UTC), as far as their folders tell; empty where none does.

    A run's own state is asked, not the dates of its files, which a copy changes.
    """
    states = [read_state(run.folder) for run in runs if run.folder]
    seconds = [second for state in states if state for second in (state.started, state.told) if second]
    days = sorted({datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d") for second in seconds})
    if not days:
        return ""
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def codes_of(runs: Sequence[Run]) -> list[str]:
    """Names the versions of the code that made the runs: its commit, and the hash of its sources."""
    records = {json.dumps(run.record.code, sort_keys=True) for run in runs}
    codes = []
    for text in sorted(records):
        code = json.loads(text)
        if code:
            codes.append(" ".join(f"{name} {value}" for name, value in sorted(code.items()) if value))
    return codes
