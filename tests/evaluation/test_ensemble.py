"""Averages of runs: what the mean is, and that validation alone chooses its members."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from src.cli.errors import UserError
from src.cohort.prepared import OwnLabel
from src.cohort.split import Split
from src.compare import CompareConfig
from src.evaluation.comparison import SavedPredictions
from src.evaluation.ensemble import ensemble_of
from src.metrics.definitions import log_softmax, measure_scores
from src.models.labelspace import LabelSpace
from src.runs.folder import RunFolder
from src.runs.predictions import Predictions, write_predictions

NOTES, CLASSES = 500, 6


def scored(split: int, member: int, skill: float, scale: float = 1.0) -> Predictions:
    """Log-probabilities of one run; errors are its own, the truth is the split's."""
    truth = np.random.default_rng(split).integers(0, CLASSES, NOTES)
    scores = np.random.default_rng([split, member]).normal(size=(NOTES, CLASSES))
    scores[np.arange(NOTES), truth] += skill
    scores = log_softmax(scale * scores).astype(np.float32)
    return Predictions(np.arange(NOTES) // 2, np.arange(NOTES), truth, {"scores": scores})


def splits(**members: tuple[float, float]) -> tuple[dict[str, Predictions], dict[str, Predictions]]:
    """Validation and test of runs with a skill and a scale each."""
    validation, test = (
        {name: scored(split, index, *shape) for index, (name, shape) in enumerate(members.items())} for split in (1, 2)
    )
    return validation, test


def test_the_mean_of_independent_runs_is_better_than_the_best_and_is_that_of_probabilities() -> None:
    validation, test = splits(a=(1.0, 1.0), b=(1.1, 1.0), c=(0.9, 1.0))
    ensemble = ensemble_of(validation, test)
    members = ensemble.members.filter("member")
    assert ensemble.name == f"ensemble ({members.height} of 3)"
    assert members.height > 1
    probabilities = [
        np.exp(log_softmax(test[run].heads["scores"] / temperature))
        for run, temperature in members.select("run", "temperature").iter_rows()
    ]
    mean = np.mean(probabilities, axis=0)
    assert np.abs(np.exp(ensemble.test.heads["scores"]) - mean).max() < 1e-6
    own, best = (measure_scores(p.heads["scores"], p.drg) for p in (ensemble.test, test[members["run"][0]]))
    assert own["macro_f1"] > best["macro_f1"] + 0.02


def test_members_are_chosen_on_validation_whatever_the_test_says() -> None:
    validation, test = splits(a=(1.0, 1.0), b=(1.1, 1.0), c=(0.2, 1.0))
    drawn = np.random.default_rng(3)
    other = {
        name: Predictions(
            p.subject_id, p.hadm_id, drawn.permutation(p.drg), {"scores": drawn.permuted(p.heads["scores"])}
        )
        for name, p in test.items()
    }
    assert ensemble_of(validation, test).members.equals(ensemble_of(validation, other).members)
    alone = {name: measure_scores(p.heads["scores"], p.drg)["macro_f1"] for name, p in validation.items()}
    table = ensemble_of(validation, test).members
    assert table["run"].to_list() == sorted(alone, key=lambda name: -alone[name])
    assert table["val_macro_f1"].to_list() == pytest.approx(sorted(alone.values(), reverse=True))
    best = table["val_macro_f1_of_mean"].arg_max()
    assert table["member"].to_list() == [rank <= best for rank in range(3)]


def test_scores_on_another_scale_count_as_much_as_those_that_are_log_probabilities() -> None:
    plain = ensemble_of(*splits(a=(1.0, 1.0), b=(1.1, 1.0)))
    squeezed = ensemble_of(*splits(a=(1.0, 0.05), b=(1.1, 1.0)))
    assert squeezed.members["member"].all()
    temperatures = dict(squeezed.members.select("run", "temperature").iter_rows())
    assert temperatures["a"] < 0.1 < temperatures["b"]
    assert np.abs(np.exp(squeezed.test.heads["scores"]) - np.exp(plain.test.heads["scores"])).max() < 1e-3


def test_where_no_mean_is_better_the_ensemble_is_the_best_run_itself() -> None:
    validation, test = splits(a=(30.0, 1.0), b=(0.0, 1.0))
    ensemble = ensemble_of(validation, test)
    assert ensemble.name == "ensemble (1 of 2)"
    assert ensemble.test is test["a"]


def test_what_a_member_calls_impossible_is_left_to_the_others() -> None:
    validation, test = splits(a=(1.0, 1.0), b=(1.1, 1.0))
    test["a"].heads["scores"][:, 0] = -np.inf
    scores = ensemble_of(validation, test).test.heads["scores"]
    assert np.isfinite(scores).all()


def test_runs_validated_on_other_notes_are_refused_by_name(tmp_path: Path) -> None:
    space = LabelSpace.from_labels([OwnLabel(name) for name in "abcdef"])
    folders = {name: tmp_path / name for name in ("first", "second")}
    for index, folder in enumerate(folders.values()):
        folder.mkdir()
        whole = scored(1, index, 1.0)
        kept = slice(0, NOTES - 100 * index)
        part = Predictions(
            whole.subject_id[kept], whole.hadm_id[kept], whole.drg[kept], {"scores": whole.heads["scores"][kept]}
        )
        write_predictions(RunFolder(folder).predictions(Split.VALIDATION), part, space)
    with pytest.raises(UserError, match=r"second: scored on 400 validation notes, not the 500 of .*first"):
        SavedPredictions(folders, Split.VALIDATION, space)
    with pytest.raises(UserError, match=r"predictions\.parquet: damaged \(no such file\)"):
        SavedPredictions(folders, Split.TEST, space)


def test_a_folder_of_runs_stands_for_those_that_are_finished(tmp_path: Path) -> None:
    for name in ("a", "b", "unfinished"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        (tmp_path / name / "result.json").write_text("{}")
    cfg = CompareConfig([str(tmp_path)], None, None, None, True)
    assert cfg.folders() == [tmp_path / "a", tmp_path / "b"]
    assert not cfg.problems()
    (tmp_path / "b" / "result.json").unlink()
    assert cfg.problems() == ["runs: two or more are compared; write python -m src.compare RUN_A RUN_B"]


def test_one_command_averages_the_runs_of_every_scheme_in_a_folder(
    runs: dict[str, Path], tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for scheme, folder in runs.items():
        shutil.copytree(folder, tmp_path / "runs" / scheme)
    (tmp_path / "runs" / "waiting").mkdir()
    (tmp_path / "runs" / "waiting" / "cell.json").write_text("{}")
    done = command("src.compare", str(tmp_path / "runs"), "ensemble=true", f"out={tmp_path / 'out'}")
    printed = done.stdout
    assert f"not finished, and left out: {tmp_path / 'runs' / 'waiting'}\n" in done.stderr
    members = pl.read_csv(tmp_path / "out" / "members.csv")
    assert sorted(members["run"]) == sorted(runs)
    name = f"ensemble ({members['member'].sum()} of 3)"
    listed = ", ".join(members.filter("member")["run"])
    assert f"{name}: mean of probabilities, members chosen by macro-F1 of validation: {listed}" in printed
    pairs = pl.read_csv(tmp_path / "out" / "differences.csv").filter(pl.col("metric") == "macro_f1")
    assert set(pairs["than"]) == {members["run"][0]}
    assert name in pairs["run"].to_list()
    assert "val_macro_f1_of_mean" in (tmp_path / "out" / "comparison.md").read_text().replace("\\", "")
