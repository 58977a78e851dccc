import json
import re
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from src.cli.compose import compose, read_command_line
from src.cli.errors import UserError
from src.cohort.admission_note import admission_note
from src.cohort.admissions import LATER as LATER_FACTS
from src.cohort.charted import Charted
from src.cohort.horizon import REPORT, SERVICE, Horizon
from src.cohort.horizon_folders import HorizonError, assembled
from src.cohort.prepared import read_cohort
from src.cohort.sections import Sections
from src.cohort.text_spool import TextSpool
from src.config.prepare import PrepareConfig
from tests.cohort.conftest import Prepare
from tests.cohort.ward import Ward

OWN_FILE = ["data.path=n.csv", "data.text=t", "data.label=y"]

HORIZONS = ["triage", "ed", "24h", "48h", "admission"]


def busy_ward() -> Ward:
    """Sixty admissions, of which every third has ended after a day and a half."""
    ward = Ward()
    for number in range(60):
        ended = {"dischtime": "2150-01-02 18:00:00"} if number % 3 == 0 else {}
        ward.admit(100 + number, 1000 + number, **ended)
        title = {"drg_code": "194", "description": "SIMPLE PNEUMONIA & PLEURISY W CC"} if number % 2 else {}
        ward.rows["hosp/drgcodes"][-1].update(title)
        ward.visit(number, 100 + number, f"pain, case {number}")
        ward.report(f"film {number}", "2150-01-02 07:00:00", "2150-01-02 08:00:00", 100 + number, 1000 + number)
    return ward


def test_every_horizon_has_the_labels_splits_and_keyed_ids_of_the_one_cohort(tmp_path: Path, prepare: Prepare) -> None:
    folder = busy_ward().write(tmp_path / "mimic")
    words = [f"data.dir={folder}", "data.words=1"]
    plain, _ = prepare(*words)
    key = f"split_key={tmp_path / 'cohort-1' / 'split.key'}"
    record, notes = prepare(*words, key, f"horizon=[discharge,{','.join(HORIZONS)}]")
    cohort = tmp_path / "cohort-2"
    for name in ("cohort.json", "notes.parquet", "split.csv", "split.key", "excluded.csv", "admissions.parquet"):
        assert (cohort / name).read_bytes() == (tmp_path / "cohort-1" / name).read_bytes()
    assert sorted(path.name for path in (cohort / "horizons").iterdir()) == sorted(HORIZONS)
    same = ["note_id", "subject_id", "hadm_id", "split", "drg"]
    ids = dict(pl.read_csv(cohort / "split.csv").iter_rows())
    for name in HORIZONS:
        early = read_cohort(cohort / "horizons" / name)
        rows = pl.read_parquet(early.folder / "notes.parquet")
        assert rows.height == (40 if name == "48h" else 60)
        assert rows.select(same).equals(notes.filter(pl.col("hadm_id").is_in(rows["hadm_id"].implode())).select(same))
        assert rows["diagnosis"].null_count() == rows.height
        assert rows["words"].to_list() == [len(text.split()) for text in rows["text"]]
        assert set(pl.read_csv(early.folder / "split.csv").iter_rows()) <= set(ids.items())
        assert early.record["origin"] == record["fingerprint"] == plain["fingerprint"] != early.fingerprint
        hours = {"24h": 24, "48h": 48}.get(name)
        assert early.record["horizon"] == {"name": name, "hours": hours, "latest_first": False}
        assert early.record["flow"][0] == {"step": "notes of the cohort", "excluded": 0, "left": 60}
        assert early.record["flow"][-1]["left"] == rows.height
        assert [label.code for label in early.labels] == [label.code for label in read_cohort(cohort).labels]
        facts = pl.read_parquet(early.folder / "admissions.parquet")
        assert facts["hadm_id"].to_list() == rows["hadm_id"].to_list()


def test_texts_can_begin_with_the_latest_piece_which_a_cut_then_keeps(tmp_path: Path, prepare: Prepare) -> None:
    folder = busy_ward().write(tmp_path / "mimic")
    words = [f"data.dir={folder}", "data.words=1", "horizon=[32h]"]
    for more in ([], ["latest_first=true"]):
        prepare(*words, *more)
    cohorts = [read_cohort(tmp_path / f"cohort-{number}" / "horizons" / "32h") for number in (1, 2)]
    assert [cohort.record["horizon"]["latest_first"] for cohort in cohorts] == [False, True]
    texts = [pl.read_parquet(cohort.folder / "notes.parquet")["text"] for cohort in cohorts]
    pieces = [[re.split(r"\n(?=Hour \d+, )", text) for text in order] for order in texts]
    assert set(map(len, pieces[0])) == {2}, "triage and a film"
    assert pieces[0] == [piece[::-1] for piece in pieces[1]]
    hours = [[int(piece.split(",")[0].removeprefix("Hour ")) for piece in of_note] for of_note in pieces[1]]
    assert all(of_note == sorted(of_note, reverse=True) for of_note in hours)


def test_the_command_prints_the_flow_of_each_horizon_and_a_run_reads_its_folder(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    folder, out = busy_ward().write(tmp_path / "mimic"), tmp_path / "cohort"
    words = [f"data.dir={folder}", f"data.out={out}", "data.words=1", "horizon=[48h]"]
    printed = command("src.prepare", *words).stdout.splitlines()
    assert printed[-5:] == [
        "       60  notes of the cohort  (+0)", "       60  with times in hosp/admissions  (+0)",
        "       40  in the house still at 48h  (-20)",
        "       40  with something known at 48h  (+0)", f"cohort at 48h: {out / 'horizons' / '48h'}",
    ]  # fmt: skip
    command("src.train", "model=majority", f"data.dir={out / 'horizons' / '48h'}", f"out={tmp_path}", "name=run")
    counts = json.loads((tmp_path / "run" / "result.json").read_text("utf-8"))["counts"]
    held = read_cohort(out / "horizons" / "48h").record["splits"]
    assert (counts["train"], counts["test"]) == (held["train"]["notes"], held["test"]["notes"])


def stamped(tmp_path: Path) -> tuple[pl.DataFrame, TextSpool]:
    """Pieces of admissions 20 and 21, known in their first and thirtieth hour."""
    start = datetime(2150, 1, 1, 6)
    hours = pl.DataFrame({"hadm_id": [20, 20, 21], "hour": [1, 30, 1]})
    stays = pl.DataFrame({"hadm_id": [20, 21], "start": start, "last": start + timedelta(hours=48)})
    spool = TextSpool(tmp_path / "spool")
    charted = Charted(stays, spool)
    charted.add(hours.select("hadm_id", known=start + pl.duration(hours="hour"), text=pl.lit(": MED")), SERVICE)
    return charted.pieces(), spool


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        ([1, 0, 2], "would show service of admission 20, known at 2150-01-02 12:00:00"),  # rows sorted without places
        ([2, 1, 0], "would show service of admission 21, known at 2150-01-01 07:00:00"),  # another's row
    ],
)
def test_a_text_that_is_of_a_later_time_or_of_another_admission_stops_the_work(
    order: list[int], fault: str, tmp_path: Path
) -> None:
    pieces, spool = stamped(tmp_path)
    end = datetime(2150, 1, 2, 6)
    with spool:
        right, wrong = pieces, pieces.with_columns(pieces[order].select("offset", "length"))
        first = right.filter((pl.col("hadm_id") == 20) & (pl.col("known") <= end))
        text = assembled(Horizon("24h"), "7-DS-20", 20, end, spool.read(first["offset"], first["length"]))
        assert text == "Hour 1, service: MED"
        first = wrong.filter((pl.col("hadm_id") == 20) & (pl.col("known") <= end))
        with pytest.raises(HorizonError, match=rf"horizon=24h: .* note 7-DS-20 \(admission 20, until {end}\) {fault}"):
            assembled(Horizon("24h"), "7-DS-20", 20, end, spool.read(first["offset"], first["length"]))


def test_a_kind_of_text_that_a_horizon_does_not_show_stops_the_work() -> None:
    piece = f"20\t{REPORT}\t2150-01-01 07:00:00\nHour 1, radiology:\nfilm"
    end = datetime(2150, 1, 1, 8)
    assert assembled(Horizon("2h"), "7-DS-20", 20, end, [piece]).endswith("film")
    with pytest.raises(HorizonError, match=r"horizon=triage: .* would show radiology of admission 20"):
        assembled(Horizon("triage"), "7-DS-20", 20, end, [piece])


@pytest.mark.parametrize(
    "exam", ["DISCHARGE PHYSICAL EXAM:", "Exam on day of discharge:", "=== At d/c ===", "On discharge", "Transfer exam"]
)
def test_the_second_of_two_exams_is_not_of_the_admission(exam: str) -> None:
    summary = f"Physical Exam:\nNo nasal discharge.\n{exam}\nwounds healed\nPertinent Results:\nsodium"
    text = admission_note(Sections(), pl.Series([summary]))[0]
    assert text == "Physical exam:\nNo nasal discharge."


@pytest.mark.parametrize(
    "summary",
    [
        "Chief Complaint:\ncough\nMedications on Admission:\naspirin\nBrief Hospital Course:\nlate\nAllergies:\nlate",
        "Chief Complaint:\ncough\nPertinent Results:\nlate\nPhysical Exam:\nlate\nMedications on Admission:\naspirin",
        "Chief Complaint:\ncough\nDischarge Diagnosis:\nlate\nPast Medical History:\nlate\n"
        "Medications on Admission:\naspirin\nPertinent Results:\nlate\nMajor Surgical or Invasive Procedure:\nlate",
    ],
)
def test_sections_in_an_odd_order_bring_nothing_later_into_the_admission_note(summary: str) -> None:
    text = admission_note(Sections(), pl.Series([summary]))[0]
    assert text == "Chief complaint:\ncough\nMedications on admission:\naspirin"
    assert admission_note(Sections(), pl.Series(["Brief Hospital Course:\nlate"]))[0] is None


def test_missing_tables_are_named_with_the_project_that_has_them(tmp_path: Path, prepare: Prepare) -> None:
    folder = busy_ward().write(tmp_path / "mimic", "ed", "note/radiology")
    with pytest.raises(UserError) as error:
        prepare(f"data.dir={folder}", "horizon=[triage,24h]")
    lines = str(error.value).splitlines()
    assert lines[:2] == [
        "prepare: 5 problems",
        f"  {folder}: no ed/edstays.csv.gz or .csv, which horizon=triage reads; it is of MIMIC-IV-ED (mimic-iv-ed), a "
        "download of its own: data.ed= names its folder",
    ]
    assert lines[-1] == (
        f"  {folder}: no note/radiology.csv.gz or .csv, which horizon=24h reads; it is of MIMIC-IV-Note "
        "(mimic-iv-note), a download of its own: data.notes= names its folder"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mimic"]


@pytest.mark.parametrize("inner", ["", "ed"])
def test_the_three_downloads_of_physionet_are_read_where_they_lie(inner: str, tmp_path: Path, prepare: Prepare) -> None:
    folder = busy_ward().write(tmp_path / "mimic")
    for part in ("ed", "note"):
        (tmp_path / part).mkdir()
        (folder / part).rename(tmp_path / part / part)
    places = [f"data.ed={tmp_path / 'ed' / inner}", f"data.notes={tmp_path / 'note'}"]
    prepare(f"data.dir={folder}", *places, "horizon=[24h]", "data.words=1")
    assert read_cohort(tmp_path / "cohort-1" / "horizons" / "24h").record["flow"][-1]["left"] == 60


def test_a_horizon_that_leaves_a_split_empty_is_refused_with_its_counts(tmp_path: Path, prepare: Prepare) -> None:
    folder = busy_ward().write(tmp_path / "mimic")
    with pytest.raises(UserError, match=r"(?s)horizon=240h: no note is left for train; .*  in the house still at 240h"):
        prepare(f"data.dir={folder}", "horizon=[24h,240h]", "data.words=1")
    Ward().write(tmp_path / "mimic" / "empty")
    with pytest.raises(UserError, match=r"(?s)horizon=triage: no note is left for train; .*60.*0  with a stay in ed"):
        prepare(f"data.dir={folder}", f"data.ed={folder / 'empty'}", "horizon=[triage]", "data.words=1")
    assert [path.name for path in tmp_path.iterdir()] == ["mimic"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["horizon=[noon]"], "horizon=noon: must be triage, ed, admission, discharge, or hours from 1h to 720h"),
        (["horizon=[0h]"], "horizon=0h: must be"),
        (["horizon=[24]"], "horizon=24: must be"),
        (["horizon=[-3h]"], "horizon=-3h: must be"),
        (["horizon=[721h]"], "horizon=721h: must be"),
        (["horizon=[024h]"], "horizon=024h: must be"),
        (["horizon=[]"], r"horizon=\[\]: name at least one of triage, ed"),
        (["horizon=[ed,24h,ed]"], "horizon=ed: is there twice"),
        (["horizon=[ed]", "protocol=paper"], "horizon=ed: needs protocol=clean"),
        (["horizon=[discharge]", "data.ed=gone"], r"data.ed=gone: needs a horizon before discharge"),
        (["horizon=[ed]", "data.ed=gone"], "data.ed=gone: no such folder; it is the download of MIMIC-IV-ED"),
        (["horizon=[discharge]", "latest_first=true"], "latest_first=true: needs a horizon before discharge"),
        (["horizon=[ed]", "data=csv", *OWN_FILE], "horizon=ed: reads MIMIC-IV files; leave data.path or"),
    ],
)
def test_a_horizon_that_cannot_be_is_refused_before_any_work(words: list[str], problem: str, tmp_path: Path) -> None:
    more = [] if "data=csv" in words else [f"data.dir={tmp_path}"]
    with pytest.raises(UserError, match=problem):
        compose(PrepareConfig, read_command_line([*words, *more, f"data.out={tmp_path / 'out'}"], "prepare"))


def test_facts_at_a_horizon_hold_nothing_that_was_known_later(tmp_path: Path, prepare: Prepare) -> None:
    ward = busy_ward()
    for number in range(60):
        ward.rows["hosp/admissions"][number] |= {"admission_type": "URGENT", "admission_location": "CLINIC"}
        for day, service in (("01", "MED"), ("03", "CSURG")):
            time = f"2150-01-{day} 10:00:00"
            ward.add("hosp/services", hadm_id=100 + number, transfertime=time, curr_service=service)
    folder = ward.write(tmp_path / "mimic")
    codes = [f"{100 + number},1,I10,10" for number in range(60)]
    for name in ("diagnoses_icd", "procedures_icd"):
        (folder / "hosp" / f"{name}.csv").write_text("\n".join(["hadm_id,seq_num,icd_code,icd_version", *codes]) + "\n")
    prepare(f"data.dir={folder}", "data.words=1", "horizon=[triage,24h,72h]")
    facts = {"discharge": pl.read_parquet(tmp_path / "cohort-1" / "admissions.parquet")} | {
        name: pl.read_parquet(tmp_path / "cohort-1" / "horizons" / name / "admissions.parquet")
        for name in ("triage", "24h", "72h")
    }
    assert facts["discharge"].null_count()["days", "diagnoses", "procedures"].sum_horizontal().item() == 0
    known = {name: {tuple(services or ()) for services in rows["services"].to_list()} for name, rows in facts.items()}
    assert known == {
        "triage": {()}, "24h": {("MED",)}, "72h": {("MED", "CSURG")}, "discharge": {("MED", "CSURG")},
    }  # fmt: skip
    for name in ("triage", "24h", "72h"):
        assert facts[name].schema == facts["discharge"].schema
        assert all(facts[name][column].null_count() == facts[name].height for column in LATER_FACTS)
        registered = None if name == "triage" else "URGENT"
        assert set(facts[name]["admission_type"]) == {registered}
        assert set(facts[name]["admission_location"]) == {registered and "CLINIC"}
