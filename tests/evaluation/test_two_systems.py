"""A model on APR-DRGs from end to end, and its comparison with one on the MS-DRGs of the same admissions."""

import json
import math
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from src.cli.errors import UserError
from src.evaluation.two_systems import PAIRED, compare_systems, several_systems
from src.reporting.run_tables import results_table
from src.scaling_analysis.analysis import analyse
from src.scaling_analysis.run_sources import read_source
from src.sweeps.status_table import leaderboard, read_rows
from tests.conftest import SHORT

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def apr(tmp_path_factory: pytest.TempPathFactory, hospital: Path, command: Command) -> Path:
    """A run of `labels=two` on the hospital's APR-DRGs, split as its MS-DRGs."""
    folder = tmp_path_factory.mktemp("apr")
    command("src.prepare", f"data.dir={hospital}", f"data.out={folder / 'cohort'}", "drg=apr")
    command("src.train", f"data.dir={folder / 'cohort'}", f"out={folder}", "labels=two", "name=apr-two", *SHORT)
    return folder / "apr-two"


def test_a_model_on_apr_drgs_is_trained_and_scored_again_alike(apr: Path, command: Command) -> None:
    printed = command("src.evaluate", str(apr)).stdout
    assert "largest difference from" in printed
    assert "severity of illness" in printed
    assert "CC/MCC" not in printed
    record = json.loads((apr / "result.json").read_text())
    assert 0 < record["metrics"]["test/base_accuracy"] <= 1
    assert 0 < record["metrics"]["test/severity_accuracy"] <= 1
    assert "test/rule_accuracy" not in record["metrics"], "the paper's rule is of MS-DRGs"
    states = pl.read_csv(apr / "evaluation" / "by_severity.csv")
    assert {str(value) for value in states[:, 0]} <= {f"severity of illness {level}" for level in range(1, 5)}


def test_tables_of_apr_runs_alone_head_the_severity_of_illness(
    apr: Path, runs: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    shutil.copytree(apr, tmp_path / "of-apr" / apr.name)
    shutil.copytree(apr, tmp_path / "of-both" / apr.name)
    shutil.copytree(runs["two"], tmp_path / "of-both" / "two")
    heads = {}
    for name in ("of-apr", "of-both"):
        scaling = analyse(read_source(str(tmp_path / name)))
        heads[name] = {column.head for column in results_table(scaling).columns}
        boards = leaderboard(read_rows(str(tmp_path / name), tmp_path)).split("\n\n")
        assert sum("severity of illness" in board for board in boards) == 1
        assert sum("CC/MCC" in board for board in boards) == len(boards) - 1
    assert "severity of illness" in heads["of-apr"]
    assert "CC/MCC" not in heads["of-apr"]
    assert "CC/MCC" in heads["of-both"], "runs of both systems in one table keep the commoner name"


def test_both_systems_are_compared_on_the_admissions_that_both_label(
    apr: Path, runs: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "out"
    printed = command("src.compare", str(runs["two"]), str(runs["single"]), str(apr), f"out={out}").stdout
    tests = {run.name: pl.read_parquet(run / "predictions.parquet") for run in (runs["two"], apr)}
    common = tests["two"].join(tests["apr-two"], "hadm_id", suffix="_apr")
    assert 0 < common.height < tests["two"].height, "an admission that one system alone labels is left out"
    assert f"{common.height:,} test admissions that all label" in printed
    assert "The label spaces differ" in printed
    assert (out / "comparison.md").is_file()

    metrics = pl.read_csv(out / "metrics.csv")
    for run, drg in (("two", "drg"), ("apr-two", "drg_apr")):
        path = {"two": runs["two"], "apr-two": apr}[run] / "predictions.parquet"
        codes = json.loads(pl.read_parquet_metadata(path)["scores"])
        scores = common["scores" if run == "two" else "scores_apr"].to_numpy()
        right = [codes[index] == code for index, code in zip(scores.argmax(1), common[drg], strict=True)]
        row = metrics.row(by_predicate=(pl.col("run") == run) & (pl.col("metric") == "accuracy"), named=True)
        assert row["value"] == pytest.approx(sum(right) / common.height, abs=1e-6)
        assert row["low"] <= row["value"] <= row["high"]
        assert {"macro_f1", *PAIRED} <= set(metrics.filter(pl.col("run") == run)["metric"])

    differences = pl.read_csv(out / "differences.csv")
    across = differences.filter((pl.col("run") == "apr-two") | (pl.col("than") == "apr-two"))
    assert set(across["metric"]) == set(PAIRED)
    assert across.height == 2 * len(PAIRED)
    assert "macro_f1" in set(differences.filter((pl.col("run") == "single") & (pl.col("than") == "two"))["metric"])

    yardsticks = pl.read_csv(out / "yardsticks.csv")
    assert yardsticks.select("system", "task").rows() == [
        (system, task) for system in ("MS-DRG v34", "APR-DRG") for task in ("DRG", "base DRG", "severity")
    ]
    counts = Counter(common["drg_apr"])
    row = yardsticks.row(by_predicate=(pl.col("system") == "APR-DRG") & (pl.col("task") == "DRG"), named=True)
    assert (row["labels"], row["seen"]) == (len(codes), len(counts))
    assert row["commonest"] == pytest.approx(max(counts.values()) / common.height, abs=1e-6)
    shares = [count / common.height for count in counts.values()]
    assert row["entropy"] == pytest.approx(-sum(share * math.log2(share) for share in shares), abs=1e-6)


def test_what_does_not_go_with_two_systems_is_refused(apr: Path, runs: dict[str, Path], command: Command) -> None:
    words = [str(runs["two"]), str(apr)]
    stderr = command("src.compare", *words, "ensemble=true", f"data_dir={apr.parent}", ok=False).stderr
    assert "ensemble=true: the runs are of several DRG systems" in stderr
    assert f"data_dir={apr.parent}: the runs are of several DRG systems" in stderr
    assert not several_systems([runs["two"], runs["single"]])


def _with_cohort(run: Path, out: Path, **columns: pl.Expr) -> Path:
    """Copies a run and its cohort, some columns of the cohort's notes made anew."""
    record = json.loads((run / "result.json").read_text())
    shutil.copytree(record["config"]["data"]["dir"], out / "cohort")
    notes = out / "cohort" / "notes.parquet"
    pl.read_parquet(notes).with_columns(**columns).write_parquet(notes)
    shutil.copytree(run, out / run.name)
    record["config"]["data"]["dir"] = str(out / "cohort")
    (out / run.name / "result.json").write_text(json.dumps(record))
    return out / run.name


def test_an_admission_whose_texts_differ_is_told(apr: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    other = _with_cohort(apr, tmp_path, text=pl.col("text") + " more")
    with pytest.raises(UserError, match=r"test admissions have another text than in .*; prepare both cohorts"):
        compare_systems([runs["two"], other])


def test_tests_that_share_no_admission_or_have_one_twice_are_told(
    apr: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(apr, other)
    path = other / "predictions.parquet"
    table, metadata = pl.read_parquet(path), pl.read_parquet_metadata(path)
    scores = {name: value for name, value in metadata.items() if name.endswith("scores")}
    table.with_columns(hadm_id=-pl.col("hadm_id")).write_parquet(path, metadata=scores)
    with pytest.raises(UserError, match=r"no admission is in the test of every run \(two .*other .*split_file="):
        compare_systems([runs["two"], other])
    pl.concat([table, table.head(1)]).write_parquet(path, metadata=scores)
    with pytest.raises(UserError, match="other: its test has admissions with several notes"):
        compare_systems([runs["two"], other])
