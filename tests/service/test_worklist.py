import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import polars as pl
import pytest
from starlette.testclient import TestClient

from src.service.request_limits import LOOPBACK, RequestLimits
from src.service.scoring_queue import ScoringQueue
from src.service.worklist import IN_BACKGROUND, Encounter, Filters, Worklist
from tests.service.desks import NOTE, desk_of, proposal


class Scorer:
    """Proposes a DRG for each case once it may go on; the notes of a queue are scored by the same thread."""

    def __init__(self) -> None:
        self.started, self.go, self.batches = Event(), Event(), list[list[str]]()
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, cases: Sequence[Encounter]) -> list[Encounter]:
        self.started.set()
        assert self.go.wait(10)
        self.batches.append([case.id for case in cases])
        if any(case.note == "bad" for case in cases):
            raise ValueError("words of a note")
        return [replace(case, proposal=proposal("313"), worth=float(case.id[1:])) for case in cases]

    def notes(self, rows: pl.DataFrame) -> pl.DataFrame:
        self.batches.append(["a request"])
        self.meanwhile()
        return rows


@pytest.fixture
def scorer() -> Scorer:
    return Scorer()


@pytest.fixture
def queue(scorer: Scorer) -> Iterator[ScoringQueue]:
    queue = ScoringQueue(scorer.notes, 8)
    yield queue
    scorer.go.set()
    queue.close()


def cases(count: int) -> list[Encounter]:
    return [Encounter(f"c{number:02d}", NOTE, None) for number in range(count)]


def until_scored(worklist: Worklist) -> None:
    end = time.monotonic() + 10
    while worklist.progress:
        assert time.monotonic() < end, worklist.progress
        time.sleep(0.01)


def test_requests_and_opened_cases_are_scored_before_the_rest_of_the_worklist(
    scorer: Scorer, queue: ScoringQueue
) -> None:
    worklist = Worklist(cases(20), queue, scorer)
    with worklist.scoring(), ThreadPoolExecutor(1) as coder:
        request = queue.put(pl.DataFrame({"id": ["a"]}), "ann")
        opened = coder.submit(worklist.opened, "c19")
        while queue._thread._work_queue.qsize() < 2:
            time.sleep(0.01)
        scorer.go.set()
        case = opened.result(10)
        assert request.result(10).height == 1
        until_scored(worklist)
    assert case
    assert case.proposal["drg"] == "313"
    ids = [case.id for case in cases(20)]
    assert scorer.batches == [ids[:IN_BACKGROUND], ["a request"], ["c19"], ids[8:16], ids[16:19]]
    assert [case.id for case in worklist] == ids[::-1]
    assert worklist.opened("c99") is None


def test_a_request_that_comes_while_the_worklist_waits_for_its_turn_goes_first(
    scorer: Scorer, queue: ScoringQueue
) -> None:
    def second() -> None:
        if len(scorer.batches) == 2:
            queue.put(pl.DataFrame({"id": ["b"]}), "bo")

    scorer.meanwhile = second
    worklist = Worklist(cases(10), queue, scorer)
    with worklist.scoring():
        assert scorer.started.wait(10)
        queue.put(pl.DataFrame({"id": ["a"]}), "ann")
        scorer.go.set()
        until_scored(worklist)
    assert [batch[0] for batch in scorer.batches] == ["c00", "a request", "a request", "c08"]


def test_the_page_and_the_terminal_say_how_far_it_is_and_unread_cases_stand_at_the_end(
    scorer: Scorer,
    queue: ScoringQueue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("src.cli.progress.SECONDS_BETWEEN_LINES", 0.0)
    scored = Encounter("c98", NOTE, None, proposal(reasons=("no section: hospital course",)))
    worklist = Worklist([*cases(9), scored], queue, scorer)
    app, desk = desk_of(tmp_path / "log", worklist=worklist)
    client = TestClient(RequestLimits(app, 20_000, 5.0, LOOPBACK), base_url="http://127.0.0.1")
    client.post("/desk/login", data={"name": "ann"})
    with worklist.scoring():
        page = client.get("/desk").text
        assert "Scoring the worklist: 0 of 9. " in page
        assert page.count("<td>not read yet</td>") == 9
        assert re.findall(r"case\?id=(c\d+)", page) == ["c98", *(case.id for case in cases(9))]
        assert len(list(Filters(decision="defer").of(worklist, {}))) == 1
        assert desk.next_case("ann") == "c98"
        with ThreadPoolExecutor(1) as coder:
            opened = coder.submit(client.get, "/desk/case?id=c08")
            scorer.go.set()
            assert "Accept 313" in opened.result(10).text
        until_scored(worklist)
    page = client.get("/desk").text
    assert ("Scoring" in page, "not read yet" in page) == (False, False)
    assert re.findall(r"case\?id=(c\d+)", page) == ["c98", *(case.id for case in cases(9)[::-1])]
    lines = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"scoring the worklist: 8 of 9, 0:\d\d gone, 0:0\d left", lines[0])
    desk.log.close()


def test_the_page_has_the_estimate_of_the_time_left(scorer: Scorer, queue: ScoringQueue) -> None:
    worklist = Worklist(cases(20), queue, scorer)
    worklist._clock.done = 5
    worklist._clock.start = time.monotonic() - 60
    assert worklist.progress == "scoring the worklist: 5 of 20, 1:00 gone, 3:00 left"


def test_a_case_that_cannot_be_scored_is_said_to_be_and_keeps_no_other_back(
    scorer: Scorer, queue: ScoringQueue, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scorer.go.set()
    worklist = Worklist([*cases(10), Encounter("c50", "bad", None)][::-1], queue, scorer)
    app, desk = desk_of(tmp_path / "log", worklist=worklist)
    client = TestClient(RequestLimits(app, 20_000, 5.0, LOOPBACK), base_url="http://127.0.0.1")
    client.post("/desk/login", data={"name": "ann"})
    with worklist.scoring():
        until_scored(worklist)
        assert [case.id for case in worklist if case.proposal["drg"] is None] == ["c50"]
        answer = client.get("/desk/case?id=c50")
    assert answer.status_code == 200
    assert "the model could not read it" in answer.text
    assert ">Override<" in answer.text
    assert ">Accept " not in answer.text
    shown = capfd.readouterr().err
    assert shown.count("a case cannot be scored: ValueError at ") == 2
    assert "words of a note" not in shown
    desk.log.close()


def test_scoring_ends_with_the_service(scorer: Scorer) -> None:
    queue = ScoringQueue(scorer.notes, 8)
    with Worklist(cases(20), queue, scorer).scoring(), ThreadPoolExecutor(1) as ending:
        assert scorer.started.wait(10)
        closed = ending.submit(queue.close)
        time.sleep(0.05)
        scorer.go.set()
        closed.result(10)
    assert len(scorer.batches) == 1
