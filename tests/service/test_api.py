import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.cohort.weights import weights_for
from src.inference.model import open_models
from src.inference.proposals import Proposer
from src.service.access import Access, Expose
from src.service.api import api_routes, new_app
from src.service.request_limits import LOOPBACK, RequestLimits
from src.service.scoring_queue import ScoringQueue
from src.service.served_notes import read_encounters, scored_by

SECRET = "Sepsis of Mr Underhill"


@pytest.fixture(scope="module")
def proposer(runs: dict[str, Path]) -> Proposer:
    return Proposer(open_models([runs["two"]], "cpu"), weights_for("v34"))


@pytest.fixture(scope="module")
def queue(proposer: Proposer) -> Iterator[ScoringQueue]:
    queue = ScoringQueue(scored_by(proposer), 8)
    yield queue
    queue.close()


def client_of(queue: ScoringQueue, study: bool = False, **tokens: str) -> TestClient:
    app = new_app()
    expose = Expose.PROXY if tokens else Expose.LOOPBACK
    app.include_router(api_routes(queue, Access(expose, tokens, b"key"), "run:1", "cohort", 4, study))
    return TestClient(RequestLimits(app, 20_000, 5.0, LOOPBACK), base_url="http://127.0.0.1:80")


@pytest.fixture(scope="module")
def client(queue: ScoringQueue) -> TestClient:
    return client_of(queue)


def test_a_whole_note_has_the_proposal_of_its_section(
    client: TestClient, proposer: Proposer, hospital: Path, cohort: Path
) -> None:
    rows = read_cohort(cohort).notes(Split.TEST)[:3]
    whole = read_encounters(hospital / "note" / "discharge.csv.gz", proposer.models.first.kept)
    texts = [whole.filter(pl.col("id") == str(hadm))["text"][0] for hadm in rows["hadm_id"]]
    sent = [{"id": "same", "text": text} for text in texts]
    answer = client.post("/v1/predict", json=sent).json()
    cut = client.post("/v1/predict", json=[{"text": text, "sections": False} for text in rows["text"]]).json()
    assert [row["id"] for row in answer["predictions"]] == ["same"] * 3
    for key in ("drg", "drgs", "words", "decision", "reasons"):
        assert [row[key] for row in answer["predictions"]] == [row[key] for row in cut["predictions"]]
    alone = client.post("/v1/predict", json=sent[1]).json()["predictions"]
    assert [row["drg"] for row in alone] == [answer["predictions"][1]["drg"]]
    assert (answer["model"], answer["cohort"]) == ("run:1", "cohort")


def test_a_note_without_the_section_is_deferred(client: TestClient) -> None:
    (row,) = client.post("/v1/predict", json={"text": "Nothing here."}).json()["predictions"]
    assert (row["decision"], row["drg"], row["reasons"]) == ("defer", None, ["no section: hospital course"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"txt": SECRET}, 422),
        ({"text": "a", SECRET: {SECRET: 1}}, 422),
        ({"text": [SECRET]}, 422),
        ({"text": "a", "id": SECRET * 20}, 422),
        ([{"text": "a"}, SECRET], 422),
        (SECRET, 422),
        ([{"text": SECRET}] * 5, 413),
        ({"text": SECRET * 2_000}, 413),
    ],
)
def test_a_wrong_request_is_refused_without_a_word_of_it(body: object, status: int, client: TestClient) -> None:
    answer = client.post("/v1/predict", json=body)
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert "Underhill" not in answer.text


def test_a_body_that_is_no_json_or_no_text_is_refused(client: TestClient) -> None:
    sent = {"content-type": "application/json"}
    answers = [
        client.post("/v1/predict", content=content, headers=sent)
        for content in (f'{{"text": "{SECRET}'.encode(), b'{"text": "\\ud800 Underhill"}', b"\xff\xfe", b"[" * 9_000)
    ]
    assert [answer.status_code for answer in answers] == [400, 422, 400, 400]
    assert not any("Underhill" in answer.text for answer in answers)


def test_a_failure_tells_its_kind_and_nothing_of_the_note(capfd: pytest.CaptureFixture[str]) -> None:
    def fails(rows: pl.DataFrame) -> pl.DataFrame:
        raise RuntimeError(rows["text"][0])

    queue = ScoringQueue(fails, 8)
    answer = client_of(queue).post("/v1/predict", json={"text": SECRET})
    queue.close()
    shown = capfd.readouterr()
    assert (answer.status_code, answer.json()) == (
        500,
        {"detail": "the service failed (RuntimeError); its output says where"},
    )
    assert "RuntimeError at " in shown.err
    assert "Underhill" not in shown.err + shown.out


def test_the_service_says_how_it_is_and_describes_itself(client: TestClient) -> None:
    assert client.get("/v1/health").json() == {
        "status": "ok", "model": "run:1", "cohort": "cohort", "waiting": 0, "limit": 8,
    }  # fmt: skip
    schema = client.get("/v1/schema").json()
    assert set(schema["paths"]) == {"/v1/health", "/v1/predict"}
    assert "sections" in json.dumps(schema["components"]["schemas"]["SentNote"])


def test_a_page_elsewhere_reads_nothing_by_a_name_that_leads_to_loopback(client: TestClient) -> None:
    assert client.get("/v1/health", headers={"host": "rebound.example:8000"}).status_code == 421
    assert client.get("/v1/health", headers={"host": "LOCALHOST"}).status_code == 200


def test_while_a_study_is_served_nobody_is_told_a_proposal_here(queue: ScoringQueue) -> None:
    open_to_all, coder = client_of(queue, True), client_of(queue, True, ann="a-token-of-letters")
    headers = {"authorization": "Bearer a-token-of-letters"}
    for answer in (
        open_to_all.post("/v1/predict", json={"text": "Brief Hospital Course: fever"}),
        coder.post("/v1/predict", json=[{"text": "Brief Hospital Course: fever"}], headers=headers),
    ):
        assert (answer.status_code, answer.json()) == (
            403,
            {"detail": "a study is served, and proposals are at its desk alone; serve without study="},
        )
    assert coder.post("/v1/predict", json={"text": "fever"}).status_code == 401
    assert coder.get("/v1/health", headers=headers).status_code == 200


def test_with_tokens_only_their_bearers_are_answered(queue: ScoringQueue) -> None:
    client = client_of(queue, ann="a-token-of-letters", bo="another-token-here")
    answers = [
        client.get("/v1/health", headers={"authorization": given})
        for given in ("Bearer a-token-of-letters", "Bearer another-token-here", "Bearer a-token", "Bearer ", "")
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 401, 401, 401]
