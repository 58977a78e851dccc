import csv
import io
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from src.coding_study.allocation import Arm
from src.coding_study.desk_log import read_log
from src.coding_study.study_plan import Plan
from src.service.allotted_cases import Allotted
from src.service.desk import Desk
from src.service.request_limits import LOOPBACK, RequestLimits
from tests.service.desks import desk_of, proposal


def client_of(app: object, name: str) -> TestClient:
    client = TestClient(RequestLimits(app, 20_000, 5.0, LOOPBACK), base_url="http://127.0.0.1")  # type: ignore[arg-type]
    assert client.post("/desk/login", data={"name": name}).url.path == "/desk"
    return client


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[object, Desk]]:
    app, desk = desk_of(tmp_path / "log")
    yield app, desk
    desk.log.close()


def form_of(client: TestClient, case: str) -> dict[str, str]:
    page = client.get("/desk/case", params={"id": case})
    assert page.status_code == 200, page.text
    return hidden(page.text)


def hidden(page: str) -> dict[str, str]:
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
    return {name: value.replace("&#34;", '"') for name, value in fields}


def exported(client: TestClient) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get("/desk/export.csv").text)))


def test_whoever_is_not_logged_in_sees_the_login_alone(opened: tuple[object, Desk]) -> None:
    client = TestClient(RequestLimits(opened[0], 20_000, 5.0, LOOPBACK), base_url="http://127.0.0.1")  # type: ignore[arg-type]
    for path in ("/desk", "/desk/case?id=c1", "/desk/export.csv"):
        assert client.get(path).url.path == "/desk/login"
    assert client.post("/desk/login", data={"name": "<b>"}).status_code == 403


def test_with_tokens_the_token_says_who_it_is(tmp_path: Path) -> None:
    app, desk = desk_of(tmp_path / "log", tokens={"ann": "a-token-of-letters"})
    client = TestClient(RequestLimits(app, 20_000, 5.0, LOOPBACK), base_url="http://127.0.0.1")
    assert client.post("/desk/login", data={"name": "ann"}).status_code == 403
    assert ">ann<" in client.post("/desk/login", data={"token": "a-token-of-letters"}).text
    desk.log.close()


def test_the_worklist_is_filtered_and_says_what_became_of_a_case(opened: tuple[object, Desk]) -> None:
    client = client_of(opened[0], "ann")
    client.post("/desk/case", data={**form_of(client, "c1"), "action": "accept"})

    def listed(**filters: str) -> list[str]:
        return re.findall(r"case\?id=(c\d)", client.get("/desk", params=filters).text)

    assert listed() == ["c3", "c1", "c2"]
    assert listed(status="open") == ["c3", "c2"]
    assert listed(status="accepted") == ["c1"]
    assert listed(decision="defer", reason="no section") == ["c3"]
    assert listed(mdc="05") == ["c1", "c2"]
    assert listed(q="3") == ["c3"]
    assert listed(q="<script>") == []


def test_a_worklist_has_pages_of_fifty(tmp_path: Path) -> None:
    app, desk = desk_of(tmp_path / "log", proposals={f"c{n:03d}": proposal("313") for n in range(120)})
    client = client_of(app, "ann")
    pages = [re.findall(r"case\?id=(c\d+)", client.get(f"/desk?page={page}").text) for page in ("1", "3", "99", "-1")]
    assert [len(page) for page in pages] == [50, 20, 20, 50]
    assert "Page 3 of 3" in client.get("/desk?page=3").text
    desk.log.close()


def test_a_case_shows_its_note_as_text_with_evidence_and_families(opened: tuple[object, Desk]) -> None:
    page = client_of(opened[0], "ann").get("/desk/case?id=c1")
    assert "<script>alert" not in page.text
    assert '<mark id="e1"><sup>1</sup>Dyspnea improved.</mark>' in page.text
    assert '<mark id="e2"><sup>2</sup>&lt;script&gt;alert(1)&lt;/script&gt;</mark>' in page.text
    assert "Marked is what the model used, not what is true." in page.text
    assert "4.0 days in house." in page.text
    for code in ("291", "292", "293"):
        assert f"<td>{code}</td>" in page.text
    assert "These differ by whether secondary diagnoses are MCC, CC or neither." in page.text
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe-inline" not in policy
    assert " style=" not in page.text
    assert page.headers["cache-control"] == "no-store"


def test_accept_override_and_defer_are_logged_with_what_was_shown(opened: tuple[object, Desk]) -> None:
    client = client_of(opened[0], "Ann Ames")
    first = client.post("/desk/case", data={**form_of(client, "c1"), "action": "accept"})
    assert (first.url.path, first.url.params["id"]) == ("/desk/case", "c2")
    assert "Recorded for c1: accept 291." in first.text
    override = {"action": "override", "drg": "312", "reason": "syncope is documented"}
    client.post("/desk/case", data={**form_of(client, "c2"), **override})
    last = client.post("/desk/case", data={**form_of(client, "c3"), "action": "defer", "reason": "no course"})
    assert last.url.path == "/desk"
    assert "Ann Ames: defer (no course), 20" in client.get("/desk/case?id=c3&after=c3").text
    assert "Recorded for c3: defer." in client.get("/desk/case?id=c1&after=c3").text
    rows = exported(client)
    assert [(row["case"], row["action"], row["proposed"], row["decided"], row["reason"]) for row in rows] == [
        ("c1", "accept", "291", "291", ""),
        ("c2", "override", "313", "312", "syncope is documented"),
        ("c3", "defer", "", "", "no course"),
    ]
    assert {(row["coder"], row["arm"], row["model"], row["cohort"]) for row in rows} == {
        ("Ann Ames", "assisted", "run:1", "c0")
    }
    assert rows[0]["shown"] == '{"drgs":["291","292","293","189"],"sentences":2}'
    assert all(0 <= float(row["seconds"]) < 60 for row in rows)
    assert "Ann Ames: accept 291" in client.get("/desk/case?id=c1").text


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"action": "override", "drg": "1000", "reason": "my words"}, "1000 is no DRG here; choose one of the list."),
        ({"action": "override", "drg": "292", "reason": " "}, "Give the reason to override."),
        ({"action": "defer", "reason": ""}, "Give the reason to defer."),
        ({"action": "decide", "drg": "292"}, "This case is not decided so."),
        ({"action": "accept", "form": "made.up"}, "This form is of another login or case."),
        ({"action": "accept", "shown": "{}"}, "This form is of another login or case."),
    ],
)
def test_what_cannot_be_recorded_comes_back_as_it_was_typed(
    typed: dict[str, str], message: str, opened: tuple[object, Desk]
) -> None:
    client = client_of(opened[0], "ann")
    answer = client.post("/desk/case", data={**form_of(client, "c1"), **typed})
    assert answer.status_code in (403, 422)
    assert message in answer.text
    if typed["action"] == "override":
        assert f'value="{typed["drg"]}"' in answer.text
        assert typed["reason"] in answer.text
    assert exported(client) == []


def test_a_double_press_and_a_form_sent_again_count_once(opened: tuple[object, Desk]) -> None:
    client = client_of(opened[0], "ann")
    typed = {**form_of(client, "c1"), "action": "accept"}
    answers = [client.post("/desk/case", data=typed) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(exported(client)) == 1


def test_two_coders_on_a_case_are_told_of_each_other(opened: tuple[object, Desk]) -> None:
    ann, bo = client_of(opened[0], "ann"), client_of(opened[0], "bo")
    typed = {**form_of(ann, "c1"), "action": "override", "drg": "292", "reason": "my words"}
    assert re.search(r"ann opened this case at \d\d:\d\d UTC", bo.get("/desk/case?id=c1").text)
    bo.post("/desk/case", data={**form_of(bo, "c1"), "action": "accept"})
    answer = ann.post("/desk/case", data=typed)
    assert answer.status_code == 409
    assert "Meanwhile bo recorded accept 291 for this case, and yours is not recorded." in answer.text
    assert "my words" in answer.text
    again = {**typed, **hidden(answer.text)}
    assert ann.post("/desk/case", data=again).status_code == 200
    assert [(row["coder"], row["decided"]) for row in exported(ann)] == [("bo", "291"), ("ann", "292")]
    assert ann.post("/desk/case", data={**form_of(bo, "c2"), "action": "accept"}).status_code == 403


def test_a_restart_keeps_logins_forms_and_actions(tmp_path: Path) -> None:
    app, desk = desk_of(tmp_path / "log")
    client = client_of(app, "ann")
    typed = {**form_of(client, "c1"), "action": "accept"}
    client.post("/desk/case", data=typed)
    later = {**form_of(client, "c2"), "action": "accept"}
    desk.log.close()
    app, desk = desk_of(tmp_path / "log")
    again = TestClient(
        RequestLimits(app, 20_000, 5.0, LOOPBACK), base_url="http://127.0.0.1", cookies=dict(client.cookies)
    )
    for sent in (typed, later):
        assert again.post("/desk/case", data=sent).status_code == 200
    assert [row["case"] for row in exported(again)] == ["c1", "c2"]
    desk.log.close()


def test_a_locked_log_keeps_what_was_typed(
    opened: tuple[object, Desk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(opened[0], "ann")
    typed = {**form_of(client, "c1"), "action": "override", "drg": "292", "reason": "my words"}
    opened[1].log._base.execute("PRAGMA busy_timeout = 50")
    another = sqlite3.connect(tmp_path / "log")
    another.execute("BEGIN EXCLUSIVE")
    answer = client.post("/desk/case", data=typed)
    assert answer.status_code == 503
    assert "Nothing was recorded, and what you typed is still here." in answer.text
    assert "another program locks it" in answer.text
    assert "my words" in answer.text
    another.rollback()
    another.close()
    assert client.post("/desk/case", data={**typed, **hidden(answer.text)}).status_code == 200
    assert exported(client)[0]["reason"] == "my words"


def test_a_form_of_another_site_is_refused(opened: tuple[object, Desk]) -> None:
    client = client_of(opened[0], "ann")
    typed = {**form_of(client, "c1"), "action": "accept"}
    answer = client.post("/desk/case", data=typed, headers={"origin": "https://elsewhere.example"})
    assert (answer.status_code, "Another site sent this form." in answer.text) == (403, True)
    assert exported(client) == []


def test_in_a_study_coders_see_their_cases_in_order_and_alone_without_a_proposal(tmp_path: Path) -> None:
    study = {
        "ann": {"c2": Allotted("c2", 1, Arm.ALONE), "c1": Allotted("c1", 2, Arm.ASSISTED)},
        "bo": {"c1": Allotted("c1", 1, Arm.ALONE)},
    }
    app, desk = desk_of(tmp_path / "log", study)
    ann, bo = client_of(app, "ann"), client_of(app, "bo")
    assert ann.get("/desk/case?id=c1").url.path == "/desk"
    assert bo.get("/desk/case?id=c2").status_code == 404
    worklist = ann.get("/desk").text
    assert worklist.index("<td>c2</td>") < worklist.index("<td>c1</td>")
    assert "CHEST PAIN" not in worklist
    alone = ann.get("/desk/case?id=c2").text
    before_the_list = alone[: alone.index("<datalist")]
    assert "313" not in before_the_list
    assert "<mark" not in alone
    assert "GMLOS" not in alone
    typed = hidden(alone)
    assert ann.post("/desk/case", data={**typed, "action": "accept"}).status_code == 422
    assisted = ann.post("/desk/case", data={**typed, "action": "decide", "drg": "312"})
    assert "<mark" in assisted.text
    assert ann.get("/desk/case?id=c2").url.path == "/desk"
    bo.post("/desk/case", data={**form_of(bo, "c1"), "action": "decide", "drg": "293"})
    done = ann.post("/desk/case", data={**hidden(assisted.text), "action": "accept"})
    assert "All your cases are done." in done.text
    assert ann.get("/desk/export.csv").status_code == 403
    rows = list(csv.DictReader(io.StringIO(desk.log.csv())))
    keys = ("coder", "case", "arm", "period", "proposed", "decided", "action")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("ann", "c2", "alone", "1", "313", "312", "decide"),
        ("bo", "c1", "alone", "1", "291", "293", "decide"),
        ("ann", "c1", "assisted", "2", "291", "291", "accept"),
    ]
    (tmp_path / "log.csv").write_text(desk.log.csv())
    planned = [(coder, case, own.period, own.arm) for coder, cases in study.items() for case, own in cases.items()]
    plan = pl.DataFrame(planned, schema=["coder", "case", "period", "arm"], orient="row")
    opened = Plan(tmp_path / "allocation.csv", plan, ("alone", "assisted"), open=True)
    decisions = read_log(tmp_path / "log.csv", opened, {"c1": "291", "c2": "313"})
    assert decisions.rows["decided"].to_list() == ["312", "293", "291"]
    desk.log.close()
