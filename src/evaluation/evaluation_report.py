"""A report shows a finished run's test predictions as JSON, CSV, Markdown and figures in its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.files import atomic_write
from src.cohort.admissions import read_admissions
from src.cohort.prepared import Cohort
from src.cohort.split import Split
from src.cohort.weights import Weights, weights_for
from src.config.prepare import system_name
from src.config.train import TrainConfig
from src.display import markdown as md
from src.display.spreadsheet import write_frame
from src.display.tables import table_of, to_markdown
from src.evaluation.adjustment import adjustment
from src.evaluation.calibration import (
    AIM,
    calibration_table,
    confidences,
    coverage_curve,
    reliability,
    selective_table,
)
from src.evaluation.cost import cost_table
from src.evaluation.error_tables import by_training_notes, error_tables
from src.evaluation.evaluation_record import write_evaluation
from src.evaluation.figures import draw_by_frequency, draw_coverage, draw_front, draw_groups, draw_reliability
from src.evaluation.prediction_table import prediction_table
from src.evaluation.slices import slice_table
from src.metrics.definitions import truth_ranks
from src.models.labelspace import LabelSpace
from src.runs.folder import SCORED, RunFolder
from src.runs.predictions import Predictions, estimates_of, read_predictions
from src.training.notes import split_rows

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
    "adjustment": "Logit adjustment: scores less tau times log p(DRG in training), tau chosen on validation",
    "adjusted_by_training_notes": "By training notes of the DRG, at the tau with the best macro-F1 of validation",
    "adjustment_front": "Macro-F1 against top-1 over tau",
}
"""The tables, in the report's order, and their headings."""

SHOWN, DIGITS = 15, 4
"""Rows of a table in the report, and digits after the point; the CSV has all."""


def report_tables(
    notes: pl.DataFrame,
    validation: Predictions,
    test: Predictions,
    space: LabelSpace,
    weights: Weights,
    trained: Sequence[str],
) -> dict[str, pl.DataFrame]:
    """Makes every table by name; those are left out that the labels or the hospital's files do not allow.

    Args:
        notes: what `src.evaluation.prediction_table.prediction_table` gives for the test.
        validation: chooses temperature, threshold and tau.
        test: what is measured.
        space: the labels of both.
        weights: relative weights.
        trained: the DRG of every training note.
    """
    metrics = [
        {
            "metric": name,
            "value": measured.value,
            "low": measured.low,
            "high": measured.high,
            "standard_error": measured.error,
        }
        for name, measured in estimates_of(test, space).items()
    ]
    calibration = calibration_table(validation, test)
    tables = {"metrics": pl.DataFrame(metrics), **error_tables(notes), "slices": slice_table(notes)}
    if notes["drg_weight"].count():
        tables["cost"] = cost_table(notes, weights)
    tables["calibration"] = calibration
    tables["reliability"] = reliability(confidences(test, calibration["temperature"][-1]))
    tables["selective"] = selective_table(validation, test)
    counts = np.bincount([space.index[code] for code in trained], minlength=len(space.codes))
    after = adjustment(validation, test, counts)
    tables |= {"adjustment": after.points, "adjustment_front": after.front}
    predicted = after.scores.argmax(1)
    adjusted = notes.with_columns(
        predicted=pl.Series(np.array(space.codes)[predicted]),
        right=pl.Series(predicted == test.drg),
        rank=pl.Series(truth_ranks(after.scores, test.drg) + 1),
    )
    tables["adjusted_by_training_notes"] = by_training_notes(adjusted)
    return {name: tables[name] for name in ABOUT if name in tables and not tables[name].is_empty()}


@dataclass(frozen=True)
class EvaluationData:
    """Holds what a report on a finished run is made of; all of it is read before hours of scoring."""

    cohort: Cohort
    space: LabelSpace
    predictions: Mapping[Split, Predictions]
    """Of validation and test, as training left them."""
    trained: Sequence[str]
    """The DRG of every training note."""
    weights: Weights

    @property
    def remarks(self) -> list[str]:
        """Says what a reader must know of the weights."""
        codes = [label.code for label in self.cohort.labels if label.base_drg]
        return self.weights.remarks(codes, self.cohort.record["drg_version"])


def read_material(run_dir: Path, cohort: Cohort, cfg: TrainConfig, table5: str | None) -> EvaluationData:
    """Reads what the report of a run needs.

    Args:
        run_dir: the run's folder.
        cohort: what it was trained on.
        cfg: its configuration.
        table5: CMS's Table 5; None for that of the cohort's version, where it is at hand.

    Raises:
        UserError: the predictions, the admissions or the table cannot be read.
    """
    space = LabelSpace.from_labels(cohort.labels)
    weights = weights_for(cohort.record["drg_version"], table5)
    read_admissions(cohort.folder)
    predictions = {split: read_predictions(RunFolder(run_dir).predictions(split), space) for split in SCORED}
    trained = split_rows(cohort, Split.TRAIN, cfg.data.limit)["drg"].to_list()
    return EvaluationData(cohort, space, predictions, trained, weights)


def write_report(run_dir: Path, material: EvaluationData, cut: NDArray[np.bool_] | None = None) -> Path:
    """Writes `evaluation/` in the run's folder.

    It holds `evaluation.json` with all numbers, a CSV a table, `report.md` with all tables, figures, and `notes.csv`.

    Args:
        run_dir: the run's folder.
        material: what the report is made of.
        cut: [B], whether the model read only the beginning of each test note.

    Returns:
        Where the report is.
    """
    test, folder, space = material.predictions[Split.TEST], RunFolder(run_dir).evaluation, material.space
    notes = prediction_table(test, space, material.cohort, material.trained, material.weights, cut)
    validation, weights = material.predictions[Split.VALIDATION], material.weights
    tables = report_tables(notes, validation, test, space, weights, material.trained)
    title = f"{run_dir.name}: {notes.height:,} test notes, {system_name(material.cohort.record['drg_version'])}"
    write_evaluation(run_dir, notes.height, tables)
    drawn = _draw(folder, tables, notes, test, title)
    for name, table in {**tables, "notes": notes}.items():
        with atomic_write(folder / f"{name}.csv") as tmp:
            write_frame(tmp, table)
    with atomic_write(folder / "report.md") as tmp:
        tmp.write_text(_page(title, material.remarks, tables, drawn), "utf-8")
    return folder / "report.md"


def _draw(
    folder: Path, tables: Mapping[str, pl.DataFrame], notes: pl.DataFrame, test: Predictions, title: str
) -> dict[str, str]:
    """Draws the figures, and names the file of each by the table that it stands under."""
    temperature = tables["calibration"]["temperature"][-1]
    states = {"as it is": 1.0, f"temperature {temperature:.2f}": temperature}
    lines = {name: reliability(confidences(test, value)) for name, value in states.items()}
    draw_reliability(folder / "reliability.png", lines, title)
    selective = tables["selective"].row(0, named=True)
    curve = coverage_curve(confidences(test, temperature))
    draw_coverage(folder / "coverage.png", curve, AIM, selective["coverage"], title)
    right = {"top-1": notes["right"].to_numpy()}
    draw_by_frequency(folder / "by_training_notes.png", right, notes["training_notes"].to_numpy(), title)
    points = tables["adjustment"].to_dicts()
    draw_front(
        folder / "adjustment.png", tables["adjustment_front"], {row["point"]: row["tau"] for row in points}, title
    )
    drawn = {
        "adjustment": "adjustment.png",
        "calibration": "reliability.png",
        "selective": "coverage.png",
        "by_training_notes": "by_training_notes.png",
    }
    groups = tables["slices"].drop_nulls("top1") if "slices" in tables else pl.DataFrame()
    if not groups.is_empty():
        draw_groups(folder / "slices.png", groups, title)
        drawn["slices"] = "slices.png"
    return drawn


def _page(title: str, remarks: Sequence[str], tables: Mapping[str, pl.DataFrame], drawn: Mapping[str, str]) -> str:
    parts = [f"# {md.escaped(title)}", "Local only: small groups and single DRGs are counted here."]
    parts += [f"{md.escaped(remark[:1].upper() + remark[1:])}." for remark in remarks]
    for name, table in tables.items():
        parts.append(f"## {ABOUT[name]}")
        if name in drawn:
            parts.append(f"![{ABOUT[name]}]({drawn[name]})")
        rows = table.head(SHOWN) if name != "metrics" else table
        parts.append(to_markdown(table_of(rows.columns, rows.rows(), DIGITS)).rstrip())
        if table.height > rows.height:
            parts.append(f"{table.height - rows.height} more rows in {name}.csv.")
    return "\n\n".join(parts) + "\n"
