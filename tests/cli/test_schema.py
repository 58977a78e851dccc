from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.cli.errors import UserError
from src.cli.files import guarded
from src.cli.json_files import Damaged, parse_json, read_json, write_json
from src.cohort.prepared import read_cohort
from src.privacy.upload import is_sent
from src.runs.find import read_sweep
from src.runs.history import History, read_history
from src.runs.job import read_job
from src.runs.record import RunRecord, damage, finished, read_record, set_damaged_aside, write_record
from src.runs.state import JobState, RunStatus, read_state, write_state
from src.runs.status import read_batches, read_status
from tests.conftest import whole_record

DAMAGE: dict[str, bytes] = {
    "empty": b"",
    "torn": b'{"state": "running", "cells": [',
    "null": b"null",
    "list": b"[1, 2]",
    "number": b"7",
    "not utf-8": b'{"state": "\xff\xfe"}',
    "deep": b'{"a":' * 10_000,
    "deep and whole": b"[" * 10_000 + b"]" * 10_000,
    "many digits": b'{"step": ' + b"9" * 5000 + b"}",
    "odd kinds": b'{"state": [], "cells": null, "config": 3, "words": "x", "cohort": {}, "metrics": [], "over": {}}',
    "odd numbers": b'{"state": "running", "done": "7", "total": 1e999, "left_s": NaN, "cells": [null]}',
    "unknown state": b'{"state": "sleeping"}',
}


def plant(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == "a folder":
        path.mkdir()
        (path / "kept.txt").write_text("kept")
    else:
        path.write_bytes(DAMAGE[name])


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "result.json": ("result.json", read_record),
    "state.json": ("state.json", read_state),
    "cell.json": ("cell.json", read_job),
    "history.jsonl": ("history.jsonl", read_history),
    "cohort.json": ("cohort.json", read_cohort),
    "batch": (".slurm/0.json", read_batches),
    "sweep": (".sweeps/grid.json", lambda folder: read_sweep(folder, "grid")),
    "receipt": ("sync.json", lambda folder: is_sent(folder, None)),  # type: ignore[arg-type]
    "standing": ("result.json", read_status),
}


@pytest.mark.parametrize("name", [*DAMAGE, "a folder"])
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_ends_in_a_traceback_or_changes_anything(reader: str, name: str, tmp_path: Path) -> None:
    relative, read = READERS[reader]
    plant(tmp_path / relative, name)
    before = sorted(tmp_path.rglob("*"))
    error = None
    try:
        read(tmp_path)
    except UserError as raised:
        error = raised
    assert error is None or relative.rpartition("/")[2] in str(error)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", [*DAMAGE, "a folder"])
def test_a_damaged_record_is_set_aside_and_the_run_is_unfinished(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in ("", "-2", "-3"):
        plant(tmp_path / "result.json", name)
        assert not finished(tmp_path)
        assert read_status(tmp_path).standing is RunStatus.DAMAGED
        set_damaged_aside(tmp_path)
        assert read_status(tmp_path).standing is RunStatus.WAITING
        assert (tmp_path / f"result.json.damaged{count}").exists()
        assert "result.json: damaged (" in capsys.readouterr().err
    write_record(tmp_path, RunRecord.of(parse_json(whole_record(), {})))
    assert finished(tmp_path)
    set_damaged_aside(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("name", [*DAMAGE, "a folder"])
def test_what_is_damaged_is_set_aside_where_it_is_written_again(name: str, tmp_path: Path) -> None:
    plant(tmp_path / "state.json", name)
    plant(tmp_path / "result.json", name)
    write_state(tmp_path, JobState(RunStatus.RUNNING))
    assert read_state(tmp_path) is not None
    write_record(tmp_path, RunRecord.of(parse_json(whole_record(), {})))
    assert damage(tmp_path) is None
    assert (tmp_path / "result.json.damaged").exists()


def test_nothing_is_set_aside_in_a_folder_that_was_lost(tmp_path: Path) -> None:
    def check() -> None:
        raise UserError("lost")

    plant(tmp_path / "result.json", "torn")
    with guarded(tmp_path, check), pytest.raises(UserError, match="lost"):
        set_damaged_aside(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_odd_values_of_a_history_are_left_out_and_a_folder_in_its_place_set_aside(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(
        b'{"step": 1, "loss": 0.5, "word": "x", "none": null, "list": [1], "big": 1e999, "nan": NaN}\n'
        b'{"step": "2", "loss": 1}\n{"step": 1e99, "loss": 1}\n{"step": null}\n[]\n7\n{"step": true, "loss": 1}\n'
        + b"[" * 10_000
        + b'\n{"step": 3, "loss": 0.25}\n'
    )
    assert read_history(tmp_path) == {"loss": {1: 0.5, 3: 0.25}}
    other = tmp_path / "other"
    (other / "history.jsonl").mkdir(parents=True)
    History(other).add(1, {"loss": 0.5, "big": 10**400, "nan": float("nan")})
    assert read_history(other) == {"loss": {1: 0.5}}
    assert (other / "history.jsonl.damaged").is_dir()


def test_a_file_that_may_not_be_read_is_not_taken_for_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "result.json").write_text(whole_record())

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(UserError, match=r"result.json: cannot be read \(Permission denied\)"):
        set_damaged_aside(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_schema_holds_unions_lists_and_nested_objects(tmp_path: Path) -> None:
    schema = {"a": {"b": int | None}, "c?": [{"d": list[str]}], "e?": dict[str, float]}
    for good in ({"a": {"b": None}}, {"a": {"b": 1}, "c": [{"d": ["x"]}], "e": {"f": 1}, "more": []}):
        write_json(tmp_path / "a.json", good, schema)
        assert read_json(tmp_path / "a.json", schema) == good
    bad = {
        "no a.b": {"a": {}},
        "a is no object": {"a": 1},
        r"a.b is not of the kind int \| None": {"a": {"b": True}},
        "c is not of the kind list of objects": {"a": {"b": 1}, "c": [{"d": [1]}]},
        r"e is not of the kind dict\[str, float\]": {"a": {"b": 1}, "e": {"f": 10**30}},
    }
    for reason, content in bad.items():
        write_json(tmp_path / "a.json", content)
        with pytest.raises(Damaged, match=rf"a.json: damaged \({reason}\); mend it"):
            read_json(tmp_path / "a.json", schema, "mend it")
