import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from src.cli.errors import UserError
from src.cli.signals import Stop
from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.inference.model import open_model, open_models
from src.runs.folder import RunFolder
from src.runs.kept_cohort import kept_of
from src.runs.predictions import read_predictions


def without_its_cohort(run: Path, copy: Path) -> Path:
    """A copy of a run whose record names a cohort that is not there."""
    shutil.copytree(run, copy, symlinks=True)
    record = json.loads((copy / "result.json").read_text())
    record["config"]["data"]["dir"] = str(copy / "gone")
    (copy / "result.json").write_text(json.dumps(record))
    return copy


def notes(cohort: Path, split: Split, limit: int = 48) -> pl.DataFrame:
    return read_cohort(cohort).notes(split, limit)


@pytest.mark.parametrize("scheme", ["single", "two", "joint"])
def test_a_run_scores_notes_where_its_cohort_is_not(
    scheme: str, runs: dict[str, Path], cohort: Path, tmp_path: Path
) -> None:
    rows = notes(cohort, Split.TEST)[:9]
    model = open_model(without_its_cohort(runs[scheme], tmp_path / "run"), "cpu")
    expected = read_predictions(RunFolder(runs[scheme]).predictions(Split.TEST), model.space).heads["scores"][:9]
    scores = model.predictor.score(rows.select("text"), Stop())["scores"]
    assert np.allclose(scores, expected, atol=1e-5)
    assert np.allclose(model.predictor.score(rows[4:5], Stop())["scores"], scores[4:5], atol=1e-5)
    calibrated = model.log_probabilities(rows, Stop())
    assert np.allclose(np.exp(calibrated).sum(1), 1)
    assert (calibrated.argmax(1) == scores.argmax(1)).all()


def test_a_mean_of_runs_is_the_mean_of_their_calibrated_probabilities(runs: dict[str, Path], cohort: Path) -> None:
    rows = notes(cohort, Split.TEST)[:5]
    both = open_models([runs["single"], runs["two"]], "cpu")
    alone = [np.exp(model.log_probabilities(rows, Stop())) for model in both.members]
    assert np.allclose(both.probabilities(rows, Stop()), (alone[0] + alone[1]) / 2)
    validation = both.probabilities(notes(cohort, Split.VALIDATION), Stop())
    right = validation.argmax(1) == both.first.validation.drg
    aim = float(right.mean())
    threshold = both.threshold(aim)
    assert threshold is not None
    kept = validation.max(1) >= threshold - 1e-6
    assert right[kept].mean() >= aim
    assert both.threshold(1.1) is None


def test_runs_of_two_cohorts_are_not_averaged(runs: dict[str, Path], tmp_path: Path) -> None:
    other = without_its_cohort(runs["two"], tmp_path / "other")
    record = json.loads((other / "result.json").read_text())
    (other / "result.json").write_text(json.dumps({**record, "cohort": "0123456789abcdef"}))
    with pytest.raises(UserError, match=r"other: of cohort 0123456789abcdef, and .*only runs of one cohort"):
        open_models([runs["single"], other], "cpu")


def test_a_run_of_an_earlier_version_asks_for_its_cohort(runs: dict[str, Path], cohort: Path, tmp_path: Path) -> None:
    run = without_its_cohort(runs["two"], tmp_path / "run")
    (run / "cohort.json").unlink()
    with pytest.raises(UserError, match=r"earlier version trained it, and it keeps nothing of its cohort; .*data_dir="):
        open_model(run, "cpu")
    model = open_model(run, "cpu", cohort)
    kept = kept_of(read_cohort(cohort), 48)
    assert model.kept.record == kept.record
    assert (model.kept.words.seen == kept.words.seen).all()


@pytest.mark.parametrize(("name", "content"), [("words.npz", b"PK"), ("words.npz", b""), ("cohort.json", b"{")])
def test_a_damaged_file_of_what_a_run_kept_is_named(
    name: str, content: bytes, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = without_its_cohort(runs["two"], tmp_path / "run")
    (run / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: damaged .*name its cohort with data_dir="):
        open_model(run, "cpu")


def test_what_a_run_kept_tells_notes_unlike_its_training_notes(cohort: Path, runs: dict[str, Path]) -> None:
    model = open_model(runs["two"], "cpu")
    shares = model.kept.words.unseen_share(notes(cohort, Split.TRAIN)["text"])
    assert (shares == 0).all()
    foreign = pl.Series(["El paciente ingresa por dolor de pecho y disnea de esfuerzo desde hace varias semanas."])
    (share,) = model.kept.words.unseen_share(foreign)
    assert share > model.kept.record["unseen_words"]
    text = (runs["two"] / "cohort.json").read_text()
    assert set(json.loads(text)) == {
        "fingerprint", "drg_version", "protocol", "sections", "headings", "fewest_words", "unseen_words",
    }  # fmt: skip
