"""Makes a hospital of any size in minutes: a small synthetic one again and again, with ids of its own each time."""

import csv
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from src.benchmarks.preparation import lengthened, longer_lists
from src.cli.errors import UserError
from src.cli.progress import track
from src.synthetic.hospital_folder import write_hospital

SMALL = 1_000
"""Admissions of the hospital that is repeated."""

SUMMARY, REPORT = 10_000, 1_500
"""Mean bytes of a discharge summary and of a radiology report."""

ROWS_A_SUMMARY = {"note/radiology": 7.0, "ed/vitalsign": 1_564_610 / 331_793, "ed/medrecon": 2_987_342 / 331_793}
"""Rows that MIMIC-IV has for each of its 331,793 summaries; of other tables there are what the small hospital has."""

IDS = ("subject_id", "hadm_id", "stay_id", "transfer_id", "note_id")
_ID = re.compile(r"([0-9]{8})(-.*)?")
_SENTENCE = " The cardiomediastinal and hilar contours are stable, and no pleural effusion or pneumothorax is seen."
_STAY = "Stay <copy>"

Row = Mapping[str, str]
Pieces = Sequence[bytes | int]
"""A table's rows as text: bytes stay, and every number is an id, larger by the copy's shift."""


def write_large(out: Path, summaries: int, small: int = SMALL) -> dict[str, int]:
    """Writes `note/`, `ed/` and `hosp/` in MIMIC-IV's columns, with at least so many discharge summaries.

    Returns:
        How many rows each table has, by names such as `note/radiology`.

    Raises:
        UserError: there are too few ids of eight digits.
    """
    from isal import igzip

    write_hospital(out / "small", small, seed=0, split_seed=0, test_share=0.0)
    paths = [path for path in sorted((out / "small").glob("*/*.csv.gz")) if path.name != "evidence.csv.gz"]
    tables = {f"{path.parent.name}/{path.name.removesuffix('.csv.gz')}": _read(path) for path in paths}
    notes = len(tables["note/discharge"])
    tables = _at_the_rates_of_mimic(tables)
    numbers = (row[name][1:8] for rows in tables.values() for row in rows for name in IDS if row.get(name))
    span, copies = max(map(int, numbers)) + 1, -(-summaries // notes)
    if span * copies > 10_000_000:
        raise UserError(f"summaries={summaries}: ids of eight digits run out after {10_000_000 // span * notes:,}")
    for name, rows in track(tables.items(), total=len(tables), what="writing", unit="table"):
        path = out / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        pieces = _pieces(rows)
        with igzip.open(path, "wb", compresslevel=1) as file:
            file.write((",".join(rows[0]) + "\n").encode())
            for copy in range(copies):
                shift = copy * span
                file.write(b"".join(part if isinstance(part, bytes) else b"%d" % (part + shift) for part in pieces))
    return {name: len(rows) * copies for name, rows in tables.items()}


def _read(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _at_the_rates_of_mimic(tables: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """Repeats rows up to MIMIC-IV's rates, reports under ids of their own, and lengthens texts to MIMIC-IV's."""
    notes = tables["note/discharge"]
    more = {name: list(_repeated(tables[name], round(rate * len(notes)))) for name, rate in ROWS_A_SUMMARY.items()}
    of_report: dict[str, list[Row]] = {}
    for row in tables["note/radiology_detail"]:
        of_report.setdefault(row["note_id"], []).append(row)
    reports, details = [], []
    for number, row in enumerate(more["note/radiology"]):
        name = f"{row['subject_id']}-RR-{number}"
        text = row["text"] + _SENTENCE * max(0, round((REPORT - len(row["text"])) / len(_SENTENCE)))
        text += f" Report {number}, {_STAY}."  # pandas keeps equal texts of a file once
        reports.append({**row, "note_id": name, "text": text})
        details += [{**detail, "note_id": name} for detail in of_report.get(row["note_id"], [])]
    # A copy's number in its course, as an id that shifts, makes no two summaries duplicates.
    lists = longer_lists([row["text"] for row in notes], SUMMARY)
    texts = [re.sub(r"(?i)(course:\n|\Z)", rf"\1{_STAY}. ", lengthened(row["text"], lists), count=1) for row in notes]
    summaries = [{**row, "text": text} for row, text in zip(notes, texts, strict=True)]
    new = {"note/radiology": reports, "note/radiology_detail": details, "note/discharge": summaries}
    return {name: list(new.get(name, more.get(name, rows))) for name, rows in tables.items()}


def _repeated(rows: Sequence[Row], count: int) -> Iterator[Row]:
    """Yields `count` rows in the order of `rows`, each as often as every other or once more."""
    return (rows[index * len(rows) // count] for index in range(count))


def _pieces(rows: Sequence[Row]) -> Pieces:
    """Cuts rows where ids stand; neighbouring texts are one piece."""
    pieces: list[bytes | int] = [b""]
    for row in rows:
        for index, (name, value) in enumerate(row.items()):
            before = b"" if index == 0 else b","
            if name in IDS and (match := _ID.fullmatch(value)):
                _add(pieces, before, int(match[1]), (match[2] or "").encode())
            elif name == "text" and _STAY in value:
                start, _, rest = _quoted(value).partition(_STAY)
                _add(pieces, before + start.encode() + b"Stay ", 0, rest.encode())
            else:
                _add(pieces, before + _quoted(value, name == "text").encode())
        _add(pieces, b"\n")
    return pieces


def _add(pieces: list[bytes | int], *parts: bytes | int) -> None:
    for part in parts:
        if isinstance(part, bytes) and isinstance(pieces[-1], bytes):
            pieces[-1] += part
        else:
            pieces.append(part)


def _quoted(value: str, always: bool = True) -> str:
    if always or re.search(r'[",\r\n]', value):
        return '"' + value.replace('"', '""') + '"'
    return value
