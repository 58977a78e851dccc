import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from threading import Event
from typing import Any

import polars as pl

from src.service.access import Access, Expose
from src.service.api import api_routes, new_app
from src.service.scoring_queue import ScoringQueue
from tests.service.serving import serving


class Slow:
    """Scores when it may."""

    def __init__(self) -> None:
        self.started, self.go, self.texts = Event(), Event(), list[str]()

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        self.started.set()
        assert self.go.wait(10)
        self.texts += rows["text"].to_list()
        empty = dict.fromkeys(
            ("drg", "title", "probability", "drgs", "probabilities", "base_drg", "severity", "mdc", "type", "weight",
             "words", "unread_tokens", "unfamiliar", "drg_version")
        )  # fmt: skip
        return pl.DataFrame([{"id": row, "decision": "defer", "reasons": [], **empty} for row in rows["id"]])


def app_of(queue: ScoringQueue, *clients: str) -> Any:
    """A service of the API alone; clients have tokens where they are named."""
    app = new_app()
    tokens = {name: f"the-token-of-{name}" for name in clients}
    app.include_router(api_routes(queue, Access(Expose.LOOPBACK, tokens, b""), "run", "cohort", 64))
    return app


def ask(port: int, text: str, client: str = "", **headers: str) -> tuple[int, str | None, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=15)
    body = json.dumps({"id": text, "text": text, "sections": False})
    headers = {"content-type": "application/json", "authorization": f"Bearer the-token-of-{client}", **headers}
    connection.request("POST", "/v1/predict", body, headers)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, answer.headers["retry-after"], content


def waits(queue: ScoringQueue, count: int) -> None:
    end = time.monotonic() + 5
    while queue.waiting != count:
        assert time.monotonic() < end, queue.waiting
        time.sleep(0.01)


def test_a_full_queue_says_when_to_ask_again_and_a_client_that_goes_makes_room() -> None:
    scorer = Slow()
    queue = ScoringQueue(scorer, 2)
    with serving(app_of(queue, "ann", "bo", "cy")) as port, ThreadPoolExecutor(4) as clients:
        first = clients.submit(ask, port, "in hand", "ann")
        assert scorer.started.wait(10)
        gone = socket.create_connection(("127.0.0.1", port))
        body = json.dumps({"text": "gone"})
        gone.sendall(
            f"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer the-token-of-ann\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}".encode()
        )
        waits(queue, 1)
        second = clients.submit(ask, port, "second", "bo")
        waits(queue, 2)
        status, retry, content = ask(port, "one too many", "cy")
        assert (status, retry) == (503, "1")
        assert content == {"detail": "2 notes wait, no more are taken; ask again"}
        gone.close()
        waits(queue, 1)
        third = clients.submit(ask, port, "third", "ann")
        waits(queue, 2)
        scorer.go.set()
        answers = [future.result(10) for future in (first, second, third)]
    assert [(status, content["predictions"][0]["id"]) for status, _, content in answers] == [
        (200, "in hand"),
        (200, "second"),
        (200, "third"),
    ]
    assert scorer.texts == ["in hand", "second", "third"]
    queue.close()


def test_a_client_over_its_share_is_told_to_wait_whatever_it_says_of_where_it_is() -> None:
    scorer = Slow()
    queue = ScoringQueue(scorer, 4)
    with serving(app_of(queue)) as port, ThreadPoolExecutor(4) as clients:
        first = clients.submit(ask, port, "in hand")
        assert scorer.started.wait(10)
        waiting = []
        for count in (1, 2):
            waiting.append(clients.submit(ask, port, f"own {count}"))
            waits(queue, count)
        for headers in ({}, {"x-forwarded-for": "192.0.2.7"}):
            status, retry, content = ask(port, "over the share", **headers)
            assert (status, retry) == (429, "1")
            assert content == {"detail": "too many of your notes wait; ask again once some are answered"}
        scorer.go.set()
        assert [future.result(10)[0] for future in (first, *waiting)] == [200] * 3
    queue.close()


def test_while_one_client_is_over_its_share_another_goes_on() -> None:
    scorer = Slow()
    queue = ScoringQueue(scorer, 4)
    with serving(app_of(queue, "ann", "bo")) as port, ThreadPoolExecutor(5) as clients:
        first = clients.submit(ask, port, "in hand", "ann")
        assert scorer.started.wait(10)
        waiting = []
        for count, client in ((1, "ann"), (2, "ann"), (3, "bo")):
            waiting.append(clients.submit(ask, port, f"own {count}", client))
            waits(queue, count)
            if count == 2:
                assert ask(port, "over the share", "ann")[:2] == (429, "1")
        scorer.go.set()
        assert [future.result(10)[0] for future in (first, *waiting)] == [200] * 4
    assert "over the share" not in scorer.texts
    queue.close()


def test_slow_clients_are_let_go_and_the_others_served_meanwhile() -> None:
    scorer = Slow()
    scorer.go.set()
    queue = ScoringQueue(scorer, 8)
    with serving(app_of(queue), seconds=0.5) as port:
        silent, headers, body = (socket.create_connection(("127.0.0.1", port)) for _ in range(3))
        headers.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: lo")
        body.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{")
        for number in range(5):
            assert ask(port, f"quick {number}")[0] == 200
        for slow, answer in ((silent, b""), (headers, b""), (body, b"HTTP/1.1 408")):
            slow.settimeout(5)
            assert slow.recv(12) == answer
            slow.close()
    queue.close()


def test_a_body_in_chunks_has_the_same_limit() -> None:
    queue = ScoringQueue(Slow(), 8)
    with serving(app_of(queue), most_bytes=1_000) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        client.sendall(b"400\r\n" + b"a" * 1_024 + b"\r\n")
        client.settimeout(5)
        assert client.recv(12) == b"HTTP/1.1 413"
    queue.close()
