"""Notes of every form become the same encounters, one prediction each; what is no encounter is named."""

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.cli.errors import Interrupted, UserError
from src.cli.signals import Stop
from src.cohort.familiar_words import FamiliarWords
from src.config.dialect import Dialect
from src.inference.encounters import Encounters, find_notes, open_encounters
from src.runs.kept_cohort import KeptCohort

KEPT: dict[str, Any] = {"sections": ["hospital_course"], "headings": [], "fewest_words": 3}
TEXTS = ['Älterer Patient, "gestürzt", Fraktur.', "Pneumonia was treated\nfor 5 days.", ""]
IDS = ["a-1", "007", "c"]


@contextmanager
def read(notes: Path, kept: Mapping[str, Any] = KEPT, hosp: Path | None = None, **keys: Any) -> Iterator[Encounters]:
    source = find_notes(notes, keys.pop("text", None), keys.pop("id", None), Dialect(key="", **keys))
    of_run = KeptCohort(dict(kept), FamiliarWords())
    with open_encounters(source, of_run, hosp, notes.parent / "out.csv", Stop()) as encounters:
        yield encounters


def note(text: str) -> str:
    return f"Chief Complaint:\nPain\n\nBrief Hospital Course:\n{text}\n\nDischarge Medications:\nAspirin\n"


def table() -> pl.DataFrame:
    return pl.DataFrame({"id": IDS, "text": [note(text) for text in TEXTS]})


def as_csv(path: Path) -> None:
    table().write_csv(path)


def as_packed_csv(path: Path) -> None:
    path.write_bytes(gzip.compress(table().write_csv(separator=";").encode()))


def as_folder(path: Path) -> None:
    path.mkdir()
    for name, text in zip(IDS, TEXTS, strict=True):
        (path / f"{name}.txt").write_text(note(text), "utf-8")
    (path / "readme.md").write_text("no note")


FORMS = {
    "notes.csv": as_csv,
    "notes.csv.gz": as_packed_csv,
    "notes.parquet": lambda path: table().write_parquet(path),
    "notes.jsonl": lambda path: table().write_ndjson(path),
    "notes.json": lambda path: path.write_text(json.dumps(table().to_dicts())),
    "notes": as_folder,
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_notes_gives_the_same_encounters(name: str, tmp_path: Path) -> None:
    FORMS[name](tmp_path / name)
    with read(tmp_path / name) as encounters:
        rows = encounters.piece(0, 10)
        assert dict(rows.select("id", "text").iter_rows()) == dict(zip(IDS, TEXTS, strict=True))
        assert encounters.piece(1, 1)["id"].to_list() == rows["id"].to_list()[1:2]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_text_of_its_own_is_read_whole(tmp_path: Path) -> None:
    pl.DataFrame({"case": [7], "course": [" Treated. "]}).write_parquet(tmp_path / "notes.parquet")
    with read(tmp_path / "notes.parquet", {**KEPT, "sections": ["whole_note"]}, text="course", id="case") as encounters:
        assert encounters.piece(0, 1).to_dicts() == [{"id": "7", "text": "Treated."}]


def test_headings_and_the_protocol_of_the_cohort_decide_what_is_read(tmp_path: Path) -> None:
    texts = ["Clinical Summary:\nTreated.\n", "Brief Hospital Course: dropped\nKept.\nDischarge Medications:\n"]
    pl.DataFrame({"id": ["a", "b"], "text": texts}).write_parquet(tmp_path / "notes.parquet")
    for more, expected in (
        ({"headings": ["hospital_course:Clinical Summary"]}, ["Treated.", "dropped\nKept."]),
        ({"protocol": "paper"}, ["", "\nKept.\n"]),
    ):
        with read(tmp_path / "notes.parquet", {**KEPT, **more}) as encounters:
            assert encounters.piece(0, 2)["text"].to_list() == expected


def mimic(path: Path, *notes: tuple[str, int | None, str]) -> Path:
    rows = [
        {"note_id": note_id, "subject_id": 1, "hadm_id": admission, "text": note(text)}
        for note_id, admission, text in notes
    ]
    pl.DataFrame(rows, schema_overrides={"hadm_id": pl.Int64}).write_csv(path)
    return path


def test_an_admission_has_one_prediction_by_the_rule_of_the_cohort(tmp_path: Path) -> None:
    path = mimic(
        tmp_path / "discharge.csv",
        ("1-DS-2", 20, "The second of two."),
        ("1-AD-1", 20, "An addendum to it."),
        ("1-DS-1", 20, "The first of two."),
        ("2-DS-1", 10, "Short."),
        ("2-DS-2", 10, "Three words long."),
        ("3-DS-1", 30, ""),
        ("3-AD-1", 30, "Training leaves this out."),
        ("4-AD-1", 40, "An addendum alone counts."),
        ("5-DS-1", 50, "Few."),
        ("5-DS-2", 50, "Fewer than."),
        ("6-DS-1", None, "Of no admission."),
    )
    with read(path) as encounters:
        assert dict(encounters.piece(0, 9).select("id", "text").iter_rows()) == {
            "20": "The first of two.",
            "10": "Three words long.",
            "30": "",
            "40": "An addendum alone counts.",
            "50": "Fewer than.",
        }
        assert encounters.remarks == [
            "notes left out, of no admission or with a note_id that came before: 1 (row 11)",
            "addenda and further summaries of admissions, which have one prediction each: 5",
        ]


def test_notes_that_are_no_text_are_left_out_and_counted(tmp_path: Path) -> None:
    texts = [note("Treated."), note("a" * 2_000_000), note("NUL \0 byte."), "no heading"]
    pl.DataFrame({"id": list("abcd"), "text": texts}).write_csv(tmp_path / "notes.csv")
    with read(tmp_path / "notes.csv") as encounters:
        assert encounters.piece(0, 9)["text"].to_list() == ["Treated.", ""]
        assert encounters.remarks == ["notes left out: 2 (row 3: a NUL byte; row 2: longer than 1,000,000 bytes)"]
    folder = tmp_path / "folder"
    as_folder(folder)
    (folder / "big.txt").write_bytes(b"a" * 5_000_000)
    (folder / "binary.txt").write_bytes(bytes(range(1, 64)) + b"\0")
    with read(folder) as encounters:
        assert len(encounters) == 3
        (remark,) = encounters.remarks
        assert "big.txt: longer than 1,000,000 bytes" in remark
        assert "binary.txt: a NUL byte" in remark


def test_notes_without_a_section_are_told_once_with_what_may_be_meant(tmp_path: Path) -> None:
    pl.DataFrame({"id": [1, 2], "text": ["Treated.", ""]}).write_csv(tmp_path / "notes.csv")
    with read(tmp_path / "notes.csv") as encounters:
        assert encounters.remarks == [
            "no note has a text (hospital course); if each holds what the model reads, write sections=false"
        ]


BAD = {
    "an id twice": (
        "n.csv",
        b"id,text\na,x\nb,y\na,z\n",
        r"rows 1 and 3 have one id \(ids that come more than once: 1\)",
    ),
    "an id missing": ("n.csv", b"id,text\na,x\nNA,y\n", r"n\.csv: row 2 has no id \(1 in all\); give each row one"),
    "no such columns": (
        "n.csv",
        b"case,note\n1,x\n",
        r"no column text and none id; name text=COLUMN and id=COLUMN, its",
    ),
    "no id": ("n.jsonl", b'{"text": "x", "case": 1}', r"no column id; name id=COLUMN, its columns are text, case"),
    "nothing below the header": ("n.csv", b"id,text\n", r"n\.csv: holds no encounter"),
    "no note is text": ("n.csv", b"id,text\na,\0\n", r"holds no encounter; notes left out: 1 \(row 1: a NUL byte\)"),
    "damaged gzip": ("n.csv.gz", gzip.compress(b"id,text\na,x\n" * 9)[:-12], r"cut short or damaged"),
    "no gzip": ("n.csv.gz", b"\x1f\x8b\x08 what follows is none", r"cut short or damaged; download it again"),
    "no Parquet": ("n.parquet", b"PAR1 and no more", r"is no whole Parquet file"),
    "no JSON": ("n.jsonl", b"{", r"row 1 is no JSON"),
    "of Windows": ("n.csv", b"id,text\na,\xe4lter\n", r"if the file comes from Windows or Excel write encoding=cp1252"),
    "JSON of Windows": ("n.jsonl", b'{"id": 1, "text": "\xe4"', r"if it comes from Windows write encoding=cp1252"),
    "a workbook": ("n.xlsx", b"PK", r"is a workbook; save its sheet as CSV"),
    "a picture": ("n.png", b"\x89PNG", r"must end with \.csv"),
    "empty": ("n.csv", b"", r"the file is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_read_is_refused_with_what_to_do(name: str, tmp_path: Path) -> None:
    file, content, reason = BAD[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=reason), read(tmp_path / file):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_folders_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    with pytest.raises(UserError, match=r"notes: no file in it ends with \.txt or \.txt\.gz"), read(folder):
        pass
    with pytest.raises(UserError, match="is a folder; leave text= and id= out"), read(folder, text="course"):
        pass
    (folder / "a.txt").write_bytes("Älter".encode("cp1252"))
    with (
        pytest.raises(UserError, match=r"a\.txt: holds bytes that are no UTF-8; .* write encoding=cp1252"),
        read(folder),
    ):
        pass
    with read(folder, {**KEPT, "sections": ["whole_note"]}, encoding="cp1252") as encounters:
        assert encounters.piece(0, 1)["text"].to_list() == ["Älter"]
    (folder / "b.txt.gz").write_bytes(gzip.compress(b"cut short" * 99)[:30])
    with (
        pytest.raises(UserError, match=r"b\.txt\.gz: the compressed file is cut short"),
        read(folder, encoding="cp1252"),
    ):
        pass


def test_a_signal_ends_reading_and_leaves_nothing(tmp_path: Path) -> None:
    as_csv(tmp_path / "notes.csv")
    stop = Stop()
    stop.received = 15
    source = find_notes(tmp_path / "notes.csv", None, None, Dialect(key=""))
    kept = KeptCohort(KEPT, FamiliarWords())
    with pytest.raises(Interrupted), open_encounters(source, kept, None, tmp_path / "out.csv", stop):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.csv"]


def test_facts_need_admissions_by_their_own_ids(hospital: Path, tmp_path: Path) -> None:
    ids = pl.read_csv(next((hospital / "hosp").glob("admissions.csv*")))["hadm_id"][:2].to_list()
    pl.DataFrame({"id": [*ids, 5], "text": ["x", "y", "z"]}).write_csv(tmp_path / "notes.csv")
    for folder in (hospital, hospital / "hosp"):
        with read(tmp_path / "notes.csv", hosp=folder) as encounters:
            facts = encounters.piece(0, 3)
            assert facts["age"].is_null().to_list() == [False, False, True]
            assert encounters.remarks[-1].endswith("of which no facts are read: 1")
    with (
        pytest.raises(UserError, match=r"no admissions\.csv\.gz or \.csv there"),
        read(tmp_path / "notes.csv", hosp=tmp_path),
    ):
        pass
    pl.DataFrame({"id": ["a"], "text": ["x"]}).write_csv(tmp_path / "notes.csv")
    with (
        pytest.raises(UserError, match=r"encounter 1 has an id that is no hadm_id"),
        read(tmp_path / "notes.csv", hosp=hospital),
    ):
        pass
