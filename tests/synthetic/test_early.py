"""What the hospital's files know before discharge: MIMIC-IV's columns and traps, and the more the later it is."""

import re
from datetime import timedelta
from itertools import pairwise
from math import log
from pathlib import Path
from random import Random

import polars as pl
import pytest

from src.synthetic.early_tables import EARLY_COLUMNS
from src.synthetic.facts import Admission, admissions
from src.synthetic.grouper import level
from src.synthetic.knowledge import knowledge
from src.synthetic.radiology import draw_reports
from src.synthetic.timeline import draw_timeline

TIMES = [
    "admittime", "dischtime", "deathtime", "edregtime", "edouttime", "charttime", "storetime", "intime", "outtime",
    "transfertime",
]  # fmt: skip


def read(folder: Path) -> dict[str, pl.DataFrame]:
    """The tables as text, but for times."""
    tables = {}
    for name in [*EARLY_COLUMNS, "hosp/admissions", "hosp/diagnoses_icd"]:
        table = pl.read_csv(folder / f"{name}.csv.gz", infer_schema=False)
        tables[name] = table.with_columns(pl.col(set(TIMES) & set(table.columns)).str.to_datetime())
    return tables


@pytest.fixture(scope="module")
def tables(hospital: Path) -> dict[str, pl.DataFrame]:
    return read(hospital)


@pytest.fixture(scope="module")
def stays() -> list[Admission]:
    return list(admissions(knowledge(), 400, Random(11), (0, 0.1)))


def in_the_house(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Admissions with `start`: the emergency department's first time, else the admission."""
    first = tables["hosp/transfers"].group_by("hadm_id").agg(start=pl.col("intime").min())
    return tables["hosp/admissions"].join(first, "hadm_id", how="left")


def test_every_file_has_the_columns_of_mimic_iv(tables: dict[str, pl.DataFrame]) -> None:
    for name, columns in EARLY_COLUMNS.items():
        assert tables[name].columns == columns.split()
        assert tables[name].height > 500


def test_times_in_the_emergency_department_are_those_of_the_last_stay(tables: dict[str, pl.DataFrame]) -> None:
    joined = tables["hosp/admissions"].join(tables["ed/edstays"], "hadm_id")
    latest = joined.sort("intime").group_by("hadm_id").last()
    assert latest.height > 30
    assert latest.select(
        (pl.col("edregtime") == pl.col("intime")).all() & (pl.col("edouttime") == pl.col("outtime")).all()
    ).item()
    arrived = tables["hosp/admissions"].drop_nulls("edregtime")
    assert arrived.height > joined.height
    assert set(arrived["admission_location"]) == {"EMERGENCY ROOM"}
    assert arrived.filter(
        (pl.col("edregtime") > pl.col("admittime")) | (pl.col("edouttime") > pl.col("dischtime"))
    ).is_empty()


def test_a_patient_is_in_one_unit_at_a_time_from_arrival_to_discharge(tables: dict[str, pl.DataFrame]) -> None:
    moves = tables["hosp/transfers"].drop_nulls("hadm_id").sort("hadm_id", "intime", maintain_order=True)
    last = (
        moves.join(in_the_house(tables).select("hadm_id", "dischtime"), "hadm_id")
        .group_by("hadm_id", maintain_order=True)
        .last()
    )
    assert set(last["eventtype"]) == {"discharge"}
    assert (last["intime"] == last["dischtime"]).all()
    assert last["outtime"].null_count() == last.height == 900
    inside = moves.with_columns(after=pl.col("intime").shift(-1).over("hadm_id")).filter(
        pl.col("eventtype") != "discharge"
    )
    apart = inside.filter(pl.col("outtime") != pl.col("after"))
    assert set(apart["eventtype"]) <= {"ED"}  # the first of two stays in the emergency department
    assert apart.filter(pl.col("outtime") > pl.col("after")).is_empty()
    services = tables["hosp/services"].join(tables["hosp/admissions"], "hadm_id")
    assert services.filter(~pl.col("transfertime").is_between("admittime", "dischtime")).is_empty()
    assert services.filter(pl.col("prev_service").is_null())["hadm_id"].n_unique() == 900
    assert 0.01 < 1 - 900 / services.height < 0.15


def test_stays_in_the_emergency_department_lack_rows_come_twice_and_go_home(tables: dict[str, pl.DataFrame]) -> None:
    stays = tables["ed/edstays"]
    arrived = tables["hosp/admissions"].filter(pl.col("admission_location") == "EMERGENCY ROOM")
    assert arrived.join(stays, "hadm_id", how="anti").height / arrived.height == pytest.approx(0.297, abs=0.05)
    assert set(stays.join(tables["hosp/admissions"], "hadm_id")["admission_location"]) == {"EMERGENCY ROOM"}
    of_admissions = stays.drop_nulls("hadm_id").group_by("hadm_id").len()["len"]
    assert set(of_admissions) == {1, 2}
    assert (of_admissions == 2).sum() <= 8
    assert 0.2 < stays["hadm_id"].null_count() / stays.height < 0.5
    assert stays["stay_id"].is_unique().all()
    assert stays.filter(pl.col("hadm_id").is_null() & (pl.col("disposition") == "ADMITTED")).is_empty()
    assert set(stays["subject_id"]) <= set(tables["hosp/admissions"]["subject_id"])
    for name in ("ed/triage", "ed/vitalsign", "ed/medrecon", "ed/diagnosis"):
        assert set(tables[name]["stay_id"]) <= set(stays["stay_id"]), name
    assert tables["ed/triage"].height == stays.height
    for name in ("ed/vitalsign", "ed/medrecon"):
        charted = tables[name].join(stays.select("stay_id", "intime", "outtime"), "stay_id")
        assert charted.filter(~pl.col("charttime").is_between("intime", "outtime")).is_empty(), name


def test_vital_signs_fit_the_condition_and_some_are_missing(tables: dict[str, pl.DataFrame]) -> None:
    triage = tables["ed/triage"].drop("subject_id")
    signs = ["temperature", "heartrate", "resprate", "o2sat", "sbp", "dbp"]
    assert triage.select(pl.all_horizontal(pl.col(signs).is_null()).mean()).item() == pytest.approx(0.03, abs=0.025)
    for name in (*signs, "acuity", "pain"):
        assert 0 < triage[name].null_count() / triage.height < 0.2
    assert {"unable", "0", "10"} <= set(triage["pain"])
    first = tables["hosp/diagnoses_icd"].filter(pl.col("seq_num") == "1").select("hadm_id", "icd_code")
    known = (
        triage.join(tables["ed/edstays"], "stay_id").join(first, "hadm_id").with_columns(pl.col(signs).cast(pl.Float64))
    )
    septic = pl.col("icd_code").str.starts_with("A4")
    means = [known.filter(kind).select(pl.col(signs).mean()).row(0, named=True) for kind in (septic, ~septic)]
    assert means[0]["temperature"] > means[1]["temperature"] + 1.5
    assert means[0]["heartrate"] > means[1]["heartrate"] + 15
    assert means[0]["sbp"] < means[1]["sbp"] - 15


def test_diagnoses_of_the_emergency_department_name_the_truth(tables: dict[str, pl.DataFrame]) -> None:
    coded = tables["hosp/diagnoses_icd"].filter(pl.col("seq_num") == "1").select("hadm_id", "icd_code")
    first = tables["ed/diagnosis"].filter(pl.col("seq_num") == "1").join(tables["ed/edstays"], "stay_id")
    both = first.join(coded, "hadm_id")
    assert (both["icd_code"] == both["icd_code_right"]).mean() == pytest.approx(0.7, abs=0.07)
    assert tables["ed/diagnosis"]["icd_title"].null_count() == 0


def test_a_third_of_the_reports_name_no_admission_and_patient_and_time_do(tables: dict[str, pl.DataFrame]) -> None:
    reports = tables["note/radiology"]
    assert 0.28 < reports["hadm_id"].null_count() / reports.height < 0.42
    assert reports["note_id"].is_unique().all()
    assert reports.filter(pl.col("storetime") <= pl.col("charttime")).is_empty()
    spans = in_the_house(tables).select("subject_id", "start", "dischtime", hadm="hadm_id")
    inside = reports.join(spans, "subject_id").filter(pl.col("charttime").is_between("start", "dischtime"))
    assert inside["note_id"].is_unique().all()
    assert inside.filter(pl.col("hadm_id") != pl.col("hadm")).is_empty()
    nameless = inside["hadm_id"].null_count()
    assert 500 < nameless < reports["hadm_id"].null_count()  # the rest are of no admission


def test_reports_lie_across_every_horizon_and_after_discharge(tables: dict[str, pl.DataFrame]) -> None:
    stays = in_the_house(tables).select("hadm_id", "start", "dischtime", "deathtime")
    reports = tables["note/radiology"].join(stays, "hadm_id")
    for hours in (24, 48):
        horizon = pl.col("start") + timedelta(hours=hours)
        across = reports.filter((pl.col("charttime") <= horizon) & (pl.col("storetime") > horizon))
        assert 0.01 < across.height / reports.height < 0.2
        gone = stays.filter(pl.col("dischtime") <= horizon)
        assert gone.height > 20
    assert 0 < gone["deathtime"].drop_nulls().len() < gone.height
    late = reports.filter(pl.col("charttime") > pl.col("dischtime"))
    assert 3 < late.height < 40
    assert late["deathtime"].null_count() == late.height
    assert (
        reports.filter((pl.col("charttime") < pl.col("dischtime")) & (pl.col("storetime") > pl.col("dischtime"))).height
        > 20
    )


def test_an_addendum_and_its_report_name_each_other(tables: dict[str, pl.DataFrame]) -> None:
    details, reports = tables["note/radiology_detail"], tables["note/radiology"]
    links = {
        name: set(details.filter(pl.col("field_name") == name).select("note_id", "field_value").iter_rows())
        for name in ("parent_note_id", "addendum_note_id")
    }
    assert links["parent_note_id"] == {(addendum, parent) for parent, addendum in links["addendum_note_id"]}
    addenda = reports.filter(pl.col("note_type") == "AR")
    assert {note for note, _ in links["parent_note_id"]} == set(addenda["note_id"])
    assert 0.005 < addenda.height / reports.height < 0.03
    pairs = pl.DataFrame(list(links["parent_note_id"]), schema=["note_id", "parent"], orient="row")
    times = pairs.join(reports, "note_id").join(reports, left_on="parent", right_on="note_id")
    assert (times["charttime"] == times["charttime_right"]).all()
    assert (times["storetime"] > times["storetime_right"]).all()
    exams = details.filter(pl.col("field_name") == "exam_name")
    assert set(exams["note_id"]) == set(reports.filter(pl.col("note_type") == "RR")["note_id"])


def test_a_summary_is_charted_at_midnight_of_the_day_of_discharge(
    hospital: Path, tables: dict[str, pl.DataFrame]
) -> None:
    notes = pl.read_csv(hospital / "note/discharge.csv.gz", columns=["hadm_id", "charttime"], infer_schema=False)
    days = notes.join(tables["hosp/admissions"], "hadm_id").select(
        pl.col("dischtime").dt.truncate("1d").dt.strftime("%F %T"), "charttime"
    )
    assert days.height > 800
    assert (days["charttime"] == days["dischtime"]).all()


def test_no_report_rules_out_what_the_patient_has(stays: list[Admission]) -> None:
    denied = 0
    for stay in stays:
        timeline = draw_timeline(stay, None, Random(stay.hadm_id))
        names = [*stay.principal.says, *(name for condition, _ in stay.documented for name in condition.says)]
        for report in draw_reports(timeline, knowledge(), Random(stay.hadm_id)):
            for name in re.findall(
                r"No evidence of (.*)\.$|(?:\d\.  |\n)(.*) is excluded;|Previously questioned (.*) is not",
                report.text,
                re.M,
            ):
                denied += 1
                assert "".join(name).lower() not in {phrase.lower() for phrase in names}, report.text
    assert denied > 100


def test_ccs_and_mccs_become_known_over_the_days(stays: list[Admission]) -> None:
    known, severe = {6: 0, 24: 0, 48: 0, 9999: 0}, 0
    for stay in stays:
        timeline = draw_timeline(stay, None, Random(stay.hadm_id))
        reports = draw_reports(timeline, knowledge(), Random(stay.hadm_id))
        for problem in timeline.problems:
            if level(problem.code):
                severe += 1
                names = {*problem.condition.says, *problem.condition.heldout}
                for hours in known:
                    text = " ".join(
                        report.text for report in reports if report.stored <= timeline.start + timedelta(hours=hours)
                    ).lower()
                    known[hours] += any(name.lower() in text for name in names)
    shares = [count / severe for count in known.values()]
    assert severe > 300
    assert shares[0] < 0.35
    assert all(later > earlier + 0.05 for earlier, later in pairwise(shares)), shares


def test_an_admission_soon_after_another_begins_after_it(stays: list[Admission]) -> None:
    for stay in stays:
        free = stay.admitted - timedelta(minutes=3)
        timeline = draw_timeline(stay, free, Random(1))
        assert free <= timeline.start <= timeline.admitted < timeline.left
        assert timeline.left_emergency is None or timeline.admitted < timeline.left_emergency < timeline.left
        assert all(timeline.start < problem.onset < timeline.left for problem in timeline.problems)


def chapter_accuracy(texts: dict[str, str], chapters: dict[str, str]) -> float:
    """The share of right ICD-10 chapters of the last third's principal diagnoses, by naive Bayes of the others."""
    ids = sorted(texts, key=lambda hadm_id: Random(hadm_id).random())
    train, test = ids[: len(ids) * 2 // 3], ids[len(ids) * 2 // 3 :]
    words = {hadm_id: set(re.findall(r"[a-z]{2,}", texts[hadm_id].lower())) for hadm_id in ids}
    members = {chapter: [words[i] for i in train if chapters[i] == chapter] for chapter in set(chapters.values())}
    vocabulary = set().union(*(words[hadm_id] for hadm_id in train))
    chances = {
        chapter: (
            log(len(rows) + 0.1),
            {word: log((sum(word in row for row in rows) + 0.3) / (len(rows) + 3)) for word in vocabulary},
        )
        for chapter, rows in members.items()
    }
    right = 0
    for hadm_id in test:
        scores = {
            chapter: prior + sum(table[word] for word in words[hadm_id] & vocabulary)
            for chapter, (prior, table) in chances.items()
        }
        right += max(scores, key=scores.__getitem__) == chapters[hadm_id]
    return right / len(test)


def test_a_bag_of_words_tells_the_principal_group_better_the_more_is_known(tables: dict[str, pl.DataFrame]) -> None:
    """The patients are the same at every horizon: those from the emergency room who are in the house for 48 hours."""
    stays = in_the_house(tables).filter(pl.col("dischtime") > pl.col("start") + timedelta(hours=48))
    triage = (
        tables["ed/edstays"]
        .join(tables["ed/triage"], "stay_id")
        .drop_nulls("hadm_id")
        .unique("hadm_id", keep="last", maintain_order=True)
    )
    stays = stays.join(triage.select("hadm_id", "chiefcomplaint"), "hadm_id")
    first = tables["hosp/diagnoses_icd"].filter(pl.col("seq_num") == "1").select("hadm_id", "icd_code")
    chapters = {hadm_id: code[0] for hadm_id, code in first.select("hadm_id", "icd_code").iter_rows()}
    spans = stays.select("subject_id", "start", "dischtime", "chiefcomplaint", hadm="hadm_id")
    reports = (
        tables["note/radiology"].join(spans, "subject_id").filter(pl.col("charttime").is_between("start", "dischtime"))
    )
    accuracies = []
    for hours in (0, 24, 48):
        horizon = pl.col("start") + timedelta(hours=hours)
        known = reports.filter(pl.col("storetime") <= horizon).group_by("hadm").agg(pl.col("text").str.join(" "))
        texts = stays.join(known, left_on="hadm_id", right_on="hadm", how="left").with_columns(
            pl.col("text").fill_null("")
        )
        said = {row["hadm_id"]: f"{row['chiefcomplaint']} {row['text']}" for row in texts.iter_rows(named=True)}
        accuracies.append(chapter_accuracy(said, {hadm_id: chapters[hadm_id] for hadm_id in said}))
    assert accuracies[0] > 0.2, accuracies
    assert accuracies[0] + 0.05 < accuracies[1], accuracies
    assert accuracies[1] + 0.03 < accuracies[2], accuracies
