import json
import math
from pathlib import Path

from src.runs.folder import RunFolder
from src.runs.history import History, read_history


def test_curves_come_back_by_step(tmp_path: Path) -> None:
    history = History(tmp_path / "run")
    history.add(10, {"train/loss": 2.0, "labels": "two"})
    history.add(20, {"train/loss": math.nan, "val/accuracy": 0.5})
    assert read_history(tmp_path / "run") == {"train/loss": {10: 2.0}, "val/accuracy": {20: 0.5}}


def test_of_steps_that_a_resumed_run_repeats_the_last_counts(tmp_path: Path) -> None:
    for value in (2.0, 3.0):
        History(tmp_path).add(10, {"train/loss": value})
    assert read_history(tmp_path) == {"train/loss": {10: 3.0}}


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    History(tmp_path).add(10, {"train/loss": 2.0})
    with RunFolder(tmp_path).history.open("ab") as file:
        file.write(b'{"step": 20, "train/lo')
    History(tmp_path).add(30, {"train/loss": 1.0})
    assert read_history(tmp_path) == {"train/loss": {10: 2.0, 30: 1.0}}


def test_a_run_keeps_its_history_with_its_record(runs: dict[str, Path]) -> None:
    for run in runs.values():
        curves, record = read_history(run), json.loads((run / "result.json").read_text())
        assert set(curves) >= {"train/loss", "train/lr", "train/grad_norm", "val/loss", "test/accuracy"}
        assert list(curves["test/accuracy"].values()) == [record["metrics"]["test/accuracy"]]
        assert record["code"]["source"]
        assert record["axes"]["protocol"] == "clean"
