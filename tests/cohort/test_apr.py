"""APR-DRGs: labels of MIMIC-IV's rows of type APR, and their cohort beside that of the MS-DRGs."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from src.cli.errors import UserError
from src.cohort.admissions import read_admissions
from src.cohort.apr import apr_drg, apr_labels
from src.cohort.labels import mimic_labels
from src.cohort.msdrg import Severity
from src.cohort.prepared import Cohort, read_cohort
from tests.cohort.conftest import Prepare

COLUMNS = ["subject_id", "hadm_id", "drg_type", "drg_code", "description", "drg_severity", "drg_mortality"]


def table(*rows: tuple[int, str, str, str, int | None, int | None]) -> pl.DataFrame:
    """Rows of hosp/drgcodes, of a patient an admission: `hadm_id` and all behind it."""
    return pl.DataFrame([(1, *row) for row in rows], schema=COLUMNS, orient="row")


ROWS = table(
    (10, "APR ", "194", "HEART FAILURE", 3, 2),
    (11, "APR", "194", "CARDIAC FAILURE, LONGER", 1, 1),
    (12, "APR", "194", "HEART FAILURE", 1, 4),
    (13, " apr ", "9", "A", 2, 1),
    (13, "HCFA", "291", "HEART FAILURE & SHOCK W MCC", None, None),
    (14, "APR", "194", "HEART FAILURE", None, 1),
    (15, "APR", "955", "", 0, 0),
    (16, "APR", "1942", "HEART FAILURE", 1, 1),
    (17, "APR", "005", "CUT", 1, 1),
    (17, "APR", "005", "CUT MORE", 1, 2),
    (18, "XYZ", "194", "HEART FAILURE", 1, 1),
)


def test_a_label_is_a_code_of_three_digits_with_its_severity_whatever_blanks_the_type_has() -> None:
    labels = dict(apr_labels(ROWS).rows.unique().sort("hadm_id").iter_rows())
    assert labels == {
        10: "194-3", 11: "194-1", 12: "194-1", 13: "009-2", 14: None, 15: None, 16: None, 17: "005-1",
    }  # fmt: skip


def test_rows_that_are_no_label_are_counted_with_their_reason() -> None:
    labels = apr_labels(ROWS)
    reasons = {(row["drg_code"], row["reason"], row["rows"]) for row in labels.undecided}
    assert reasons == {
        ("194", "no severity of illness", 1),
        ("955", "severity of illness 0, which is none of 1 to 4", 1),
        ("1942", "no code of three digits", 1),
    }
    assert labels.rules == {"code and severity of illness": 6, "not decided": 3}
    assert labels.remarks == ["hosp/drgcodes: 1 rows of a type that is neither APR nor HCFA are passed over"]


def test_a_code_is_called_by_its_commonest_description_or_the_longest_of_equals() -> None:
    assert apr_labels(ROWS).titles == {"194": "HEART FAILURE", "009": "A", "005": "CUT MORE"}
    drg = apr_drg("194-3", apr_labels(ROWS).titles)
    assert (drg.title, drg.base_drg) == ("HEART FAILURE, severity of illness 3", "194 HEART FAILURE")
    assert drg.severity is Severity.ILLNESS_3


def test_rows_that_disagree_on_the_risk_of_mortality_leave_none() -> None:
    mortality = apr_labels(ROWS).mortality
    assert mortality is not None
    risks = dict(mortality.iter_rows())
    assert [risks[hadm_id] for hadm_id in (10, 12, 15, 17)] == [2, 4, None, None]


def test_rows_of_type_apr_are_nothing_to_the_labels_of_ms_drgs() -> None:
    without = ROWS.filter(pl.col("drg_type") == "HCFA")
    assert mimic_labels(ROWS).rows.equals(mimic_labels(without).rows)
    assert mimic_labels(ROWS).rows.rows() == [(13, "291")]


@pytest.fixture
def wards(hospital: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of the hospital's files with other rows of hosp/drgcodes."""

    def made(name: str, rows: list[dict[str, str]]) -> Path:
        folder = tmp_path / name
        (folder / "hosp").mkdir(parents=True)
        for part in ("note", "ed", "split.csv", "split.key"):
            if (hospital / part).exists():
                (folder / part).symlink_to(hospital / part)
        for path in (hospital / "hosp").iterdir():
            if path.name != "drgcodes.csv.gz":
                (folder / "hosp" / path.name).symlink_to(path)
        with (folder / "hosp/drgcodes.csv").open("w", newline="") as lines:
            writer = csv.DictWriter(lines, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        return folder

    return made


def coded(hospital: Path) -> list[dict[str, str]]:
    with gzip.open(hospital / "hosp/drgcodes.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_ms_cohort_is_the_same_without_any_row_of_type_apr(
    hospital: Path, cohort: Path, wards: Callable[..., Path], prepare: Prepare
) -> None:
    folder = wards("ms", [row for row in coded(hospital) if row["drg_type"] == "HCFA"])
    record, notes = prepare(f"data.dir={folder}")
    whole = json.loads((cohort / "cohort.json").read_text())
    for of in (record, whole):
        of["remarks"] = [remark for remark in of["remarks"] if "split.csv" not in remark]  # names its folder
    assert record == whole
    assert notes.equals(pl.read_parquet(cohort / "notes.parquet"))


def test_both_systems_stand_side_by_side_on_one_split(
    hospital: Path, tmp_path: Path, wards: Callable[..., Path], prepare: Prepare
) -> None:
    """One admission of each kind is made that must go."""
    rows, spoilt = coded(hospital), dict[str, str]()
    doubled = {row["hadm_id"] for row in rows if "APR" in row["drg_type"] and row["drg_severity"] in ("", "0")}
    for row, reason in zip(
        [row for row in rows if "APR" in row["drg_type"] and row["hadm_id"] not in doubled],
        ("type", "severity", "zero", "two"),
        strict=False,
    ):
        spoilt[row["hadm_id"]] = reason
        row |= {"type": {"drg_type": "NEW"}, "severity": {"drg_severity": ""}, "zero": {"drg_severity": "0"}}.get(
            reason, {"drg_code": "555"}
        )
        if reason == "two":
            rows.append({**row, "drg_code": "556"})
    folder = wards("both", rows)
    (folder / "split.csv").unlink()
    ms, ms_notes = prepare(f"data.dir={folder}")
    apr, apr_notes = prepare(
        f"data.dir={folder}", "drg=apr", "split=file", f"split_file={tmp_path}/cohort-1/split.csv", "horizon=[triage]"
    )
    assert (ms["split"]["by"], ms["drg_version"], apr["drg_version"]) == ("patient", "v34", "apr")
    assert not {int(hadm_id) for hadm_id in spoilt} & set(apr_notes["hadm_id"])
    steps = {step["step"]: step["excluded"] for step in apr["flow"]}
    assert steps["with a row of type APR"] == 1
    assert steps["with one APR-DRG and severity of illness"] >= 1
    assert steps["with a code and a severity of illness of 1 to 4"] >= 2

    both = ms_notes.join(apr_notes, on="note_id", suffix="_apr")
    assert both.height > 600
    assert (both["split"] == both["split_apr"]).all()
    assert (both["text"] == both["text_apr"]).all()
    patients = ms_notes.select("subject_id", "split").unique().join(apr_notes, on="subject_id", suffix="_apr")
    assert (patients["split"] == patients["split_apr"]).all()

    for out in (tmp_path / "cohort-2", tmp_path / "cohort-2/horizons/triage"):
        labels, facts = read_cohort(out).labels, read_admissions(out)
        assert [label.code for label in labels] == apr["labels"]
        assert all(label.title and not label.title.startswith("APR-DRG") for label in labels)  # type: ignore[union-attr]
        assert facts is not None
        assert set(facts["risk_of_mortality"]) == {1, 2, 3, 4}


def test_a_hospital_without_rows_of_type_apr_is_told(
    hospital: Path, wards: Callable[..., Path], prepare: Prepare
) -> None:
    folder = wards("none", [row for row in coded(hospital) if row["drg_type"] == "HCFA"])
    with pytest.raises(UserError, match=r"hosp/drgcodes has no row of type APR; leave drg=apr out"):
        prepare(f"data.dir={folder}", "drg=apr")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["protocol=paper"], "drg=apr: the paper's DRGs are MS-DRGs"),
        (["version=v41"], "version=v41: is of MS-DRGs; leave drg=apr or version out"),
        (["data=csv", "data.path={note}", "data.text=t", "data.label=l"], "drg=apr: reads MIMIC-IV's hosp/drgcodes"),
    ],
)
def test_what_does_not_go_with_apr_is_refused(words: list[str], message: str, hospital: Path, prepare: Prepare) -> None:
    words = [word.format(note=hospital / "split.csv") for word in words]
    source = [] if words[0] == "data=csv" else [f"data.dir={hospital}"]
    with pytest.raises(UserError, match=message):
        prepare(*source, "drg=apr", *words)


def test_cohorts_of_apr_name_their_classes_to_all(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path, {"drg_version": "apr", "labels": ["194-3", "009-1"], "titles": {"194": "HEART FAILURE"}})
    assert cohort.public_names == {"194-3": "194-3", "009-1": "009-1"}
    assert [label.title for label in cohort.labels] == [  # type: ignore[union-attr]
        "HEART FAILURE, severity of illness 3",
        "APR-DRG 009, severity of illness 1",
    ]
