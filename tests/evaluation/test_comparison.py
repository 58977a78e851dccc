import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from src.cli.errors import UserError
from src.compare import CompareConfig, with_runs_named
from src.evaluation.comparison import as_text, compare, read_runs
from src.metrics.intervals import holm
from src.models.labelspace import LabelSpace
from src.runs.predictions import Predictions, measure

Command = Callable[..., subprocess.CompletedProcess[str]]


def made(skill: float, notes: int = 400) -> Predictions:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 4, notes)
    scores = draw.normal(size=(notes, 4)).astype(np.float32)
    scores[np.arange(notes), truth] += np.float32(skill)
    return Predictions(np.arange(notes) // 2, np.arange(notes), truth, {"scores": scores})


@pytest.fixture(scope="module")
def space() -> LabelSpace:
    from src.cohort.prepared import OwnLabel

    return LabelSpace.from_labels([OwnLabel(name) for name in "abcd"])


def test_every_pair_has_the_difference_of_its_metrics_corrected_within_a_metric(space: LabelSpace) -> None:
    runs = {"poor": made(0.5), "same": made(0.5), "good": made(2.0)}
    found = compare(runs, space)
    values = {(run, metric): value for run, metric, value in found.metrics.select("run", "metric", "value").iter_rows()}
    for name, tested in runs.items():
        for metric, value in measure(tested, space).items():
            assert values[name, metric] == pytest.approx(value, abs=1e-6)
    for row in found.differences.to_dicts():
        expected = values[row["run"], row["metric"]] - values[row["than"], row["metric"]]
        assert row["difference"] == pytest.approx(expected, abs=1e-9)
        assert row["low"] <= row["difference"] <= row["high"]
    accuracy = found.differences.filter(pl.col("metric") == "accuracy")
    assert accuracy.select("run", "than").rows() == [("same", "poor"), ("good", "poor"), ("good", "same")]
    assert accuracy["p"].to_list()[0] == 1.0
    assert accuracy["p_holm"][1] < 1e-6
    assert accuracy["p_holm"].to_list() == holm(accuracy["p"].to_list())
    assert "good - poor" in as_text(found)


def test_a_baseline_is_compared_with_every_other_run(space: LabelSpace) -> None:
    runs = {"a": made(0.5), "b": made(1.0), "c": made(2.0)}
    pairs = compare(runs, space, baseline="b").differences.filter(pl.col("metric") == "top5").select("run", "than")
    assert pairs.rows() == [("a", "b"), ("c", "b")]


def test_the_command_compares_runs_that_stand_alone(runs: dict[str, Path], tmp_path: Path, command: Command) -> None:
    words = [str(runs["single"]), f"{runs['two']}/", f"out={tmp_path / 'out'}"]
    told = command("src.compare", *words, fresh=True).stdout
    assert "two - single" in told
    table = pl.read_csv(tmp_path / "out" / "differences.csv")
    assert {"accuracy", "macro_f1", "macro_f1_all", "micro_f1", "base_macro_f1"} <= set(table["metric"])
    recorded = [json.loads((runs[name] / "result.json").read_text())["metrics"] for name in ("two", "single")]
    row = table.row(by_predicate=pl.col("metric") == "macro_auc", named=True)
    expected = recorded[0]["test/macro_auc"] - recorded[1]["test/macro_auc"]
    assert row["difference"] == pytest.approx(expected, abs=1e-6)


def test_runs_on_different_test_sets_are_refused(runs: dict[str, Path], tmp_path: Path, command: Command) -> None:
    shutil.copytree(runs["single"], tmp_path / "fewer")
    table = pl.read_parquet(runs["single"] / "predictions.parquet")
    table.head(40).write_parquet(tmp_path / "fewer" / "predictions.parquet")
    told = command("src.compare", str(runs["single"]), str(tmp_path / "fewer"), ok=False).stderr
    assert "40 test notes, not the 48" in told
    shutil.copytree(runs["single"], tmp_path / "other")
    record = json.loads((runs["single"] / "result.json").read_text())
    (tmp_path / "other" / "result.json").write_text(json.dumps(record | {"cohort": "another"}))
    with pytest.raises(UserError, match="tested on the cohort another"):
        read_runs([runs["single"], tmp_path / "other"])


def test_a_damaged_run_is_left_out_of_a_comparison_and_named(
    runs: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    shutil.copytree(runs["single"], tmp_path / "torn")
    (tmp_path / "torn" / "result.json").write_text("{")
    words = [str(runs["single"]), str(runs["two"]), str(tmp_path / "torn")]
    done = command("src.compare", *words)
    assert f"{tmp_path / 'torn'}/result.json: damaged (no JSON at byte 1); left out" in done.stderr
    assert "two - single" in done.stdout
    assert "baseline=torn: its record is damaged" in command("src.compare", *words, "baseline=torn", ok=False).stderr
    told = command("src.compare", *words[1:], ok=False).stderr
    assert "fewer than two runs are left to compare" in told
    (tmp_path / "torn" / "result.json").write_bytes((runs["single"] / "result.json").read_bytes())
    (tmp_path / "torn" / "predictions.parquet").write_bytes(b"PAR1")
    told = command("src.compare", *words, ok=False).stderr
    assert f"{tmp_path / 'torn'}/predictions.parquet: damaged (" in told
    assert "Traceback" not in told


def test_every_problem_of_a_comparison_is_told_at_once(runs: dict[str, Path]) -> None:
    cfg = CompareConfig([str(runs["two"]), "nowhere/two"], "three", None, None, False)
    told = "\n".join(cfg.problems())
    assert "runs=nowhere/two: no result.json" in told
    assert "two comes twice" in told
    assert "baseline=three" in told
    assert "two or more" in CompareConfig([], None, None, None, False).problems()[0]


def test_a_folder_with_an_equals_sign_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "model=nano").mkdir()
    assert with_runs_named([f"{tmp_path}/model=nano"]) == [f"runs=['{tmp_path}/model=nano']"]


def test_a_difference_whose_chance_is_not_known_is_no_comparison_and_corrects_no_other() -> None:
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
