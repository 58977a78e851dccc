import hashlib
import itertools
import json
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from src.cli.errors import UserError
from src.cohort.prepared import SCHEMA, read_cohort, write_cohort
from src.cohort.split import Split
from tests.cohort.conftest import Prepare


def test_a_patient_is_in_one_split_only(cohort: Path) -> None:
    notes = pl.read_parquet(cohort / "notes.parquet")
    assert notes.group_by("subject_id").agg(pl.col("split").n_unique())["split"].max() == 1
    assert set(notes["split"]) == set(Split)


def test_the_flow_counts_every_exclusion(cohort: Path) -> None:
    record = json.loads((cohort / "cohort.json").read_text())
    steps = record["flow"]
    assert all(a["left"] - b["excluded"] == b["left"] for a, b in itertools.pairwise(steps))
    assert steps[-1]["left"] == sum(split["notes"] for split in record["splits"].values())
    assert steps[-1]["left"] == pl.read_parquet(cohort / "notes.parquet").height


def test_every_excluded_note_is_listed_with_the_step_that_left_it_out(cohort: Path) -> None:
    steps = json.loads((cohort / "cohort.json").read_text())["flow"]
    listed = pl.read_csv(cohort / "excluded.csv")
    by_step = dict(listed.group_by("excluded").len().iter_rows())
    assert by_step == {f"not {step['step']}": step["excluded"] for step in steps if step["excluded"]}
    assert not set(listed["note_id"]) & set(pl.read_parquet(cohort / "notes.parquet")["note_id"])


def test_notes_have_the_documented_columns(cohort: Path) -> None:
    assert pl.read_parquet_schema(cohort / "notes.parquet") == SCHEMA


def test_labels_are_drgs_that_the_hospital_coded(cohort: Path, hospital: Path) -> None:
    notes = pl.read_parquet(cohort / "notes.parquet")
    rows = pl.read_csv(hospital / "hosp/drgcodes.csv.gz", infer_schema=False).filter(pl.col("drg_type") == "HCFA")
    assert set(notes["hadm_id"].cast(pl.String)) <= set(rows["hadm_id"])
    assert set(notes["drg"]) <= {drg.code for drg in read_cohort(cohort).labels}


def test_row_order_and_compression_do_not_change_the_cohort(hospital: Path, tmp_path: Path, prepare: Prepare) -> None:
    for name in ("note/discharge", "hosp/drgcodes"):
        table = pl.read_csv(hospital / f"{name}.csv.gz", infer_schema=False).reverse()
        (tmp_path / name).parent.mkdir(exist_ok=True)
        table.write_csv(tmp_path / f"{name}.csv")
    forward, back = (prepare(f"data.dir={folder}", "split=patient")[0] for folder in (hospital, tmp_path))
    assert forward["fingerprint"] == back["fingerprint"]


def test_notes_of_one_code_in_two_versions_are_two_cohorts(tmp_path: Path, cohort: Path) -> None:
    notes, record = pl.read_parquet(cohort / "notes.parquet"), read_cohort(cohort).record
    versions = ("v34", "v39", "v40")
    made = [write_cohort(tmp_path / name, notes, {**record, "drg_version": name}) for name in versions]
    assert made[0].fingerprint == read_cohort(cohort).fingerprint
    assert len({cohort_made.fingerprint for cohort_made in made}) == len(versions)


def test_a_published_split_is_rebuilt_from_its_hashed_ids(hospital: Path, tmp_path: Path, prepare: Prepare) -> None:
    first, _ = prepare(f"data.dir={hospital}", "split=patient", "split_seed=7")
    published = tmp_path / "cohort-1" / "split.csv"
    again, _ = prepare(f"data.dir={hospital}", "split=file", f"split_file={published}")
    other, _ = prepare(f"data.dir={hospital}", "split=patient", "split_seed=8")
    assert first["fingerprint"] == again["fingerprint"] != other["fingerprint"]


def test_no_id_of_a_published_split_is_found_by_trying_every_number(cohort: Path, prepare: Prepare) -> None:
    published = set(pl.read_csv(cohort / "split.csv")["id"])
    patients = pl.read_parquet(cohort / "notes.parquet")["subject_id"].unique().to_list()
    tried = {
        kind + hashlib.sha256(text.encode()).hexdigest()[:digits]
        for who in patients
        for kind in "pn"
        for text in (f"{kind}:{who}", str(who))
        for digits in (16, 32)
    }
    assert len(published) >= len(patients)
    assert not published & tried
    assert all(re.fullmatch("p[0-9a-f]{32}", name) for name in published)
    assert stat.S_IMODE((cohort / "split.key").stat().st_mode) == 0o600


def test_two_cohorts_have_keys_of_their_own_and_an_old_key_keeps_the_ids(
    hospital: Path, tmp_path: Path, prepare: Prepare
) -> None:
    for words in ([], [], [f"split_key={tmp_path / 'cohort-1' / 'split.key'}"]):
        prepare(f"data.dir={hospital}", "split=patient", *words)
    first, second, again = (pl.read_csv(tmp_path / f"cohort-{number}" / "split.csv") for number in (1, 2, 3))
    assert first.equals(again)
    assert not set(first["id"]) & set(second["id"])


def test_a_followed_split_keeps_its_ids(hospital: Path, cohort: Path) -> None:
    ids = {folder: set(pl.read_csv(folder / "split.csv")["id"]) for folder in (hospital, cohort)}
    assert ids[cohort] <= ids[hospital]


def test_a_keyed_split_wants_its_own_key(hospital: Path, tmp_path: Path, prepare: Prepare) -> None:
    first, _ = prepare(f"data.dir={hospital}", "split=patient")
    prepare(f"data.dir={hospital}", "split=patient")
    alone = tmp_path / "published" / "split.csv"
    alone.parent.mkdir()
    shutil.copy(tmp_path / "cohort-1" / "split.csv", alone)
    words = [f"data.dir={hospital}", "split=file", f"split_file={alone}"]
    with pytest.raises(UserError, match=r"its ids are keyed, and there is no .*split\.key; get the key"):
        prepare(*words)
    with pytest.raises(UserError, match=r"none of its \d+ ids is of these notes.*is the key of another split"):
        prepare(*words, f"split_key={tmp_path / 'cohort-2' / 'split.key'}")
    (tmp_path / "odd.key").write_text("no key")
    with pytest.raises(UserError, match=r"odd\.key: holds no key of a split"):
        prepare(*words, f"split_key={tmp_path / 'odd.key'}")
    again, _ = prepare(*words, f"split_key={tmp_path / 'cohort-1' / 'split.key'}")
    assert again["fingerprint"] == first["fingerprint"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cohort-1",
        "cohort-2",
        "cohort-6",
        "odd.key",
        "published",
    ]


def test_a_split_of_before_ids_were_keyed_is_followed_and_its_user_told(
    hospital: Path, tmp_path: Path, prepare: Prepare, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    first, notes = prepare(f"data.dir={hospital}", "split=patient", "split_seed=3")
    old = [
        {"id": "p" + hashlib.sha256(f"p:{who}".encode()).hexdigest()[:16], "split": split}
        for who, split in notes.select("subject_id", "split").unique().iter_rows()
    ]
    pl.DataFrame(old).write_csv(tmp_path / "old.csv")
    words = [f"data.dir={hospital}", "split=file", f"split_file={tmp_path / 'old.csv'}", f"data.out={tmp_path / 'new'}"]
    printed = command("src.prepare", *words).stdout
    assert "can be turned back into patients' numbers" in printed
    assert json.loads((tmp_path / "new" / "cohort.json").read_text())["fingerprint"] == first["fingerprint"]
    assert not set(pl.read_csv(tmp_path / "new" / "split.csv")["id"]) & {row["id"] for row in old}


def test_a_split_that_comes_with_the_data_is_followed(hospital: Path, prepare: Prepare) -> None:
    record, _ = prepare(f"data.dir={hospital}")
    assert record["split"]["by"] == "file"


def test_a_split_by_time_tests_on_the_latest_patients(hospital: Path, prepare: Prepare) -> None:
    _, notes = prepare(f"data.dir={hospital}", "split=time")
    groups = pl.read_csv(hospital / "hosp/patients.csv.gz").select("subject_id", "anchor_year_group")
    told = notes.join(groups, on="subject_id")
    latest = groups["anchor_year_group"].max()
    assert set(told.filter(pl.col("split") == "test")["anchor_year_group"]) == {latest}
    assert latest not in set(told.filter(pl.col("split") != "test")["anchor_year_group"])
    with pytest.raises(UserError, match=r"split_since=1999: must be one of"):
        prepare(f"data.dir={hospital}", "split=time", "split_since='1999'")


def test_chosen_sections_are_what_the_model_reads(hospital: Path, prepare: Prepare) -> None:
    _, notes = prepare(f"data.dir={hospital}", "data.sections=[chief_complaint,discharge_diagnosis]", "data.words=1")
    assert notes.select(pl.struct("text", "diagnosis")).to_series()[0]["text"].endswith(notes["diagnosis"][0])
    assert "Discharge Diagnosis" not in notes["text"][0]


def test_an_unknown_section_is_refused_with_the_names_that_there_are(hospital: Path, prepare: Prepare) -> None:
    with pytest.raises(UserError, match=r"there is no section course; choose .*hospital_course"):
        prepare(f"data.dir={hospital}", "data.sections=[course]")


def test_a_file_with_labels_of_its_own_becomes_a_single_label_cohort(tmp_path: Path, prepare: Prepare) -> None:
    rows = [{"who": f"p{n % 40}", "note": f"note {n} of a person with cough", "y": "ab"[n % 2]} for n in range(200)]
    pl.DataFrame(rows).write_csv(tmp_path / "n.csv")
    pl.DataFrame(rows).write_parquet(tmp_path / "n.parquet")
    pl.DataFrame(rows).write_ndjson(tmp_path / "n.jsonl")
    columns = ["data=csv", "data.text=note", "data.label=y", "data.patient=who"]
    records = [prepare(*columns, f"data.path={tmp_path / name}")[0] for name in ("n.csv", "n.parquet", "n.jsonl")]
    assert len({record["fingerprint"] for record in records}) == 1
    assert records[0]["labels"] == ["a", "b"]
    assert records[0]["drg_version"] is None
    assert [label.code for label in read_cohort(tmp_path / "cohort-1").labels] == ["a", "b"]


@pytest.mark.parametrize(
    "labels", [["291", "065"], ["HEART FAILURE AND SHOCK WITH MCC", "SIMPLE PNEUMONIA & PLEURISY W CC"]]
)
def test_a_file_labelled_with_drgs_is_read_as_such(labels: list[str], tmp_path: Path, prepare: Prepare) -> None:
    rows = [{"note": f"note {n}", "y": labels[n % 2]} for n in range(100)]
    pl.DataFrame(rows).write_csv(tmp_path / "n.csv")
    record, notes = prepare("data=csv", f"data.path={tmp_path / 'n.csv'}", "data.text=note", "data.label=y")
    assert record["drg_version"] == "v34"
    assert set(notes["drg"]) == ({"291", "065"} if labels[0] == "291" else {"291", "194"})


def test_labels_that_are_drgs_but_for_a_few_are_not_decided_silently(tmp_path: Path, prepare: Prepare) -> None:
    pl.DataFrame([{"t": f"note {n}", "y": y} for n, y in enumerate(["291", "065", "064", "odd"] * 9)]).write_csv(
        tmp_path / "n.csv"
    )
    words = ["data=csv", f"data.path={tmp_path / 'n.csv'}", "data.text=t", "data.label=y"]
    with pytest.raises(UserError, match=r"3 of 4 labels are MS-DRGs, but not 'odd'.*data\.labels=drg"):
        prepare(*words)
    record, _ = prepare(*words, "data.labels=drg")
    assert record["undecided"] == [
        {"drg_code": "", "description": "odd", "reason": "no title of v34 to v43 fits", "rows": 9}
    ]
    assert prepare(*words, "data.labels=any")[0]["labels"] == ["064", "065", "291", "odd"]


def test_a_split_column_is_followed(tmp_path: Path, prepare: Prepare) -> None:
    rows = [
        {"t": f"note {n}", "y": "ab"[n % 2], "s": ["train", "validation", "test", "spare"][n % 4]} for n in range(80)
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "n.csv")
    record, notes = prepare(
        "data=csv", f"data.path={tmp_path / 'n.csv'}", "data.text=t", "data.label=y", "data.split=s"
    )
    assert dict(notes.group_by("split").len().iter_rows()) == {"train": 20, "validation": 20, "test": 20}
    assert record["flow"][-1]["excluded"] == 20
