"""The benchmark of early cohorts: its large hospital is one, and its ways join what a plain loop joins."""

import csv
import gzip
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from src.benchmarks.early_cohorts import HOURS, by_charted, measured
from src.benchmarks.large_hospital import REPORT, ROWS_A_SUMMARY, SUMMARY, write_large
from src.cli.errors import UserError


def rows_of(hospital: Path, table: str) -> list[dict[str, str]]:
    with gzip.open(hospital / f"{table}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    folder = tmp_path_factory.mktemp("large")
    return folder, write_large(folder, 700, small=200)


def test_a_large_hospital_has_ids_of_its_own_in_each_copy_and_the_rates_of_mimic(
    large: tuple[Path, dict[str, int]],
) -> None:
    hospital, counts = large
    tables = {name: rows_of(hospital, name) for name in counts}
    assert {name: len(rows) for name, rows in tables.items()} == counts
    notes = tables["note/discharge"]
    assert len(notes) >= 700
    for name in ("note/discharge", "note/radiology"):
        assert len({row["text"] for row in tables[name]}) == counts[name], f"{name}: one is the copy of another"
    for table, column in (("hosp/admissions", "hadm_id"), ("ed/edstays", "stay_id"), ("hosp/patients", "subject_id")):
        assert len({row[column] for row in tables[table]}) == counts[table], f"{table}: an id comes twice"
    patient_of = {row["hadm_id"]: row["subject_id"] for row in tables["hosp/admissions"]}
    for name, rows in tables.items():
        owned = [row for row in rows if row.get("hadm_id") and "subject_id" in row]
        assert all(patient_of[row["hadm_id"]] == row["subject_id"] for row in owned), f"{name}: ids do not belong"
    for name, rate in ROWS_A_SUMMARY.items():
        assert counts[name] / len(notes) == pytest.approx(rate, rel=0.01)
    assert {row["note_id"] for row in tables["note/radiology_detail"]} == {
        row["note_id"] for row in tables["note/radiology"]
    }
    for table, size in (("note/discharge", SUMMARY), ("note/radiology", REPORT)):
        assert sum(len(row["text"]) for row in tables[table]) / counts[table] == pytest.approx(size, rel=0.1)


def test_a_hospital_with_more_ids_than_eight_digits_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="summaries=100000000: ids of eight digits run out after"):
        write_large(tmp_path, 100_000_000, small=30)


def test_the_join_that_is_measured_shows_what_a_plain_loop_shows(large: tuple[Path, dict[str, int]]) -> None:
    hospital, _ = large
    triaged: dict[str, str] = {}
    for visit in rows_of(hospital, "ed/edstays"):
        if visit["hadm_id"]:
            triaged[visit["hadm_id"]] = min(visit["intime"], triaged.get(visit["hadm_id"], visit["intime"]))
    stays = []
    for row in rows_of(hospital, "hosp/admissions"):
        start = row["edregtime"] or row["admittime"]
        begin = min(start, triaged.get(row["hadm_id"], start))
        last = str(datetime.fromisoformat(start) + timedelta(hours=HOURS))
        stays.append((begin, row["dischtime"], last, row["subject_id"], row["hadm_id"]))
    of_patient: dict[str, list[tuple[str, str, str, str, str]]] = {}
    for stay in sorted(stays):
        of_patient.setdefault(stay[3], []).append(stay)
    last_of = {stay[4]: stay[2] for stay in stays}
    expected: Counter[tuple[int, str]] = Counter()
    placed = 0
    for report in rows_of(hospital, "note/radiology"):
        admission = report["hadm_id"]
        if not admission:
            begun = [stay for stay in of_patient[report["subject_id"]] if stay[0] <= report["charttime"]]
            admission = begun[-1][4] if begun and report["charttime"] <= begun[-1][1] else ""
            placed += bool(admission)
        if admission and max(report["storetime"], report["charttime"]) <= last_of[admission]:
            expected[int(admission), report["text"].strip()] += 1
    assert placed, "no report went to an admission by its time"
    assert Counter((admission, text) for admission, texts in by_charted(hospital) for text in texts) == expected


def test_the_benchmark_measures_every_way_that_is_installed(large: tuple[Path, dict[str, int]]) -> None:
    hospital, counts = large
    head, columns, whole, reports, *rest = measured(hospital, counts, 1)
    assert head.startswith(f"{counts['note/discharge']:,} summaries, {counts['note/radiology']:,} reports")
    assert columns.split() == ["rows", "seconds", "rows/s", "peak", "MB", "reports"]
    assert whole.split()[2] == f"{sum(counts.values()):,}"
    assert int(reports.split()[-1].replace(",", "")) > 0
    assert rest[-1] in (
        "reports of both joins: identical",
        "pandas is not installed: pip install -e '.[benchmark]' -c constraints.txt",
    )
