import csv
import io
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from src.cli.errors import UserError
from src.coding_study.desk_log import LOG
from src.service.action_log import COLUMNS, ActionLog, LoggedAction, LogUnavailableError

ACCEPT = LoggedAction(
    "2026-01-01T00:00:00+00:00", "ann", "c1", "assisted", "", "291", "291", "accept", "", 3.5, "{}", "run:1", "cohort"
)


def test_a_restart_loses_nothing_and_a_form_counts_once(tmp_path: Path) -> None:
    with closing(ActionLog(tmp_path / "log")) as log:
        key = log.key()
        assert log.add("form", ACCEPT, 0)
        assert log.add("form", replace(ACCEPT, decided="292"), 0)
        log.open_case("bo", "c1")
    with closing(ActionLog(tmp_path / "log")) as log:
        assert log.key() == key
        assert log.last() == {"c1": (1, ACCEPT)}
        assert [name for name, _ in log.others("ann", "c1")] == ["bo"]
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_rows_are_only_added(tmp_path: Path) -> None:
    with closing(ActionLog(tmp_path / "log")) as log:
        log.add("form", ACCEPT, 0)
        with closing(sqlite3.connect(tmp_path / "log", isolation_level=None)) as base:
            for statement in (
                "UPDATE actions SET decided = '292'",
                "DELETE FROM actions",
                "INSERT OR REPLACE INTO actions (number, form) VALUES (1, 'another')",
                "INSERT OR REPLACE INTO actions (form) VALUES ('form')",
            ):
                with pytest.raises(sqlite3.IntegrityError, match="actions are only added"):
                    base.execute(statement)
        assert log.last() == {"c1": (1, ACCEPT)}


def test_an_action_that_another_coder_did_not_see_is_not_added(tmp_path: Path) -> None:
    with closing(ActionLog(tmp_path / "log")) as log:
        assert log.add("a", ACCEPT, 0)
        bo = replace(ACCEPT, coder="bo", decided="292", action="override")
        assert not log.add("b", bo, 0)
        assert log.add("b", bo, 1)
        assert not log.add("c", replace(ACCEPT, decided="293"), 1)
        assert log.last()["c1"] == (2, bo)
        assert log.last("ann")["c1"] == (1, ACCEPT)


def test_in_a_study_a_coder_acts_once_on_a_case_whatever_others_did(tmp_path: Path) -> None:
    with closing(ActionLog(tmp_path / "log")) as log:
        assert log.add("a", ACCEPT, None)
        assert log.add("b", replace(ACCEPT, coder="bo"), None)
        assert not log.add("c", replace(ACCEPT, decided="293"), None)


def test_the_export_has_its_columns_and_no_formula(tmp_path: Path) -> None:
    with closing(ActionLog(tmp_path / "log")) as log:
        log.add("a", replace(ACCEPT, reason='=1+1, "said"\nA'), 0)
        header, row = csv.reader(io.StringIO(log.csv()))
    assert ",".join(header) == "when,coder,case,arm,period,proposed,decided,action,reason,seconds,shown,model,cohort"
    assert header == list(COLUMNS) == list(LOG)
    assert row[8] == '\'=1+1, "said"\nA'
    assert row[9] == "3.5"


def test_a_locked_log_says_so_and_goes_on_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.service.action_log.WAIT", 0.05)
    with closing(ActionLog(tmp_path / "log")) as log, closing(sqlite3.connect(tmp_path / "log")) as another:
        another.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LogUnavailableError, match=r"log: another program locks it; close that one, and try again"):
            log.add("a", ACCEPT, 0)
        with pytest.raises(UserError, match="another program locks it"):
            log.key()  # as the service does when it begins
        another.rollback()
        assert log.add("a", ACCEPT, 0)


@pytest.mark.parametrize("content", [b"no database at all, " * 300, b"SQLite format 3\0" + b"\1" * 5_000])
def test_a_damaged_log_is_named_and_kept(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"log: damaged, or no SQLite file; keep it, and put back a copy or name ano"):
        ActionLog(path)
    assert path.read_bytes() == content


def test_a_log_that_is_damaged_while_it_is_open_is_said_to_be(tmp_path: Path) -> None:
    with closing(ActionLog(tmp_path / "log")) as log:
        for number in range(20):
            log.add(str(number), replace(ACCEPT, case=f"c{number}", reason="x" * 2_000), 0)
    whole = (tmp_path / "log").read_bytes()
    with closing(ActionLog(tmp_path / "log")) as log:
        (tmp_path / "log").write_bytes(whole[:8192] + b"\x7f" * (len(whole) - 8192))
        log._base.execute("PRAGMA shrink_memory")
        with pytest.raises(LogUnavailableError, match="damaged"):
            log.csv()


def test_a_file_of_other_tables_is_no_log(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "log")) as base:
        base.execute("CREATE TABLE wages (amount)")
        base.commit()
    with pytest.raises(UserError, match="holds other tables than the desk's; name another file"):
        ActionLog(tmp_path / "log")
