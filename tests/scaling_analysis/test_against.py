"""Every cell beside one of them: what a cell brings, also for DRGs with few training notes."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score

from src.cli.errors import UserError
from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.evaluation.error_tables import BANDS
from src.evaluation.groups import band_name
from src.metrics.intervals import difference
from src.models.labelspace import LabelSpace
from src.reporting.against_section import against_drawing, against_table
from src.runs.finished import Run, read_run
from src.runs.folder import RunFolder
from src.runs.predictions import parts, read_predictions
from src.scaling_analysis.against import BAND, COMPARED, BandF1, compare_against
from src.scaling_analysis.analysis import analyse
from src.scaling_analysis.run_sources import Source


@pytest.fixture(scope="module")
def finished(runs: dict[str, Path]) -> list[Run]:
    return [read_run(folder) for folder in runs.values()]


def test_f1_of_a_band_is_scikit_learns_over_the_drgs_that_have_notes() -> None:
    dice = np.random.default_rng(0)
    target, predicted = dice.integers(0, 12, 200), dice.integers(0, 15, 200)
    bands = {"few": np.arange(15) < 5, "many": np.arange(15) >= 5}
    measured = BandF1(predicted, target, bands).over(np.ones((1, 200)))
    for name, inside in bands.items():
        labels = np.intersect1d(np.flatnonzero(inside), target)
        expected = f1_score(target, predicted, labels=labels, average="macro", zero_division=0)
        assert measured[BAND + name] == pytest.approx(expected)


def test_cells_are_paired_with_the_base_over_the_same_patients(
    finished: list[Run], runs: dict[str, Path], cohort: Path
) -> None:
    against = compare_against(finished, "two", data_dir=cohort)
    space = LabelSpace.from_labels(read_cohort(cohort).labels)
    labels = {index: cell.axes["labels"] for index, cell in enumerate(against.cells) if cell}
    assert labels[against.base] == "two"
    own = {name: parts(read_predictions(RunFolder(runs[name]).predictions(Split.TEST), space), space) for name in runs}
    for index in set(labels) - {against.base}:
        row = against.differences[index, "test/accuracy"]
        expected = difference(own[labels[index]]["accuracy"], own["two"]["accuracy"])
        assert row.value == pytest.approx(expected.value, abs=1e-6)
        assert row.how == "predictions"
        assert row.p_holm >= row.p or np.isnan(row.p)


def test_bands_hold_every_test_note_once_and_average_to_macro_f1(finished: list[Run], cohort: Path) -> None:
    against = compare_against(finished, "single", data_dir=cohort)
    rows = read_cohort(cohort).rows(Split.TEST, 48)
    assert sum(band.notes for band in against.bands) == 48
    assert sum(band.drgs for band in against.bands) == rows["drg"].n_unique()
    trained = dict(read_cohort(cohort).rows(Split.TRAIN, 48)["drg"].value_counts().iter_rows())
    unseen = sum(drg not in trained for drg in rows["drg"])
    assert next(band.notes for band in against.bands if band.name == band_name(*BANDS[0])) == unseen
    for cell in filter(None, against.cells):
        whole = sum(cell.metrics[BAND + band.name].mean * band.drgs for band in against.bands)
        assert whole / rows["drg"].n_unique() == pytest.approx(cell.metrics[COMPARED[0]].mean, abs=1e-6)


def test_a_report_shows_the_base_without_a_difference_and_bands_of_ten_patients(
    finished: list[Run], cohort: Path
) -> None:
    against = compare_against(finished, "single", data_dir=cohort)
    scaling = analyse(Source(finished, [], closed=True), data_dir=cohort)
    table = against_table(scaling, against)
    (base,) = [row for row in table.rows if "(compared with)" in str(row[0])]
    brings = [index for index, column in enumerate(table.columns) if column.name.endswith(("_brings", "_p"))]
    assert [base[index] for index in brings] == [None] * 4
    assert all(row[index] is not None for row in table.rows if row is not base for index in brings)
    small = dataclasses.replace(against, bands=[dataclasses.replace(band, patients=9) for band in against.bands])
    assert len(against_table(scaling, small).columns) == len(table.columns) - sum(
        column.name.startswith("macro_f1_") and column.name[9:10].isdigit() for column in table.columns
    )
    assert against_drawing(scaling, small) == []


def test_what_cannot_be_compared_is_named(finished: list[Run], cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="against=four: is none of the runs; there are joint, single, two"):
        compare_against(finished, "four", data_dir=cohort)
    others = [dataclasses.replace(run, folder=None) if run.name == "two" else run for run in finished]
    with pytest.raises(UserError, match="two is of W&B, which has no predictions"):
        compare_against(others, "single", data_dir=cohort)
    shutil.copytree(str(finished[0].folder), tmp_path / "fewer")
    path = RunFolder(tmp_path / "fewer").predictions(Split.TEST)
    pl.read_parquet(path).head(40).write_parquet(path)
    with pytest.raises(UserError, match="fewer: tested on other notes than"):
        compare_against([*finished[1:], dataclasses.replace(finished[0], name="fewer", folder=tmp_path / "fewer")],
                        finished[1].name, data_dir=cohort)  # fmt: skip
