import time
from concurrent.futures import CancelledError
from threading import Event, Thread

import polars as pl
import pytest

from src.service.scoring_queue import NOTES_A_BATCH, QueueFullError, ScoringQueue, ShareFullError


def notes(*texts: str) -> pl.DataFrame:
    return pl.DataFrame({"id": ["same"] * len(texts), "text": list(texts)})


class Scorer:
    """Scores by length; the first batch waits until it may go on. A text `bad` cannot be scored."""

    def __init__(self) -> None:
        self.go, self.batches = Event(), list[list[str]]()

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        assert self.go.wait(10)
        assert rows["id"].is_unique().all()
        self.batches.append(rows["text"].to_list())
        if "bad" in self.batches[-1]:
            raise ValueError("bad")
        return rows.select("id", length=pl.col("text").str.len_chars())


def test_requests_that_wait_are_scored_together_and_keep_their_own_rows() -> None:
    scorer = Scorer()
    queue = ScoringQueue(scorer, 1_000)
    first = queue.put(notes("a"), "ann")
    time.sleep(0.05)
    others = [queue.put(notes("b" * n, "c"), "ann") for n in range(2, 20)]
    scorer.go.set()
    assert first.result(10).rows() == [("same", 1)]
    assert [future.result(10).rows() for future in others] == [[("same", n), ("same", 1)] for n in range(2, 20)]
    assert [len(batch) for batch in scorer.batches] == [1, 36]
    queue.close()


def test_a_batch_has_a_limit_and_a_larger_request_is_still_scored() -> None:
    scorer = Scorer()
    queue = ScoringQueue(scorer, 1_000)
    futures = [queue.put(notes(*["a"] * count), f"client {count}") for count in (1, NOTES_A_BATCH + 5, 40, 40)]
    scorer.go.set()
    assert [future.result(10).height for future in futures] == [1, NOTES_A_BATCH + 5, 40, 40]
    assert [len(batch) for batch in scorer.batches] == [1, NOTES_A_BATCH + 5, 40, 40]
    queue.close()


def test_a_cancelled_request_is_not_scored_and_makes_room() -> None:
    scorer = Scorer()
    queue = ScoringQueue(scorer, 3)
    first = queue.put(notes("first"), "ann")
    while queue.waiting:
        time.sleep(0.01)
    gone = queue.put(notes("gone", "gone"), "ann")
    with pytest.raises(QueueFullError):
        queue.put(notes("too", "many"), "bo")
    assert gone.cancel()
    assert queue.waiting == 0
    last = queue.put(notes("a", "b", "c"), "bo")
    scorer.go.set()
    assert (first.result(10).height, last.result(10).height) == (1, 3)
    assert scorer.batches == [["first"], ["a", "b", "c"]]
    queue.close()


def test_each_client_gets_no_more_places_than_it_leaves_free() -> None:
    scorer = Scorer()
    queue = ScoringQueue(scorer, 12)
    first = queue.put(notes("in hand"), "ann")
    while queue.waiting:
        time.sleep(0.01)
    for client, places in (("ann", 6), ("bo", 3), ("cy", 1)):
        for _ in range(places):
            queue.put(notes("a"), client)
        with pytest.raises(ShareFullError):
            queue.put(notes("a"), client)
    late = queue.put(notes("a", "a"), "di")
    with pytest.raises(QueueFullError):
        queue.put(notes("a"), "ed")
    scorer.go.set()
    assert (first.result(10).height, late.result(10).height) == (1, 2)
    assert queue.put(notes("a", "a"), "ann").result(10).height == 2
    queue.close()


def test_the_fault_of_one_request_is_not_anothers() -> None:
    scorer = Scorer()
    queue = ScoringQueue(scorer, 100)
    futures = [queue.put(notes(text), "ann") for text in ("x", "bad", "yy")]
    scorer.go.set()
    assert futures[0].result(10).rows() == [("same", 1)]
    with pytest.raises(ValueError, match="bad"):
        futures[1].result(10)
    assert futures[2].result(10).rows() == [("same", 2)]
    queue.close()


def test_what_waits_when_the_service_ends_is_cancelled() -> None:
    scorer = Scorer()
    queue = ScoringQueue(scorer, 100)
    first = queue.put(notes("in hand"), "ann")
    while queue.waiting:
        time.sleep(0.01)
    waits = queue.put(notes("waits"), "ann")
    closing = Thread(target=queue.close)
    closing.start()
    with pytest.raises(CancelledError):
        waits.result(10)
    assert not first.done()
    scorer.go.set()
    closing.join(10)
    assert first.result(0).height == 1
    assert scorer.batches == [["in hand"]]
