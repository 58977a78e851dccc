"""Files that people bring: what is no table is refused with its true reason, and missing is missing in all of them."""

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.cli.errors import UserError
from src.cohort.missing import missing_words
from src.cohort.sources import Columns, Source, mimic_source
from src.config.dialect import Dialect
from tests.cohort.conftest import Prepare

COLUMNS = Columns("TEXT", label="LABEL")


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, "TEXT,LABEL\na,b\n")
    return buffer.getvalue()


def labels(source: Source) -> list[str | None]:
    return [label for rows, *_ in source.chunks() for label in rows["label"]]


def rows(path: Path, *texts: tuple[str, Any], **keys: Any) -> Source:
    """A source of JSON lines."""
    path.write_text("".join(json.dumps({"TEXT": text, "LABEL": label}) + "\n" for text, label in texts))
    return Source(path, COLUMNS, **keys)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (archive("[Content_Types].xml", "xl/workbook.xml"), r"is a workbook; save its sheet as CSV \(UTF-8\)"),
        (archive("notes.csv"), "is a zip archive; unpack it"),
        (gzip.compress(archive("notes.csv")), "is a zip archive; unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "is a workbook of Excel; save its sheet"),
        (b"PAR1" + bytes(100), r"is a Parquet file; name it \.parquet"),
        (b"\xfd7zXZ\0 and more", "is compressed by xz; unpack it, or compress it by gzip"),
        (b"%PDF-1.7 and more", "is a PDF"),
        (b"<!DOCTYPE html><table>", "is a page of HTML or XML"),
        (b"\n \n", "the file is empty"),
        (b"", "the file is empty"),
    ],
    ids=["xlsx", "zip", "zip in gzip", "xls", "parquet", "xz", "pdf", "html", "blank", "empty"],
)
def test_what_is_no_table_is_refused_with_its_true_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    for name in ("notes.csv", "notes.jsonl"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=rf"{name}: {reason}"):
            labels(Source(tmp_path / name, COLUMNS))


def test_a_workbook_by_name_is_told_how_to_save_it(tmp_path: Path) -> None:
    (tmp_path / "notes.XLSX").write_bytes(archive("xl/workbook.xml"))
    with pytest.raises(UserError, match="is a workbook; save its sheet as CSV"):
        labels(Source(tmp_path / "notes.XLSX", COLUMNS))


@pytest.mark.parametrize("name", ["NOTES.CSV", "notes.tsv", "notes.Txt", "notes.CSV.GZ"])
def test_an_ending_in_capitals_or_of_text_is_read(name: str, tmp_path: Path) -> None:
    data = b"TEXT\tLABEL\nfever\tards\n"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("GZ") else data)
    assert labels(Source(tmp_path / name, COLUMNS)) == ["ards"]


def test_letters_of_windows_are_refused_by_row_until_the_encoding_is_said(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_bytes("TEXT,LABEL\nfever,ards\nf\u00fcnf Tage,h\u00f6r\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"row 2 holds bytes that are no UTF-8; .*data\.encoding=cp1252"):
        labels(Source(path, COLUMNS))
    assert labels(Source(path, COLUMNS, Dialect(encoding="cp1252"))) == ["ards", "h\u00f6r"]
    ((kept, _, rejected),) = Source(path, COLUMNS, Dialect(encoding="utf-8")).chunks()
    assert (kept["row"].to_list(), rejected) == ([1], [(2, "bytes that are no UTF-8")])


def test_letters_of_windows_in_json_are_refused_by_row_and_not_taken_for_half_a_letter(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes('{"TEXT": "a", "LABEL": "x"}\n{"TEXT": "f\u00fcnf", "LABEL": "y"}\n'.encode("cp1252"))
    with pytest.raises(UserError, match=r"row 2 holds bytes that are no UTF-8; .*data\.encoding=cp1252"):
        labels(Source(path, COLUMNS))
    assert labels(Source(path, COLUMNS, Dialect(encoding="cp1252"))) == ["x", "y"]


def test_an_encoding_that_would_garble_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("TEXT,LABEL\nf\u00fcnf,ards\n", encoding="utf-8")
    with pytest.raises(UserError, match="is UTF-8 as it stands, cp1252 would garble its letters"):
        labels(Source(path, COLUMNS, Dialect(encoding="cp1252")))
    path.write_text("TEXT,LABEL\nf\u00fcnf,ards\n", encoding="utf-16")
    with pytest.raises(UserError, match="is UTF-16-LE by its first bytes, not cp1252"):
        labels(Source(path, COLUMNS, Dialect(encoding="cp1252")))


def test_bytes_that_the_chosen_encoding_does_not_know_are_listed_by_row(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_bytes(b"TEXT,LABEL\nfever\x81,ards\nb\xe4,c\n")
    ((kept, _, rejected),) = Source(path, COLUMNS, Dialect(encoding="cp1252")).chunks()
    assert (kept["row"].to_list(), rejected) == ([2], [(1, "bytes that are no CP1252")])


def test_half_of_a_letter_is_replaced_and_told(tmp_path: Path) -> None:
    source = rows(tmp_path / "notes.jsonl", ("well \ud83d\ude00", "a\ud83d"), ("b", "a"))
    ((read, notes, _),) = source.chunks()
    assert [note.decode() for note in notes] == ["well \U0001f600", "b"]
    assert read["label"].to_list() == ["a\ufffd", "a"]
    assert "1 rows hold half of a letter (a lone surrogate, row 1 the first)" in source.remarks[0]


@pytest.mark.parametrize(
    ("value", "what"), [(["a", "b"], "a list"), ({"drg": 1}, "an object"), (float("inf"), "an infinite number")]
)
def test_what_is_no_single_text_is_refused_by_row(value: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"notes\.jsonl: row 2: LABEL holds {what}, where one text is read"):
        labels(rows(tmp_path / "notes.jsonl", ("a", "b"), ("c", value)))


def test_lists_and_structs_of_parquet_are_refused_by_row_unless_none_is_there(tmp_path: Path) -> None:
    path = tmp_path / "notes.parquet"
    for values, what in (([None, ["a"]], "a list"), ([None, {"drg": "a"}], "an object")):
        pl.DataFrame({"TEXT": ["a", "b"], "LABEL": values}).write_parquet(path)
        with pytest.raises(UserError, match=f"row 2: LABEL holds {what}"):
            labels(Source(path, COLUMNS))
    pl.DataFrame(
        {"TEXT": ["a", "b"], "LABEL": [None, None]}, schema={"TEXT": str, "LABEL": pl.List(str)}
    ).write_parquet(path)
    assert labels(Source(path, COLUMNS)) == [None, None]


def test_numbers_have_the_same_text_in_json_and_parquet(tmp_path: Path) -> None:
    values = [291.0, float("nan"), 1.5, None]
    pl.DataFrame({"TEXT": list("abcd"), "LABEL": values}).write_parquet(tmp_path / "notes.parquet")
    expected = ["291", None, "1.5", None]
    assert labels(Source(tmp_path / "notes.parquet", COLUMNS)) == expected
    assert labels(rows(tmp_path / "notes.jsonl", *zip("abcd", values, strict=True))) == expected


def test_a_json_array_and_lines_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    for text, message in (
        ('[{"TEXT": "a", "LABEL": "b"}, {"TEXT": "a"', "row 2 is no JSON"),
        ('[{"TEXT": "a", "LABEL": "b"}, 7]', "row 2 is a number; a row is an object of columns and values"),
        ('[{"TEXT": "a", "LABEL": "b"}] []', "something stands behind the array of 1 rows"),
        ('{\n"TEXT": "a"}', "row 1 is no JSON; a file is one object a line, or one array of objects"),
        ('{"TEXT": {"0": "a"}, "LABEL": {"0": "b"}}', "row 1: LABEL holds an object"),
        ('{"TEXT": "a"}\n\n{"text": "b"}', "no column LABEL; there are TEXT, text"),
        ("[" * 100_000, "row 1 is no JSON"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            labels(Source(path, COLUMNS))


def test_a_column_that_is_there_twice_and_one_of_another_name_are_told(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    for header, message in (
        ("TEXT,LABEL,LABEL", "has several columns LABEL; rename all but one of each"),
        ("TEXT,LABELS,x", "no column LABEL; its columns are TEXT, LABELS, x; did you mean LABELS?"),
        ("TEXT~LABEL", r"if another character separates its columns, name it: data\.separator="),
    ):
        path.write_text(f"{header}\na,b,c\n")
        with pytest.raises(UserError, match=message):
            labels(Source(path, COLUMNS))
    path.write_text("TEXT~LABEL\na,b~c\n")
    assert labels(Source(path, COLUMNS, Dialect(separator="~"))) == ["c"]
    path.write_text("text,Label\na,b\n")
    assert labels(Source(path, COLUMNS)) == ["b"]


def test_columns_may_have_the_names_that_the_readers_use(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("row,note,words\nfever,ards,x\n")
    ((read, notes, _),) = Source(tmp_path / "notes.csv", Columns("row", label="note", patient="words")).chunks()
    assert (read.columns, read.rows(), notes) == (["row", "patient", "label"], [(1, "x", "ards")], [b"fever"])


def test_words_for_a_missing_value_are_told_and_read_so_when_asked(prepare: Prepare, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    lines = [
        f"{'nan' if row == 7 else f'note {row} of it'},{('ards', 'stroke', 'NA', '#N/A')[row % 4]}" for row in range(80)
    ]
    path.write_text("\n".join(["TEXT,LABEL", *lines]))
    words = ("data=csv", f"data.path={path}", "data.text=TEXT", "data.label=LABEL", "data.labels=any")
    record, notes = prepare(*words)
    asked = """'data.missing=["#N/A",NA,nan]' reads it so"""
    assert f"LABEL: '#N/A' (20 rows), 'NA' (20 rows) may mean a missing value; {asked}" in record["remarks"]
    assert f"TEXT: 'nan' (1 rows) may mean a missing value; {asked}" in record["remarks"]
    assert set(notes["drg"]) == {"ards", "stroke", "NA", "#N/A"}
    record, notes = prepare(*words, 'data.missing=["#N/A",NA,nan]')
    assert set(notes["drg"]) == {"ards", "stroke"}
    assert notes.height == 40
    assert not any("missing" in remark for remark in record["remarks"])


def test_words_for_a_missing_value_are_counted_in_any_case() -> None:
    assert missing_words(pl.Series(["NaN", "None", "name", None, "N/A"])) == {"NaN": 1, "None": 1, "N/A": 1}


def test_the_two_downloads_of_physionet_are_read_together(hospital: Path, prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "mimiciv").mkdir()
    (tmp_path / "mimic-iv-note").mkdir()
    (tmp_path / "mimiciv" / "hosp").symlink_to(hospital / "hosp")
    (tmp_path / "mimic-iv-note" / "note").symlink_to(hospital / "note")
    with pytest.raises(UserError, match=r"no note/discharge.*data\.notes= MIMIC-IV-Note"):
        prepare(f"data.dir={tmp_path / 'mimiciv'}")
    _, together = prepare(f"data.dir={hospital}", "split=patient")
    for notes in ("mimic-iv-note", "mimic-iv-note/note"):
        _, apart = prepare(f"data.dir={tmp_path / 'mimiciv'}", f"data.notes={tmp_path / notes}")
        assert apart.equals(together)


def test_ids_that_were_numbers_with_places_are_read(hospital: Path, tmp_path: Path) -> None:
    (tmp_path / "note").mkdir()
    table = pl.read_csv(hospital / "note" / "discharge.csv.gz", infer_schema=False)
    floats = table.with_columns(pl.col("hadm_id", "subject_id") + ".0")
    floats.write_csv(tmp_path / "note" / "discharge.csv", quote_style="non_numeric")
    ids = [row for rows, *_ in mimic_source(tmp_path).chunks() for row in rows.select("patient", "admission").rows()]
    assert ids == table.select("subject_id", "hadm_id").rows()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.separator=ab", "data.separator=ab: must be one of comma, semicolon, tab, pipe"),
        ("data.encoding=utf8x", "data.encoding=utf8x: unknown; such as utf-8, cp1252"),
        ("data.encoding=base64", "data.encoding=base64: unknown"),
        ("data.notes=x", "belongs to MIMIC-IV files"),
    ],
)
def test_a_wrong_form_is_refused_with_the_other_problems(
    word: str, message: str, prepare: Prepare, tmp_path: Path
) -> None:
    (tmp_path / "notes.csv").write_text("TEXT,LABEL\n")
    with pytest.raises(UserError, match=message):
        prepare("data=csv", f"data.path={tmp_path / 'notes.csv'}", "data.text=TEXT", "data.label=LABEL", word)
