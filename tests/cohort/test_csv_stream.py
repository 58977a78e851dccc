import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from src.cli.errors import UserError
from src.cohort import csv_stream as records
from src.cohort.csv_stream import read_records
from src.cohort.layout import look

CELL = st.text(st.sampled_from('a,"\n\r é_'), max_size=12)
ROOMY = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "BLOCK", 7)


def read(path: Path) -> tuple[list[tuple[object, ...]], list[tuple[int, str]]]:
    chunks = list(read_records(look(path, ["id", "text"]), ["id", "text"], "reading", "text"))
    rows = [(n, *row) for chunk in chunks for n, row in zip(chunk.numbers, chunk.rows.iter_rows(), strict=True)]
    assert [row[2] or "" for row in rows] == [note.decode() for chunk in chunks for note in chunk.notes]
    return rows, [one for chunk in chunks for one in chunk.rejected]


@ROOMY
@given(table=st.lists(st.tuples(st.integers(0, 99).map(str), CELL), max_size=8), packed=st.booleans())
@example(table=[("1", "\r")], packed=False)
@example(table=[("1", ""), ("2", '"')], packed=True)
def test_records_are_those_of_the_csv_module(
    table: list[tuple[str, str]], packed: bool, tmp_path: Path, small_blocks: None
) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("id", "text"), *table])
    data = buffer.getvalue().encode()
    path = tmp_path / "t.csv"
    path.write_bytes(gzip.compress(data) if packed else data)
    rows, rejected = read(path)
    assert [(row[0], row[1], row[2] or "") for row in rows] == [(n, *row) for n, row in enumerate(table, 1)]
    assert not rejected


@ROOMY
@given(tail=st.binary(max_size=60) | st.text(st.sampled_from('a,"\n\r\0é'), max_size=60).map(str.encode))
@example(tail=b'1,"\xff"\n')
@example(tail=b"1,a\n\n2,b")
@example(tail=b'1,"a\n')
def test_any_bytes_are_rows_rejected_rows_or_an_error_with_the_file(
    tail: bytes, tmp_path: Path, small_blocks: None
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"id,text\n" + tail)
    try:
        rows, rejected = read(path)
    except UserError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        return
    numbers = sorted([int(str(row[0])) for row in rows] + [number for number, _ in rejected])
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfid,text\n1,a\n")
    assert read(tmp_path / "t.csv")[0] == [(1, "1", "a")]
