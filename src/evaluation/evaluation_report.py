"""What a finished run's test predictions say, as tables (CSV and Markdown) and pictures in the run's own folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.errors import UserError
from src.cli.files import atomic_write
from src.cohort.admissions import read_admissions
from src.cohort.prepared import Cohort
from src.cohort.split import Split
from src.cohort.weights import Weights, read_weights
from src.config.train import TrainConfig
from src.display import markdown as md
from src.display.spreadsheet import write_frame
from src.evaluation.calibration import (
    AIM,
    calibration_table,
    confidences,
    coverage_curve,
    reliability,
    selective_table,
)
from src.evaluation.cost import cost_table
from src.evaluation.error_tables import error_tables
from src.evaluation.figures import draw_by_frequency, draw_coverage, draw_groups, draw_reliability
from src.evaluation.prediction_table import prediction_table
from src.evaluation.slices import slice_table
from src.models.labelspace import LabelSpace
from src.runs.folder import SCORED, RunFolder
from src.runs.predictions import Predictions, estimates_of, read_predictions
from src.training.notes import split_rows

"""In a run's folder. Its files hold ids and counts of small groups: they stay on the machine, as predictions do."""

ABOUT = {
    "metrics": "Every metric with its interval of 95 %, by patient",
    "by_training_notes": "By training notes of the DRG",
    "by_mdc": "By major diagnostic category (MDC)",
    "by_type": "Medical and surgical DRGs",
    "by_severity": "By severity",
    "kinds_of_error": "What was right",
    "confusions": "The commonest confusions",
    "costly_confusions": "The confusions that shift most weight",
    "by_words": "By words of the note",
    "by_cut": "Notes that the model read whole, and cut ones",
    "cost": "Cost",
    "slices": "For whom",
    "calibration": "Calibration",
    "reliability": "Accuracy by confidence, at the temperature from validation",
    "selective": "Deciding the surest notes only",
}
"""The tables, in the report's order, and their headings."""

SHOWN = 15
"""Rows of a table in the report; the CSV has all."""


def report_tables(
    notes: pl.DataFrame, validation: Predictions, test: Predictions, space: LabelSpace, weights: Weights
) -> dict[str, pl.DataFrame]:
    """Every table by name; those are left out that the labels or the hospital's files do not allow.

    Args:
        notes: what `src.evaluation.prediction_table.prediction_table` gives for the test.
        validation: chooses temperature and threshold.
        test: what is measured.
        space: the labels of both.
        weights: relative weights.
    """
    metrics = [
        {"metric": name, "value": each.value, "low": each.low, "high": each.high, "standard_error": each.error}
        for name, each in estimates_of(test, space).items()
    ]
    calibration = calibration_table(validation, test)
    found = {"metrics": pl.DataFrame(metrics), **error_tables(notes), "slices": slice_table(notes)}
    if notes["drg_weight"].count():
        found["cost"] = cost_table(notes, weights)
    found["calibration"] = calibration
    found["reliability"] = reliability(confidences(test, calibration["temperature"][-1]))
    found["selective"] = selective_table(validation, test)
    return {name: found[name] for name in ABOUT if name in found and not found[name].is_empty()}


@dataclass(frozen=True)
class EvaluationData:
    """What a report on a finished run is made of; all of it is read before hours of scoring."""

    cohort: Cohort
    space: LabelSpace
    predictions: Mapping[Split, Predictions]
    """Of validation and test, as training left them."""
    trained: Sequence[str]
    """The DRG of every training note."""
    weights: Weights


def read_material(run_dir: Path, cohort: Cohort, cfg: TrainConfig, table5: str | None) -> EvaluationData:
    """What the report of a run needs.

    Args:
        run_dir: the run's folder.
        cohort: what it was trained on.
        cfg: its configuration.
        table5: CMS's Table 5; None for the bundled one.

    Raises:
        UserError: the predictions, the admissions or the table cannot be read.
    """
    space = LabelSpace.from_labels(cohort.labels)
    weights = read_weights(Path(table5) if table5 else None)
    if table5 and cohort.record["drg_version"] is None:
        raise UserError(
            f"table5={table5}: the run's classes are no MS-DRGs, and have no relative weights; leave it out"
        )
    read_admissions(cohort.folder)
    predictions = {split: read_predictions(RunFolder(run_dir).predictions(split), space) for split in SCORED}
    trained = split_rows(cohort, Split.TRAIN, cfg.data.limit)["drg"].to_list()
    return EvaluationData(cohort, space, predictions, trained, weights)


def write_report(run_dir: Path, material: EvaluationData, cut: NDArray[np.bool_] | None = None) -> Path:
    """Writes `evaluation/` in the run's folder: a CSV a table, `report.md` with all of them, pictures, `notes.csv`.

    Args:
        run_dir: the run's folder.
        material: what the report is made of.
        cut: [B], whether the model read only the beginning of each test note.

    Returns:
        Where the report is.
    """
    test, folder, space = material.predictions[Split.TEST], RunFolder(run_dir).evaluation, material.space
    notes = prediction_table(test, space, material.cohort, material.trained, material.weights, cut)
    tables = report_tables(notes, material.predictions[Split.VALIDATION], test, space, material.weights)
    title = f"{run_dir.name}: {notes.height:,} test notes"
    pictures = _draw(folder, tables, notes, test, title)
    for name, table in {**tables, "notes": notes}.items():
        with atomic_write(folder / f"{name}.csv") as tmp:
            write_frame(tmp, table)
    with atomic_write(folder / "report.md") as tmp:
        tmp.write_text(_page(title, tables, pictures), "utf-8")
    return folder / "report.md"


def _draw(
    folder: Path, tables: Mapping[str, pl.DataFrame], notes: pl.DataFrame, test: Predictions, title: str
) -> dict[str, str]:
    """Draws the pictures; the file of each, by the table that it stands under."""
    temperature = tables["calibration"]["temperature"][-1]
    states = {"as it is": 1.0, f"temperature {temperature:.2f}": temperature}
    lines = {name: reliability(confidences(test, value)) for name, value in states.items()}
    draw_reliability(folder / "reliability.png", lines, title)
    selective = tables["selective"].row(0, named=True)
    curve = coverage_curve(confidences(test, temperature))
    draw_coverage(folder / "coverage.png", curve, AIM, selective["coverage"], title)
    right = {"top-1": notes["right"].to_numpy()}
    draw_by_frequency(folder / "by_training_notes.png", right, notes["training_notes"].to_numpy(), title)
    drawn = {
        "calibration": "reliability.png",
        "selective": "coverage.png",
        "by_training_notes": "by_training_notes.png",
    }
    if "slices" in tables:
        draw_groups(folder / "slices.png", tables["slices"], title)
        drawn["slices"] = "slices.png"
    return drawn


def _page(title: str, tables: Mapping[str, pl.DataFrame], pictures: Mapping[str, str]) -> str:
    parts = [f"# {md.escaped(title)}", "Local only: small groups and single DRGs are counted here."]
    for name, table in tables.items():
        parts.append(f"## {ABOUT[name]}")
        if name in pictures:
            parts.append(f"![{ABOUT[name]}]({pictures[name]})")
        parts.append(markdown(table.head(SHOWN) if name != "metrics" else table))
        if table.height > SHOWN and name != "metrics":
            parts.append(f"{table.height - SHOWN} more rows in {name}.csv.")
    return "\n\n".join(parts) + "\n"


def markdown(table: pl.DataFrame) -> str:
    """A table as Markdown, numbers to four digits; what is not known is a dash.

    >>> print(markdown(pl.DataFrame({"group": ["a|b", None], "top1": [0.51234, None]})))
    | group | top1 |
    |---|---|
    | a\\|b | 0.5123 |
    | - | - |
    """
    rows = [[_cell(value) for value in row] for row in table.iter_rows()]
    return md.table(table.columns, rows, right=[False] * table.width)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
