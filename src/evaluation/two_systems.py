"""Runs of two DRG systems, as MS-DRGs and APR-DRGs, are compared on the test admissions that both label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import entropy

from src.cli.errors import UserError
from src.cohort.prepared import NOTES, Cohort
from src.cohort.split import Split
from src.config.prepare import system_name
from src.evaluation.comparison import Comparison, compared, undamaged
from src.models.labelspace import LabelSpace
from src.runs.folder import RunFolder
from src.runs.kept_cohort import kept_record
from src.runs.predictions import Predictions, parts, read_predictions, tasks
from src.runs.record import RunRecord, read_cohort_of, read_record

PAIRED = ("accuracy", "base_accuracy", "severity_accuracy")
"""Metrics that are a share of notes in either system; means over classes are over other classes in each."""


@dataclass(frozen=True, eq=False)
class SystemsComparison:
    """Holds what runs of several DRG systems reach on the admissions that all of them label."""

    records: Mapping[str, RunRecord]
    """By the run's name."""
    systems: Mapping[str, str]
    """The DRG system of each run, in words."""
    comparison: Comparison
    yardsticks: pl.DataFrame
    """How hard each label space is to guess, a row a system and task.

    Columns `system`, `task`, `labels`, `seen` (of them among the admissions), `commonest` (its share of them) and
    `entropy` (bits).
    """
    admissions: int
    left_out: Mapping[str, int]
    """Test admissions of each system that another system's test does not have."""


def several_systems(folders: Sequence[Path]) -> bool:
    """Says whether the runs are of several DRG systems, by what each kept of its cohort."""
    versions = {kept_record(RunFolder(folder)).get("drg_version") for folder in folders}
    return len(versions) > 1 and None not in versions


def compare_systems(folders: Sequence[Path], baseline: str | None = None) -> SystemsComparison:
    """Compares every two runs, or every run with the baseline, on the test admissions that are in all of their tests.

    Of two systems the shares of `PAIRED` alone are compared, each run's against the labels of its own system.

    Raises:
        UserError: a run is not finished or damaged, its cohort is not where its record says, no admission is in all
            tests, one has several notes, or its note has another text in another cohort.
    """
    folders = undamaged(folders)
    records = {folder.name: read_record(folder) for folder in folders}
    cohorts = {folder.name: read_cohort_of(records[folder.name], folder) for folder in folders}
    spaces = {name: LabelSpace.from_labels(cohort.labels) for name, cohort in cohorts.items()}
    systems = {name: system_name(cohort.record["drg_version"]) for name, cohort in cohorts.items()}
    runs = {
        folder.name: read_predictions(RunFolder(folder).predictions(Split.TEST), spaces[folder.name])
        for folder in folders
    }
    common = _common(runs, cohorts)
    left_out = {systems[name]: len(run.hadm_id) - len(common) for name, run in runs.items()}
    runs = {name: _among(run, common) for name, run in runs.items()}
    measured = {name: parts(run, spaces[name]) for name, run in runs.items()}
    patients = len(np.unique(next(iter(runs.values())).subject_id))
    comparison = compared(
        measured,
        patients,
        baseline,
        lambda metric, pair: metric in PAIRED or systems[pair[0]] == systems[pair[1]],
    )
    firsts = {system: name for name, system in reversed(systems.items())}
    yardsticks = pl.concat(_yardstick(systems[name], runs[name], spaces[name]) for name in reversed(firsts.values()))
    return SystemsComparison(records, systems, comparison, yardsticks, len(common), left_out)


def _common(runs: Mapping[str, Predictions], cohorts: Mapping[str, Cohort]) -> NDArray[np.int64]:
    """Finds the admissions that all runs were tested on, ascending, whose notes have one text in all cohorts."""
    for name, run in runs.items():
        if len(np.unique(run.hadm_id)) < len(run.hadm_id):
            raise UserError(
                f"{name}: its test has admissions with several notes, as protocol=paper leaves them; runs of two DRG "
                "systems are compared by admission, so prepare both cohorts with protocol=clean"
            )
    common = reduce(np.intersect1d, (run.hadm_id for run in runs.values()))
    if not len(common):
        counts = ", ".join(f"{name} {len(run.hadm_id):,}" for name, run in runs.items())
        raise UserError(
            f"no admission is in the test of every run ({counts}); prepare one cohort with split=file "
            "split_file=OTHER/split.csv, so that both are split alike"
        )
    texts = {cohort.folder: _texts(cohort, common) for cohort in cohorts.values()}
    (first, expected), *rest = texts.items()
    for folder, own in rest:
        if different := own.join(expected, ["hadm_id", "text"], how="anti").height:
            raise UserError(
                f"{folder}: {different:,} of {len(common):,} test admissions have another text than in {first}; "
                "prepare both cohorts with the same data.sections, data.headings and horizon"
            )
    return common


def _texts(cohort: Cohort, admissions: NDArray[np.int64]) -> pl.DataFrame:
    """Reads a hash of the text of each test admission."""
    notes = pl.scan_parquet(cohort.folder / NOTES).filter(
        (pl.col("split") == str(Split.TEST)) & pl.col("hadm_id").is_in(pl.Series(admissions).implode())
    )
    return notes.select("hadm_id", pl.col("text").hash()).collect()


def _among(run: Predictions, admissions: NDArray[np.int64]) -> Predictions:
    """Keeps the notes of these admissions, in their order."""
    order = np.argsort(run.hadm_id, kind="stable")
    rows = order[np.searchsorted(run.hadm_id, admissions, sorter=order)]
    heads = {name: scores[rows] for name, scores in run.heads.items()}
    return Predictions(run.subject_id[rows], run.hadm_id[rows], run.drg[rows], heads)


def _yardstick(system: str, run: Predictions, space: LabelSpace) -> pl.DataFrame:
    rows = []
    for task in tasks(run, space):
        if task.prefix == "rule_":  # which has the DRG's classes
            continue
        counts = np.bincount(task.target, minlength=task.classes)
        rows.append(
            {
                "system": system,
                "task": {"": "DRG", "base_": "base DRG", "severity_": "severity"}[task.prefix],
                "labels": task.classes,
                "seen": int((counts > 0).sum()),
                "commonest": float(counts.max() / counts.sum()),
                "entropy": float(entropy(counts, base=2)),
            }
        )
    return pl.DataFrame(rows)


def as_text(compared_systems: SystemsComparison) -> str:
    """Says that the label spaces differ, and how hard each is to guess."""
    lines = ["The label spaces differ: each run is measured against its own system's labels, and guessing reaches"]
    for row in compared_systems.yardsticks.to_dicts():
        lines.append(
            f"  {row['system']}, {row['task']}: {row['labels']:,} labels, {row['seen']:,} among these admissions, "
            f"{row['entropy']:.2f} bits, as {2 ** row['entropy']:.1f} labels equally often; the commonest is "
            f"{row['commonest']:.1%}"
        )
    lines.append(
        "top-1, base DRG and severity are shares of the same notes, and have paired differences; macro-F1 is a mean "
        "over the classes of each system, and has none"
    )
    return "\n".join(lines)
