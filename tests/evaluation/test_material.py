"""What an evaluation needs is read before its scoring, which takes hours."""

import shutil
from pathlib import Path

import pytest

from src.cli.errors import UserError
from src.cohort.admissions import ADMISSIONS
from src.evaluate import EvaluateConfig, evaluate
from src.runs.folder import SCORED, RunFolder


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A finished run without its adapters: whoever begins to score meets their lack."""
    shutil.copytree(runs["single"], tmp_path / "run")
    shutil.rmtree(RunFolder(tmp_path / "run").adapter)
    return tmp_path / "run"


def config(run: Path, **changed: object) -> EvaluateConfig:
    values = {"data_dir": None, "device": "cpu", "prefixes": [], "table5": None, **changed}
    return EvaluateConfig(run=str(run), **values)  # type: ignore[arg-type]


def test_tables_and_predictions_are_read_before_the_scoring(run: Path, cohort: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    table.write_text("MS-DRG\tWeights\n001\t281000\n", "utf-8")
    with pytest.raises(UserError, match="row 2: DRG 001 has the weight '281000'"):
        evaluate(config(run, table5=str(table)))
    shutil.copytree(cohort, tmp_path / "cohort")
    (tmp_path / "cohort" / ADMISSIONS).write_bytes(b"damaged")
    with pytest.raises(UserError, match=f"{ADMISSIONS}: damaged"):
        evaluate(config(run, data_dir=str(tmp_path / "cohort")))
    for split in SCORED:
        RunFolder(run).predictions(split).write_bytes(b"damaged")
    with pytest.raises(UserError, match="predictions"):
        evaluate(config(run))


def test_a_table_that_hardly_covers_the_classes_is_said_before_the_scoring(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "FY 2017.txt"
    table.write_text("MS-DRG\tWeights\n001\t28.1\n", "utf-8")
    with pytest.raises((UserError, OSError), match="adapter"):
        evaluate(config(run, table5=str(table)))
    said = capsys.readouterr().out
    assert "weights of FY 2017: 1 of 757 DRGs have one, 0 %; the cost leaves out others" in said
