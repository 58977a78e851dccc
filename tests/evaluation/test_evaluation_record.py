"""An evaluation's numbers as a file: the same as in its tables, and whole whatever the test holds."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.cohort.weights import weights_for
from src.evaluation.evaluation_record import FOLDER, NUMBERS, read_evaluation, write_evaluation
from src.evaluation.evaluation_report import EvaluationData, write_report
from src.models.labelspace import LabelSpace
from src.runs.predictions import Predictions


def write(cohort: Path, run_dir: Path, count: int, classes: int | None = None, right: bool = False) -> Path:
    """Writes the report on the first `count` notes of a split, of the commonest `classes` DRGs alone."""
    read = read_cohort(cohort)
    notes = read.notes(Split.TRAIN)
    kept = notes["drg"].value_counts(sort=True)["drg"].head(classes or 757)
    labels = [label for label in read.labels if classes is None or label.code in set(kept)]
    space = LabelSpace.from_labels(labels)
    few = notes.filter(pl.col("drg").is_in(kept.to_list())).head(count)
    drg = np.array([space.index[code] for code in few["drg"]])
    scores = np.random.default_rng(0).normal(size=(len(drg), len(labels))).astype(np.float32)
    scores[np.arange(len(drg)), drg] += 20 if right else 0
    predictions = Predictions(few["subject_id"].to_numpy(), few["hadm_id"].to_numpy(), drg, {"scores": scores})
    both = dict.fromkeys((Split.VALIDATION, Split.TEST), predictions)
    data = EvaluationData(read, space, both, few["drg"].to_list(), weights_for("v34"))
    return write_report(run_dir, data, np.zeros(len(drg), bool))


@pytest.mark.parametrize(
    ("count", "classes", "right"),
    [(1, None, False), (1, None, True), (9, None, False), (48, None, False), (400, None, True), (30, 1, True)],
    ids=["one patient", "one patient, right", "no group", "small groups", "all right", "one class"],
)
def test_a_test_of_little_leaves_whole_numbers(
    count: int, classes: int | None, right: bool, cohort: Path, tmp_path: Path
) -> None:
    report = write(cohort, tmp_path, count, classes, right)
    evaluation = read_evaluation(tmp_path)
    assert evaluation.notes <= count
    for name, rows in evaluation.tables.items():
        table = pl.read_csv(tmp_path / FOLDER / f"{name}.csv", infer_schema=False)
        assert table.height == len(rows) > 0
        assert table.columns == list(rows[0])
    for picture in ("reliability.png", "coverage.png", "by_training_notes.png"):
        assert (report.parent / picture).is_file()
    assert f"# {tmp_path.name}" in report.read_text("utf-8").replace("\\", "")


def test_the_numbers_are_those_of_the_tables(cohort: Path, tmp_path: Path) -> None:
    write(cohort, tmp_path, 400)
    rows = read_evaluation(tmp_path).rows("by_mdc")
    table = pl.read_csv(tmp_path / FOLDER / "by_mdc.csv", schema_overrides={"mdc": pl.String})
    assert rows == table.to_dicts()
    assert {row["mdc"][:1] for row in rows} >= {"0", "1"}
    assert [row["top1"] for row in rows if row["patients"] is None]


def test_what_is_no_finite_number_is_null(tmp_path: Path) -> None:
    table = pl.DataFrame({"value": [0.5, float("nan"), float("inf"), None], "n": [1, 2, 3, None]})
    write_evaluation(tmp_path, 3, {"metrics": table})
    text = (tmp_path / FOLDER / NUMBERS).read_text("utf-8")
    assert [row["value"] for row in json.loads(text)["tables"]["metrics"]] == [0.5, None, None, None]
    assert "NaN" not in text
    assert "Infinity" not in text
