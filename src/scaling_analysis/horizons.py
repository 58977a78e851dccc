"""Compares what systems reach before discharge with what they reach at it, on the patients still in the house."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.cli.errors import UserError
from src.cli.progress import track
from src.cohort.disclosure import MIN_GROUP_PATIENTS
from src.cohort.prepared import Cohort
from src.cohort.split import Split
from src.config.prepare import NamedHorizon, in_time
from src.display.catalog import HORIZON
from src.metrics.intervals import Difference, SubsampledMetric, difference, holm, mean_of, subsample
from src.models.labelspace import LabelSpace
from src.runs.finished import Run
from src.runs.folder import RunFolder
from src.runs.kept_cohort import kept_record
from src.runs.predictions import Task, read_predictions
from src.scaling_analysis.against import COMPARED
from src.scaling_analysis.resampling import DRAWS, TEST
from src.scaling_analysis.result import Cell, Scaling

DISCHARGE = NamedHorizon.DISCHARGE.value

ENOUGH = 0.8
"""Share of discharge's top-1 from which a horizon is called early enough."""

ACCURACY = f"{TEST}accuracy"


@dataclass(frozen=True)
class HorizonCell:
    """Holds one system at one horizon."""

    horizon: str
    cell: int
    """Place in `Scaling.cells`."""
    reached: float | None = None
    """Share of the admissions of discharge's test that it reaches; None where that is not known."""
    common: Mapping[str, float] = field(default_factory=dict)
    """Metrics on the admissions that are in the house at every horizon, means over seeds."""
    differences: Mapping[str, Difference] = field(default_factory=dict)
    """The same less those of discharge; p is corrected over systems and horizons."""


@dataclass(frozen=True)
class Horizons:
    """Holds the horizons of every system of one cohort that has several.

    Attributes:
        lines: of each system and setting its horizons, in order of time.
        admissions: of the test that are in the house at every horizon.
        patients: of these admissions.
        notes: what a reader must know.
    """

    lines: Sequence[Sequence[HorizonCell]]
    admissions: int = 0
    patients: int = 0
    notes: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class _Choices:
    """Holds the DRGs that a run chose, [B] each, in the order of the admissions."""

    hadm_id: NDArray[np.int64]
    subject_id: NDArray[np.int64]
    drg: NDArray[np.int64]
    predicted: NDArray[np.int64]

    def among(self, admissions: NDArray[np.int64]) -> "_Choices":
        inside = np.isin(self.hadm_id, admissions)
        return _Choices(*(getattr(self, own.name)[inside] for own in dataclasses.fields(self)))


def compare_horizons(runs: Sequence[Run], scaling: Scaling) -> Horizons | None:
    """Compares the horizons of each system, of the cohort that has most; None where none has two.

    Cohorts of horizons have fingerprints of their own: here, and nowhere else, runs of two are compared, where both
    were made from one cohort of discharge, whose fingerprint each names as its origin.

    Args:
        runs: finished ones; those of W&B, which has no predictions, are left out.
        scaling: what `src.scaling_analysis.analysis.analyse` makes of them.
    """
    by_name = {run.name: run for run in runs if run.folder}
    cohorts = {name: kept_record(RunFolder(Path(run.folder or ""))) for name, run in by_name.items()}
    of_origin: dict[str, dict[tuple[Any, ...], list[HorizonCell]]] = defaultdict(lambda: defaultdict(list))
    for index, cell in enumerate(scaling.cells):
        first = by_name.get(cell.runs[0])
        if first is None or not all(metric in cell.metrics for metric in COMPARED):
            continue
        record = cohorts[first.name]
        horizon, origin = record.get("horizon", {}).get("name", DISCHARGE), record.get("origin", first.record.cohort)
        of_origin[origin][_setting(cell, first)].append(HorizonCell(horizon, index))
    lines_of = {origin: _several(lines.values()) for origin, lines in of_origin.items()}
    lines_of = {origin: lines for origin, lines in lines_of.items() if lines}
    if not lines_of:
        return None
    origin = max(lines_of, key=lambda name: sum(map(len, lines_of[name])))
    lines = lines_of[origin]
    notes = [f"horizons are shown of the cohort {origin}, not of {len(lines_of) - 1} more"] if len(lines_of) > 1 else []
    record = next(cohorts[name] for line in lines for name in scaling.cells[line[0].cell].runs if cohorts[name])
    space = LabelSpace.from_labels(Cohort(Path(), record).labels)
    try:
        compared = _compared(lines, scaling, by_name, space)
    except UserError as error:
        return Horizons(lines, notes=[*notes, f"horizons are not compared: the predictions cannot be read ({error})"])
    return dataclasses.replace(compared, notes=notes)


def _setting(cell: Cell, first: Run) -> tuple[Any, ...]:
    axes = sorted((key, repr(value)) for key, value in cell.axes.items() if key != HORIZON)
    return *axes, first.record.config.get("data", {}).get("limit")


def _several(lines: Iterable[Sequence[HorizonCell]]) -> list[list[HorizonCell]]:
    """Keeps lines of several horizons, each in order of time and each horizon once."""
    ordered = [list({cell.horizon: cell for cell in line}.values()) for line in lines]
    return [sorted(cells, key=lambda cell: in_time(cell.horizon)) for cells in ordered if len(cells) > 1]


def _compared(
    lines: Sequence[Sequence[HorizonCell]], scaling: Scaling, by_name: Mapping[str, Run], space: LabelSpace
) -> Horizons:
    """Measures every line on the admissions that all its horizons reach, and those of all other lines too.

    Raises:
        UserError: predictions cannot be read.
    """
    names = [name for line in lines for cell in line for name in scaling.cells[cell.cell].runs]
    chosen = {
        name: _choices(by_name[name], space) for name in track(names, total=len(names), what="horizons", unit="run")
    }
    common = chosen[names[0]].hadm_id
    for name in names[1:]:
        common = np.intersect1d(common, chosen[name].hadm_id)
    patients = len(np.unique(chosen[names[0]].among(common).subject_id))
    measured: dict[int, dict[int, dict[str, SubsampledMetric]]] = {}
    if patients >= MIN_GROUP_PATIENTS:
        for cell in (cell for line in lines for cell in line):
            of_seeds = {by_name[name].axes["seed"]: chosen[name] for name in scaling.cells[cell.cell].runs}
            measured[cell.cell] = {
                seed: _parts(choices.among(common), len(space.codes)) for seed, choices in of_seeds.items()
            }
    filled = [
        [
            dataclasses.replace(
                cell,
                reached=_reached(cell, line[-1], scaling, by_name, chosen),
                **_beside_discharge(measured.get(cell.cell, {}), line[-1], measured),
            )
            for cell in line
        ]
        for line in lines
    ]
    return Horizons(_corrected(filled), len(common), patients)


def _choices(run: Run, space: LabelSpace) -> _Choices:
    scored = read_predictions(RunFolder(Path(run.folder or "")).predictions(Split.TEST), space)
    order = np.argsort(scored.hadm_id, kind="stable")
    predicted = scored.heads["scores"].argmax(1)
    return _Choices(*(values[order] for values in (scored.hadm_id, scored.subject_id, scored.drg, predicted)))


def _parts(choices: _Choices, classes: int) -> dict[str, SubsampledMetric]:
    tallies = Task("", choices.drg, choices.predicted, classes).tallies()
    parts = {TEST + name: part for name, part in subsample(tallies, choices.subject_id, DRAWS).items()}
    return {metric: parts[metric] for metric in COMPARED}


def _reached(
    cell: HorizonCell, last: HorizonCell, scaling: Scaling, by_name: Mapping[str, Run], chosen: Mapping[str, _Choices]
) -> float | None:
    """Measures the share of discharge's admissions; samples of `data.limit` are of other admissions at each horizon."""
    own, discharged = (scaling.cells[index].runs[0] for index in (cell.cell, last.cell))
    if last.horizon != DISCHARGE or by_name[own].record.config.get("data", {}).get("limit"):
        return None
    return float(np.isin(chosen[discharged].hadm_id, chosen[own].hadm_id).mean())


def _beside_discharge(
    parts: Mapping[int, Mapping[str, SubsampledMetric]],
    last: HorizonCell,
    measured: Mapping[int, Mapping[int, Mapping[str, SubsampledMetric]]],
) -> dict[str, Any]:
    """Gives a cell's metrics on the common admissions, and less those of discharge over the seeds that both have."""
    if not parts:
        return {}
    common = {metric: mean_of([of_seed[metric] for of_seed in parts.values()]).whole for metric in COMPARED}
    discharged = measured[last.cell] if last.horizon == DISCHARGE else {}
    shared = sorted(parts.keys() & discharged.keys())
    if not shared or parts is discharged:
        return {"common": common}
    differences = {}
    for metric in COMPARED:
        own, last_own = (mean_of([side[seed][metric] for seed in shared]) for side in (parts, discharged))
        differences[metric] = difference(own, last_own)
    return {"common": common, "differences": differences}


def _corrected(lines: Sequence[Sequence[HorizonCell]]) -> list[list[HorizonCell]]:
    """Corrects p over the differences of one metric (Holm)."""
    cells = [cell for line in lines for cell in line if cell.differences]
    by_metric = {
        metric: dict(
            zip([cell.cell for cell in cells], holm([cell.differences[metric].p for cell in cells]), strict=True)
        )
        for metric in COMPARED
    }
    return [
        [
            dataclasses.replace(
                cell,
                differences={
                    metric: dataclasses.replace(apart, p=by_metric[metric][cell.cell])
                    for metric, apart in cell.differences.items()
                },
            )
            for cell in line
        ]
        for line in lines
    ]


def early_enough(line: Sequence[HorizonCell]) -> str | None:
    """Names the first horizon that reaches `ENOUGH` of discharge's top-1; None where there is none to compare with."""
    if line[-1].horizon != DISCHARGE or not line[-1].common.get(ACCURACY):
        return None
    aim = ENOUGH * line[-1].common[ACCURACY]
    return next(cell.horizon for cell in line if cell.common[ACCURACY] >= aim)
