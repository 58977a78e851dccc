"""Runs gathered into cells: those that share all axes but the seed, on one cohort."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from src.config.prepare import NamedHorizon
from src.display.catalog import AXES, COORDINATES, HORIZON, MODEL, is_loss
from src.runs.finished import Run
from src.scaling_analysis.combined_interval import combined_interval, patient_error, seed_error
from src.scaling_analysis.result import Cell, DatasetKey, Measured

MAIN = tuple(axis.key for axis in COORDINATES)
"""The axes that the field asks about; others may only follow one of them."""

VALIDATION_LOSS, TRAINING_LOSS = "val/loss", "train/loss"


@dataclass(frozen=True, eq=False)
class Grid:
    """Holds the cells of some runs with the runs themselves."""

    grounds: tuple[DatasetKey, ...]
    cells: tuple[Cell, ...]
    members: tuple[tuple[Run, ...], ...]
    """The runs of each cell, in the order of their seeds."""
    free: tuple[str, ...]
    """The axes that vary within a ground and do not follow from one of `MAIN`; `params` stands for the model too."""
    tied: Mapping[str, tuple[str, ...]]
    """Axes that change with a main one, as a learning rate with the size."""
    notes: tuple[str, ...]

    def coordinates(self, index: int) -> dict[str, Any]:
        """Names a cell's place in the grid: its value on each free axis; the size as (parameters, model)."""
        axes = self.cells[index].axes
        return {axis: (axes["params"], axes["model"]) if axis == "params" else axes.get(axis) for axis in self.free}

    def slices(self, along: Sequence[str]) -> list[list[int]]:
        """Groups LLaMAs' cells that differ along some axes only, as lists of their places, each in the axes' order."""
        lines: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for index, cell in enumerate(self.cells):
            if cell.axes["params"]:
                rest = [repr(value) for axis, value in self.coordinates(index).items() if axis not in along]
                lines[(cell.ground, *rest)].append(index)
        return list(lines.values())


def sort_key(value: Any) -> tuple[Any, ...]:
    """Orders an axis's values: numbers, and sizes as (parameters, model), before names.

    >>> sorted(["two", 96, "joint", 8], key=sort_key)
    [8, 96, 'joint', 'two']
    """
    return (
        (0, *value) if isinstance(value, tuple) else (0, value) if isinstance(value, int | float) else (1, str(value))
    )


def gather(runs: Sequence[Run]) -> Grid:
    """Sorts runs into grounds and cells.

    A run whose axes and seed another run has too is left out, and named: they differ in something that is no axis.
    """
    notes: list[str] = []
    by_cell: dict[tuple[Any, ...], dict[int, Run]] = defaultdict(dict)
    named = {key for run in runs for key in run.axes}
    defaults = {axis.key: axis.default for axis in AXES if axis.later and axis.key in named}
    for run in sorted(runs, key=lambda run: run.name):
        sizes = (run.record.counts.get(split, 0) for split in ("train", "test"))
        ground = DatasetKey(run.record.cohort, str(run.axes.get("protocol", "")), *sizes)
        axes = tuple(sorted(pair for pair in (defaults | dict(run.axes)).items() if pair[0] != "seed"))
        runs_by_seed = by_cell[ground, axes]
        if run.axes["seed"] in runs_by_seed:
            kept = runs_by_seed[run.axes["seed"]].name
            notes.append(f"{run.name} is left out: {kept} has the same axes and seed, and differs in another setting")
        else:
            runs_by_seed[run.axes["seed"]] = run
    ordered = sorted(by_cell.items(), key=lambda item: _order(item[0][0], dict(item[0][1])))
    grounds = tuple(dict.fromkeys(ground for (ground, _), _ in ordered))
    members = tuple(tuple(run for _, run in sorted(seeds.items())) for _, seeds in ordered)
    cells = tuple(
        _cell(grounds.index(ground), dict(axes), runs)
        for ((ground, axes), _), runs in zip(ordered, members, strict=True)
    )
    free, tied = _free(cells)
    notes += _notes(grounds, members, tied)
    return Grid(grounds, cells, members, free, tied, tuple(notes))


def _order(ground: DatasetKey, axes: Mapping[str, Any]) -> tuple[Any, ...]:
    size, *rest = (axes.get(axis.key, 0) if axis.number else str(axes.get(axis.key)) for axis in COORDINATES)
    early = axes.get(HORIZON) not in (None, NamedHorizon.DISCHARGE)
    of_ground = (ground.protocol, -ground.train, early, ground.test, ground.cohort)
    return *of_ground, size, str(axes.get(MODEL)), *rest, repr(sorted(axes.items()))


def _cell(ground: int, axes: dict[str, Any], runs: Sequence[Run]) -> Cell:
    values: dict[str, dict[int, float]] = defaultdict(dict)
    errors: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for name, value in _metrics(run).items():
            values[name][run.axes["seed"]] = value
            if name in run.record.intervals:
                errors[name].append(patient_error(value, *run.record.intervals[name]))
    metrics = {name: measured_over_seeds(name, by_seed, errors[name]) for name, by_seed in sorted(values.items())}
    return Cell(ground, axes, tuple(run.name for run in runs), metrics, _numbers(axes, runs))


def _metrics(run: Run) -> dict[str, float]:
    """Reads the record's metrics that are defined, and adds the losses of the curves."""
    metrics = {name: float(value) for name, value in run.metrics.items() if value is not None and math.isfinite(value)}
    validation, training = run.curves.get(VALIDATION_LOSS), run.curves.get(TRAINING_LOSS)
    if validation:
        tested = run.record.counts.get("best_step", -1)
        metrics[VALIDATION_LOSS] = validation.get(tested, list(validation.values())[-1])
    if training:
        last = list(training.values())[-max(1, len(training) // 10) :]
        metrics[TRAINING_LOSS] = sum(last) / len(last)
    return metrics


def measured_over_seeds(name: str, values: Mapping[int, float], errors: Sequence[float]) -> Measured:
    """Averages a metric over seeds, with its intervals.

    Args:
        name: of the metric.
        values: by seed.
        errors: standard errors by patients, one a seed; fewer where a run has none.
    """
    mean = float(np.mean(list(values.values())))
    # The seeds of a cell are tested on the same patients: that error does not shrink with their number.
    patients = float(np.mean(errors)) if len(errors) == len(values) else math.nan
    seeds, share = seed_error(list(values.values())), not is_loss(name)
    combined = combined_interval(mean, seeds, len(values) - 1, patients, share=share)
    return Measured(mean, dict(values), combined.seeds, combined.patients, combined.both)


def _numbers(axes: Mapping[str, Any], runs: Sequence[Run]) -> dict[str, float]:
    def mean(values: Iterable[float | None]) -> float:
        present = [float(value) for value in values if value is not None]
        return float(np.mean(present)) if present else math.nan

    base = float(axes.get("params") or 0)
    trained = mean(run.record.counts.get("trainable_parameters") for run in runs)
    tokens = mean(run.record.tokens_seen for run in runs)
    seconds = {f"{name}_s": mean(run.record.seconds.get(name) for run in runs) for name in ("training", "total")}
    # Formula and reasons stand beside `FLOP` in result.py.
    flop = tokens * (4 * base + 6 * trained)
    return {"params": base, "trained": trained, "tokens_seen": tokens, "flop": flop, **seconds}


def _free(cells: Sequence[Cell]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Finds the axes in which LLaMAs of one ground differ, main ones first, and those that follow a main one."""
    llamas = [cell for cell in cells if cell.axes["params"]] or list(cells)
    names = list(dict.fromkeys([*MAIN, *(key for cell in llamas for key in cell.axes)]))
    varied = [name for name in names if name not in ("model", "protocol") and _varies(name, llamas)]
    if "params" not in varied and _varies("model", llamas):
        varied.insert(0, "params")
    tied: dict[str, list[str]] = defaultdict(list)
    for name in [name for name in varied if name not in MAIN]:
        mains = [main for main in MAIN if main in varied and _follows(name, main, llamas)]
        if mains:
            tied[mains[0]].append(name)
            varied.remove(name)
    return tuple(varied), {main: tuple(names) for main, names in tied.items()}


def _varies(name: str, cells: Sequence[Cell]) -> bool:
    pairs = {(cell.ground, repr(cell.axes.get(name))) for cell in cells}
    return len(pairs) > len({ground for ground, _ in pairs})


def _follows(name: str, main: str, cells: Sequence[Cell]) -> bool:
    """Says whether each value of the main axis goes with one value of the other."""
    mains = ("params", "model") if main == "params" else (main,)
    pairs = {(cell.ground, repr([cell.axes.get(axis) for axis in mains]), repr(cell.axes.get(name))) for cell in cells}
    return len(pairs) == len({pair[:2] for pair in pairs})


def _notes(
    grounds: Sequence[DatasetKey], members: Sequence[Sequence[Run]], tied: Mapping[str, tuple[str, ...]]
) -> list[str]:
    notes = [f"{', '.join(names)} changes with {main}: their effects are one" for main, names in tied.items()]
    if len(grounds) > 1:
        horizons = any(HORIZON in run.axes for runs in members for run in runs)
        notes.append(
            f"the runs are of {len(grounds)} grounds (cohort, protocol, numbers of notes), which are kept apart: "
            "cells of different ones are never compared" + (", but for horizons" if horizons else "")
        )
    sources = {run.record.code.get("source") for runs in members for run in runs}
    if len(sources) > 1:
        notes.append(f"the runs were trained by {len(sources)} versions of the code")
    return notes
