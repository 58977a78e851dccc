from pathlib import Path

from src.runs.record import RunRecord
from src.runs.state import RunStatus
from src.runs.status import StatusSnapshot
from src.sweeps.status_table import Row, csv_rows, leaderboard


def finished_row(name: str, cohort: str, accuracy: float) -> Row:
    record = RunRecord(
        cohort=cohort * 20,
        config={"data": {"dir": f"data/{cohort}"}},
        counts={"test": 100},
        metrics={"test/accuracy": accuracy, "test/macro_f1": accuracy},
        axes={},
    )
    return Row(name, "", StatusSnapshot(RunStatus.FINISHED, None, None), None, record, Path(name))


def test_runs_of_one_cohort_are_ranked_in_one_list() -> None:
    board = leaderboard([finished_row("low", "a", 0.2), finished_row("high", "a", 0.4)])
    assert "cohort" not in board
    assert [line.split()[:2] for line in board.splitlines()[1:]] == [["1", "high"], ["2", "low"]]


def test_each_cohort_has_ranks_of_its_own() -> None:
    rows = [finished_row("low", "a", 0.2), finished_row("easy", "b", 0.9), finished_row("high", "a", 0.4)]
    first, second = leaderboard(rows).split("\n\n")
    assert first.splitlines()[0] == "cohort bbbbbbbbbbbb: data/b"
    assert [line.split()[:2] for line in first.splitlines()[2:]] == [["1", "easy"]]
    assert second.splitlines()[0] == "cohort aaaaaaaaaaaa: data/a"
    assert [line.split()[:2] for line in second.splitlines()[2:]] == [["1", "high"], ["2", "low"]]


def test_the_table_names_each_rows_cohort() -> None:
    head, body = csv_rows([finished_row("low", "a", 0.2), finished_row("easy", "b", 0.9)])
    assert [row[head.index("cohort")] for row in body] == ["a" * 20, "b" * 20]
