"""What a finished run's test predictions say, as tables (CSV and Markdown) and pictures in the run's own folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cohort.prepared import Cohort
from src.cohort.split import Split
from src.cohort.weights import Weights, read_weights
from src.config.train import TrainConfig
from src.evaluation.calibration import (
    AIM,
    calibration_table,
    confidences,
    coverage_curve,
    reliability,
    selective_table,
)
from src.evaluation.cost import cost_table
from src.evaluation.errors import error_tables
from src.evaluation.judged import judge
from src.evaluation.pictures import draw_by_frequency, draw_coverage, draw_groups, draw_reliability
from src.evaluation.predictions import PREDICTIONS, Predictions, estimates_of, read_predictions
from src.evaluation.slices import slice_table
from src.models.labelspace import LabelSpace
from src.shell import markdown as md
from src.shell.files import replacing
from src.shell.spreadsheet import write_frame
from src.training.notes import split_rows

FOLDER = "evaluation"
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
        notes: what `src.evaluation.judged.judge` gives for the test.
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


def report_run(
    run_dir: Path, cohort: Cohort, cfg: TrainConfig, cut: NDArray[np.bool_] | None, table5: str | None
) -> Path:
    """Writes the report of a finished run from the predictions that it left; where the report is.

    Args:
        run_dir: the run's folder.
        cohort: what it was trained on.
        cfg: its configuration.
        cut: [B], whether the model read only the beginning of each test note.
        table5: CMS's Table 5; None for the bundled one.

    Raises:
        UserError: the predictions or the table cannot be read.
    """
    space = LabelSpace.from_labels(cohort.labels)
    predictions = {split: read_predictions(run_dir / name, space) for split, name in PREDICTIONS.items()}
    trained = split_rows(cohort, Split.TRAIN, cfg.data.limit)["drg"].to_list()
    weights = read_weights(Path(table5) if table5 else None)
    return write_report(run_dir, cohort, space, predictions, trained, weights, cut)


def write_report(
    run_dir: Path,
    cohort: Cohort,
    space: LabelSpace,
    predictions: Mapping[Split, Predictions],
    trained: Sequence[str],
    weights: Weights,
    cut: NDArray[np.bool_] | None = None,
) -> Path:
    """Writes `evaluation/` in the run's folder: a CSV a table, `report.md` with all of them, pictures, `notes.csv`.

    Args:
        run_dir: the run's folder.
        cohort: what it was trained on.
        space: its labels.
        predictions: of validation and test.
        trained: the DRG of every training note.
        weights: relative weights.
        cut: [B], whether the model read only the beginning of each test note.

    Returns:
        Where the report is.
    """
    test, folder = predictions[Split.TEST], run_dir / FOLDER
    notes = judge(test, space, cohort, trained, weights, cut)
    tables = report_tables(notes, predictions[Split.VALIDATION], test, space, weights)
    title = f"{run_dir.name}: {notes.height:,} test notes"
    pictures = _draw(folder, tables, notes, test, title)
    for name, table in {**tables, "notes": notes}.items():
        with replacing(folder / f"{name}.csv") as beside:
            write_frame(beside, table)
    with replacing(folder / "report.md") as beside:
        beside.write_text(_page(title, tables, pictures), "utf-8")
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
