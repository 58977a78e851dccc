"""A table reads the same in every form that programs write it in, or the form is refused; never another table."""

import gzip
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from src.cli.errors import UserError
from src.cohort import csv_stream as records
from src.cohort import encoding, json_rows
from src.cohort.csv_stream import read_records
from src.cohort.layout import look
from src.cohort.sources import Columns, Source
from src.config.dialect import Dialect

ROOMY = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
COLUMNS = Columns("TEXT", label="LABEL", patient="Ward No")
LETTERS = 'ab,;|"\n\r\té\u20ac x'

Row = tuple[str, str | None, str | None]


@dataclass(frozen=True)
class Form:
    """How a program writes a CSV file."""

    separator: str
    encoding: str
    mark: bool
    line_end: str
    all_quoted: bool
    above: str
    packed: bool


FORMS = st.builds(
    Form,
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "cp1252"]),
    mark=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    all_quoted=st.booleans(),
    above=st.sampled_from(["", "sep", "\n", "Discharge notes of 2024\n", "Notes,of\n\n"]),
    packed=st.booleans(),
)
CELL = st.text(st.sampled_from(LETTERS), max_size=9)
MISSING = st.sampled_from(["", " ", "\t", None])
TABLES = st.lists(st.tuples(CELL, st.sampled_from(["ards", " ards", "stroke "]) | MISSING, MISSING | CELL), max_size=6)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "BLOCK", 16)
    monkeypatch.setattr(json_rows, "BLOCK", 16)


def meant(table: list[Row]) -> list[tuple[str, str | None, str | None]]:
    """What a table says: texts as they stand, other cells stripped, and nothing where nothing is left."""
    return [(text, *((cell or "").strip() or None for cell in cells)) for text, *cells in table]


def read(path: Path, dialect: Dialect | None = None) -> list[tuple[str, str | None, str | None]]:
    rows = []
    for piece, notes, rejected in Source(path, COLUMNS, dialect or Dialect()).chunks():
        assert not rejected
        cells = piece.select("label", "patient").rows()
        rows += [(note.decode(), *pair) for note, pair in zip(notes, cells, strict=True)]
    return rows


def quoted(cell: str, form: Form) -> str:
    """A cell as spreadsheets write it; the csv module leaves a lone CR without quotes."""
    plain = not form.all_quoted and not set(cell) & {form.separator, '"', "\n", "\r"}
    return cell if plain else '"' + cell.replace('"', '""') + '"'


def written(table: list[Row], form: Form) -> bytes:
    buffer = io.StringIO(newline="")
    above = f"sep={form.separator}\n" if form.above == "sep" else form.above
    buffer.write(above.replace("\n", form.line_end))
    for cells in [("Ward\nNo", "LABEL ", "Other", "TEXT"), *((row[2], row[1], "-", row[0]) for row in table)]:
        buffer.write(form.separator.join(quoted(cell or "", form) for cell in cells) + form.line_end)
    data = buffer.getvalue().encode(form.encoding)
    marks = {name: mark for mark, name in encoding.MARKS.items()}
    data = marks.get(form.encoding, b"") + data if form.mark or form.encoding.startswith("utf-32") else data
    return gzip.compress(data) if form.packed else data


@ROOMY
@given(table=TABLES, form=FORMS)
@example(table=[("a", None, None)], form=Form(",", "utf-8", False, "\n", False, "", False))
def test_a_table_reads_the_same_in_every_form_of_csv(
    table: list[Row], form: Form, tmp_path: Path, small_blocks: None
) -> None:
    path = tmp_path / "notes.csv"
    path.write_bytes(written(table, form))
    assert read(path, Dialect(encoding="cp1252" if form.encoding == "cp1252" and path_is_foreign(path) else None)) == (
        meant(table)
    )


def path_is_foreign(path: Path) -> bool:
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


@ROOMY
@given(
    table=TABLES,
    array=st.booleans(),
    indent=st.none() | st.integers(0, 3),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_a_table_reads_the_same_in_every_form_of_json(
    table: list[Row], array: bool, indent: int | None, line_end: str, tmp_path: Path, small_blocks: None
) -> None:
    cells = [{"TEXT": text, "LABEL": label, "Ward No": patient, "list": [1]} for text, label, patient in table]
    holed = [{name: value for name, value in row.items() if value is not None} for row in cells[1:]]
    rows = [json.dumps(row, indent=indent if array else None) for row in [*cells[:1], *holed]]
    text = "[" + ",\n".join(rows) + "]\n" if array else "".join(row + "\n\n" for row in rows)
    path = tmp_path / "notes.json"
    path.write_bytes((text or "\n{}").replace("\n", line_end).encode())
    if not table:
        return
    assert read(path) == meant(table)


@settings(ROOMY, max_examples=60)
@given(table=TABLES)
def test_a_table_reads_the_same_from_parquet(table: list[Row], tmp_path: Path) -> None:
    schema = {"TEXT": pl.String, "LABEL": pl.String, "Ward No": pl.Categorical}
    pl.DataFrame(table, schema=schema, orient="row").write_parquet(tmp_path / "notes.parquet")
    assert read(tmp_path / "notes.parquet") == meant(table)


@ROOMY
@given(tail=st.text(st.sampled_from('a,"\n\r ;\0'), max_size=60), size=st.integers(1, 40))
@example(tail='"a" ,b,c\nd,e,f', size=3)
@example(tail="a,b,\nc,d,e,f\ng,h\n", size=40)
@example(tail="a,b,c,d\ne,f\n", size=40)
@example(tail=';","\n";"\n', size=1)
def test_how_much_is_read_at_a_time_changes_no_row_and_no_message(
    tail: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notes.csv"
    path.write_bytes(b"Ward No,LABEL,TEXT\n" + tail.encode())
    answers = []
    for block in (size, 4 << 20):
        monkeypatch.setattr(records, "BLOCK", block)
        try:
            chunks = list(read_records(look(path, ["LABEL"]), ["LABEL", "TEXT"], "reading", "TEXT"))
            rows = [
                (n, *row)
                for chunk in chunks
                for n, row in zip(chunk.numbers, chunk.rows.fill_null("").rows(), strict=True)
            ]
            answers.append((rows, [pair for chunk in chunks for pair in chunk.rejected]))
            event("read")
        except UserError as error:
            answers.append(str(error))
    assert answers[0] == answers[1]


@ROOMY
@given(
    table=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6),
    form=FORMS,
    row=st.integers(0, 5),
    more=st.sampled_from([-1, 1]),
)
def test_a_record_of_another_number_of_fields_is_refused_by_its_row_in_every_form(
    table: list[Row], form: Form, row: int, more: int, tmp_path: Path, small_blocks: None
) -> None:
    row %= len(table)
    form = replace(form, encoding="utf-8")
    whole = [
        quoted(cell, replace(form, all_quoted=True))
        for text, label, patient in table
        for cell in (patient, label, "-", text)
    ]
    records_ = [whole[4 * index : 4 * index + 4] for index in range(len(table))]
    records_[row] = [*records_[row], '"x"'] if more > 0 else records_[row][:-1]
    lines = ["Ward No LABEL Other TEXT".replace(" ", form.separator).replace(f"Ward{form.separator}No", "Ward No")]
    lines += [form.separator.join(record) for record in records_]
    path = tmp_path / "notes.csv"
    path.write_bytes(form.line_end.join(lines).encode())
    with pytest.raises(UserError, match=f"row {row + 1} has {4 + more} fields where the header has 4"):
        list(read_records(look(path, ["LABEL", "TEXT"]), ["LABEL"], "reading", "TEXT"))
