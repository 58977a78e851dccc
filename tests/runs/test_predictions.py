import json
from pathlib import Path

import numpy as np
import polars as pl

from src.cohort.apr import apr_drg
from src.cohort.msdrg import load_drgs, recombine
from src.models.labelspace import LabelSpace
from src.runs.predictions import Predictions, by_rule, measure, read_predictions, write_predictions

SPACE = LabelSpace.from_labels(list(load_drgs().values()))


def made(notes: int = 40) -> Predictions:
    draw = np.random.default_rng(0)
    heads = {
        "scores": draw.normal(size=(notes, 757)).astype(np.float32),
        "base_scores": draw.normal(size=(notes, 340)).astype(np.float32),
        "severity_scores": draw.normal(size=(notes, 5)).astype(np.float32),
    }
    return Predictions(np.arange(notes), np.arange(notes) + 100, draw.integers(0, 757, notes), heads)


def test_the_rule_recombines_every_base_with_every_state() -> None:
    base, severity = (each.ravel() for each in np.meshgrid(np.arange(340), np.arange(5), indexing="ij"))
    found = by_rule(base, severity, SPACE)
    for k, s, drg in zip(base, severity, found, strict=True):
        allowed = {SPACE.severities[state] for state in np.flatnonzero(SPACE.states[k])}
        assert SPACE.base[drg] == k
        assert SPACE.severities[SPACE.severity[drg]] == recombine(allowed, SPACE.severities[s])


def test_right_heads_make_a_right_drg() -> None:
    truth = np.arange(757)
    heads = {
        "scores": np.eye(757, dtype=np.float32),
        "base_scores": np.eye(340, dtype=np.float32)[SPACE.base],
        "severity_scores": np.eye(5, dtype=np.float32)[SPACE.severity],
    }
    found = measure(Predictions(truth, truth, truth, heads), SPACE)
    names = ("accuracy", "rule_accuracy", "base_accuracy", "severity_accuracy", "macro_f1")
    assert {found[name] for name in names} == {1.0}


def test_the_papers_rule_is_of_ms_drgs_alone() -> None:
    space = LabelSpace.from_labels([apr_drg(code, {}) for code in ("194-1", "194-4", "720-2")])
    truth = np.arange(3)
    right = np.eye(3, dtype=np.float32)
    heads = {"scores": right, "base_scores": np.eye(2, dtype=np.float32)[space.base], "severity_scores": right}
    metrics = measure(Predictions(truth, truth, truth, heads), space)
    assert metrics["base_accuracy"] == metrics["accuracy"] == 1.0
    assert not [name for name in metrics if name.startswith("rule_")]


def test_predictions_come_back_as_they_were_written(tmp_path: Path) -> None:
    predictions = made()
    write_predictions(tmp_path / "p.parquet", predictions, SPACE)
    again = read_predictions(tmp_path / "p.parquet", SPACE)
    assert np.array_equal(again.drg, predictions.drg)
    assert all(np.array_equal(again.heads[name], values) for name, values in predictions.heads.items())
    assert measure(again, SPACE) == measure(predictions, SPACE)


def test_the_file_says_which_score_is_which_drg(tmp_path: Path) -> None:
    predictions, path = made(), tmp_path / "p.parquet"
    write_predictions(path, predictions, SPACE)
    table, named = pl.read_parquet(path), pl.read_parquet_metadata(path)
    scores = pl.DataFrame(table["scores"].to_numpy(), schema=json.loads(named["scores"]))
    assert scores["291"].to_list() == predictions.heads["scores"][:, SPACE.index["291"]].tolist()
    assert tuple(json.loads(named["base_scores"])) == SPACE.bases
    assert tuple(json.loads(named["severity_scores"])) == SPACE.severities


def test_a_file_without_names_reads_as_before(tmp_path: Path) -> None:
    predictions, path = made(), tmp_path / "p.parquet"
    write_predictions(path, predictions, SPACE)
    pl.read_parquet(path).write_parquet(path)
    assert "scores" not in pl.read_parquet_metadata(path)
    assert measure(read_predictions(path, SPACE), SPACE) == measure(predictions, SPACE)
