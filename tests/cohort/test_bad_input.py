"""What is wrong with an input is said with file and row, or counted and listed; nothing half-written stays."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from src.cli.errors import UserError
from tests.cohort.conftest import Prepare
from tests.forked import Forks

Damage = Callable[[bytes], bytes]


@pytest.fixture
def damaged(hospital: Path, tmp_path: Path) -> Callable[[Damage], Path]:
    """A copy of the hospital whose discharge table is changed."""

    def change(damage: Damage) -> Path:
        folder = tmp_path / "mimic"
        shutil.copytree(hospital, folder)
        path = folder / "note" / "discharge.csv.gz"
        path.write_bytes(gzip.compress(damage(gzip.decompress(path.read_bytes())), 1))
        return folder

    return change


def second_row(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Header with the first record, the second record, and the rest."""
    starts = [at for at in range(len(data) - 1) if data[at : at + 1] == b"\n" and data[at + 1 : at + 9].isdigit()][:3]
    return data[: starts[1] + 1], data[starts[1] + 1 : starts[2] + 1], data[starts[2] + 1 :]


def changed(old: bytes, new: bytes) -> Damage:
    def damage(data: bytes) -> bytes:
        before, row, after = second_row(data)
        assert old in row
        return before + row.replace(old, new, 1) + after

    return damage


def swapped(column: int, value: bytes) -> Damage:
    def damage(data: bytes) -> bytes:
        before, row, after = second_row(data)
        fields = row.split(b",", 7)
        fields[column] = value
        return before + b",".join(fields) + after

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "the file is empty"),
        (lambda data: data.replace(b"text", b"txt", 1), "no column text; its columns are note_id"),
        (lambda data: b"subject_id,hadm_id,admittime\n1,2,3\n", "is it a table of hosp"),
        (lambda data: data[: data.index(b"Brief Hospital Course")], "ends within row 1"),
        (changed(b',"', b","), "row 3 has 1 fields where the header has 8"),
        (lambda data: data.rstrip(b'"\n') + b"\n", "ends within row"),
    ],
)
def test_damage_to_the_file_is_named(
    damage: Damage, message: str, damaged: Callable[[Damage], Path], prepare: Prepare, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"discharge\.csv\.gz.*({message})"):
        prepare(f"data.dir={damaged(damage)}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mimic"]


def test_a_compressed_file_that_is_cut_short_is_named(hospital: Path, tmp_path: Path, prepare: Prepare) -> None:
    shutil.copytree(hospital, tmp_path / "mimic")
    path = tmp_path / "mimic" / "note" / "discharge.csv.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"discharge\.csv\.gz: the compressed file is cut short or damaged behind row"):
        prepare(f"data.dir={tmp_path / 'mimic'}")


@pytest.mark.parametrize(
    ("damage", "step"),
    [
        (changed(b"Admission", b"Admis\0ion"), "of readable text"),
        (swapped(2, b""), "of an admission"),
        (swapped(2, b"-5"), "with ids above zero"),
        (swapped(2, b"x"), "with ids above zero"),
        (changed(b"Admission", b"Admission" + b" more" * 300_000), "of readable text"),
    ],
)
def test_one_bad_row_is_counted_and_listed(
    damage: Damage, step: str, damaged: Callable[[Damage], Path], prepare: Prepare, tmp_path: Path
) -> None:
    record, _ = prepare(f"data.dir={damaged(damage)}")
    assert {each["step"]: each["excluded"] for each in record["flow"]}[step] == 1
    assert 2 in pl.read_csv(tmp_path / "cohort-1" / "excluded.csv")["row"].to_list()


def test_a_note_of_another_encoding_is_refused_until_the_encoding_is_said(
    damaged: Callable[[Damage], Path], prepare: Prepare, tmp_path: Path
) -> None:
    folder = damaged(changed(b"Admission", b"Admis\xffion"))
    with pytest.raises(
        UserError, match=r"row 2 holds bytes that are no UTF-8; .*data\.encoding=cp1252.*encoding=utf-8"
    ):
        prepare(f"data.dir={folder}")
    record, _ = prepare(f"data.dir={folder}", "data.encoding=utf-8")
    assert {step["step"]: step["excluded"] for step in record["flow"]}["of readable text"] == 1
    assert 2 in pl.read_csv(tmp_path / "cohort-2" / "excluded.csv")["row"].to_list()


def test_a_note_id_that_comes_twice_is_counted(damaged: Callable[[Damage], Path], prepare: Prepare) -> None:
    def twice(data: bytes) -> bytes:
        before, row, after = second_row(data)
        return before + row + row + after

    record, _ = prepare(f"data.dir={damaged(twice)}")
    assert {each["step"]: each["excluded"] for each in record["flow"]}["with a note_id of its own"] == 1


def test_line_ends_of_windows_change_nothing_but_the_texts_own(
    damaged: Callable[[Damage], Path], hospital: Path, prepare: Prepare
) -> None:
    folder = damaged(lambda data: data.replace(b"\n", b"\r\n"))
    windows, _ = prepare(f"data.dir={folder}")
    plain, _ = prepare(f"data.dir={hospital}")
    assert windows["flow"] == plain["flow"]


def test_an_error_shows_no_text_of_a_note(damaged: Callable[[Damage], Path], prepare: Prepare) -> None:
    folder = damaged(lambda data: data.replace(b"\n", b"\nx,SECRETWORD,y,z\n", 1))
    with pytest.raises(UserError) as told:
        prepare(f"data.dir={folder}")
    assert "row 1 has 4 fields where the header has 8" in str(told.value)
    assert "SECRETWORD" not in str(told.value)


def test_a_missing_table_is_named(hospital: Path, tmp_path: Path, prepare: Prepare) -> None:
    shutil.copytree(hospital / "note", tmp_path / "mimic" / "note")
    with pytest.raises(UserError, match=r"no hosp/drgcodes\.csv\.gz or \.csv"):
        prepare(f"data.dir={tmp_path / 'mimic'}")


def test_a_missing_column_is_named(hospital: Path, tmp_path: Path, prepare: Prepare) -> None:
    shutil.copytree(hospital, tmp_path / "mimic")
    path = tmp_path / "mimic/hosp/drgcodes.csv.gz"
    table = pl.read_csv(path, infer_schema=False).drop("drg_type")
    path.write_bytes(gzip.compress(table.write_csv().encode()))
    with pytest.raises(UserError, match="no column drg_type"):
        prepare(f"data.dir={tmp_path / 'mimic'}")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("hadm_id", b"abc", "row 3: hadm_id is no whole number"),
        ("description", b"HEART \xff", "row 3 holds bytes that are no UTF-8"),
        ("description", b"HEART \0", "row 3 holds a NUL byte"),
        ("description", b'"HEART', "row 3"),
        ("description", b"HEART,FAILURE", "row 3 has 8 fields where the header has 7"),
    ],
)
def test_damage_to_the_drg_rows_is_named(
    column: str, value: bytes, message: str, hospital: Path, tmp_path: Path, prepare: Prepare
) -> None:
    shutil.copytree(hospital, tmp_path / "mimic")
    path = tmp_path / "mimic/hosp/drgcodes.csv.gz"
    lines = gzip.decompress(path.read_bytes()).split(b"\n")
    fields = [b"1", b"2", b"HCFA", b"291", b"HEART FAILURE & SHOCK W MCC", b"", b""]
    fields[lines[0].split(b",").index(column.encode())] = value
    path.write_bytes(gzip.compress(b"\n".join([*lines[:3], b",".join(fields), *lines[4:]])))
    with pytest.raises(UserError, match=rf"drgcodes\.csv\.gz.*{message}"):
        prepare(f"data.dir={tmp_path / 'mimic'}")


def test_a_drg_row_without_a_description_is_listed_as_undecided(
    hospital: Path, tmp_path: Path, prepare: Prepare
) -> None:
    shutil.copytree(hospital, tmp_path / "mimic")
    path = tmp_path / "mimic/hosp/drgcodes.csv.gz"
    lines = gzip.decompress(path.read_bytes()).split(b"\n")
    lines[3] = b"1,2,HCFA,291,,,"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    record, _ = prepare(f"data.dir={tmp_path / 'mimic'}")
    assert [row["reason"] for row in record["undecided"] if row["drg_code"] == "291"] == [
        "no description, and a code alone may be of any version"
    ]


def test_a_label_seen_once_stays_and_too_few_notes_for_the_papers_split_are_said(
    hospital: Path, prepare: Prepare
) -> None:
    _, notes = prepare(f"data.dir={hospital}")
    assert 1 in notes["drg"].value_counts()["count"]
    with pytest.raises(UserError, match="the paper's split needs more notes"):
        prepare(f"data.dir={hospital}", "protocol=paper")


def test_a_disk_that_fills_up_is_said_in_one_line(hospital: Path, tmp_path: Path, forks: Forks) -> None:
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); import signal; "
    run = limit + "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from src.prepare import main; main()"
    words = [f"data.dir={hospital}", f"data.out={tmp_path / 'cohort'}"]
    done = forks.run(["-c", run, *words])
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {tmp_path / 'cohort'}: the disk is full")
    assert list(tmp_path.iterdir()) == []
