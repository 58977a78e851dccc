import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from src.cohort.weights import weights_for
from src.inference.model import open_models
from src.inference.proposals import Proposer
from src.service.access import Access, Expose
from src.service.action_log import ActionLog
from src.service.desk import Desk
from src.service.open_desk import open_desk
from src.service.scoring_queue import ScoringQueue
from src.service.served_notes import scored_by

NOTES = pl.DataFrame(
    {"id": ["c1", "c2"], "text": ["Brief hospital course: fever. Cough.", "nothing"], "days": [1.5, None]}
)


@pytest.fixture(scope="module")
def proposer(runs: dict[str, Path]) -> Proposer:
    return Proposer(open_models([runs["two"]], "cpu"), weights_for("v34"))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ActionLog]:
    with closing(ActionLog(tmp_path / "log")) as log:
        yield log


def opened(proposer: Proposer, log: ActionLog, notes: pl.DataFrame = NOTES) -> tuple[Desk, str]:
    """The desk of a service that runs until its cases are scored, and what it said of its progress at the start."""
    score = scored_by(proposer)
    with closing(ScoringQueue(score, 8)) as queue:
        desk = open_desk(proposer, queue, log, Access(Expose.LOOPBACK, {}, b""), notes, None)
        said, end = desk.worklist.progress, time.monotonic() + 20
        with desk.worklist.scoring():
            while desk.worklist.progress:
                assert time.monotonic() < end
                time.sleep(0.01)
        case = desk.worklist.opened("c1")
        assert case
        assert {sentence for sentence, _ in desk.explain(case.note, case.proposal["drg"], None)} == {"fever.", "Cough."}
    return desk, said


def test_a_restart_scores_what_the_same_run_has_not_scored_of_the_same_notes(
    proposer: Proposer, log: ActionLog
) -> None:
    first, said = opened(proposer, log)
    assert said == "scoring the worklist: 0 of 2"
    again, said = opened(proposer, log)
    assert said == ""
    assert list(again.worklist) == list(first.worklist)
    assert [case.id for case in first.worklist] == ["c2", "c1"]
    more = pl.DataFrame({"id": ["new", "c1"], "text": ["another", NOTES["text"][0]], "days": [None, None]})
    assert opened(proposer, log, more)[1] == "scoring the worklist: 0 of 1"
    assert opened(replace(proposer, aim=0.5), log)[1] == "scoring the worklist: 0 of 2"


def test_what_is_kept_for_a_restart_holds_no_note_and_a_locked_log_does_not_stop_scoring(
    proposer: Proposer, log: ActionLog, tmp_path: Path
) -> None:
    log._base.execute("PRAGMA busy_timeout = 20")
    with closing(ScoringQueue(scored_by(proposer), 8)) as queue, closing(sqlite3.connect(tmp_path / "log")) as another:
        desk = open_desk(proposer, queue, log, Access(Expose.LOOPBACK, {}, b""), NOTES, None)
        another.execute("BEGIN EXCLUSIVE")
        case = desk.worklist.opened("c1")
        assert case
        assert case.proposal["drg"]
        another.rollback()
        assert log.proposals(proposer.fingerprint()) == {}
        desk.worklist.opened("c2")
    rows = log.proposals(proposer.fingerprint())
    assert len(rows) == 1
    assert "nothing" not in str(rows)
