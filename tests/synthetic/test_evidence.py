"""The hospital's evidence: exact in the notes, of the admission's own DRG, and exact in what a model reads of them."""

import csv
import gzip
import hashlib
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random

import polars as pl
import pytest

from src.cli.errors import UserError
from src.cohort.paper_extraction import paper_course
from src.cohort.prepared import Cohort, read_cohort
from src.cohort.sections import Sections
from src.cohort.split import Split
from src.synthetic import hospital_tables
from src.synthetic.decisive import Decides, decisive
from src.synthetic.discharge_summary import FAMILY, write_note
from src.synthetic.facts import Admission, admissions
from src.synthetic.grouper import group
from src.synthetic.hospital_tables import COLUMNS, open_tables
from src.synthetic.knowledge import clinical, knowledge
from src.synthetic.known_evidence import read_known_evidence
from src.synthetic.passage import Fact, Role

Row = dict[str, str]


def rows(hospital: Path, table: str) -> list[Row]:
    with gzip.open(hospital / f"{table}.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def texts(hospital: Path) -> dict[str, str]:
    return {row["note_id"]: row["text"] for row in rows(hospital, "note/discharge")}


@pytest.fixture(scope="module")
def evidence(hospital: Path) -> list[Row]:
    return rows(hospital, "note/evidence")


def pattern(templates: Iterable[str]) -> re.Pattern[str]:
    """What any of these templates can be filled to, with any of its words struck out."""
    ways = []
    for template in templates:
        literals = re.split(r"\{[^{}]*\}", template)
        ways.append(".+?".join(re.sub(r"[A-Za-z]+", r"(?:\g<0>|___)", re.escape(text)) for text in literals))
    return re.compile(rf"(?:{'|'.join(ways)})\.?", re.IGNORECASE)


def templates() -> dict[tuple[str, str, str], list[str]]:
    """What the hospital's own lists let a mention say, by fact, code and kind; the long tail has its codes' titles."""
    known, may = knowledge(), defaultdict(list)
    for fact, conditions in (("principal", known.principals), ("secondary", list(known.secondaries.values()))):
        for condition in conditions:
            for code in condition.codes:
                may[fact, code, "name"] += [*condition.says, *condition.heldout]
                may[fact, code, "finding"] += condition.found
                may[fact, code, "treatment"] += condition.did
    for condition in known.secondaries.values():
        may["absent", condition.codes[0], "denied"] += condition.says
        may["absent", condition.codes[0], "history"] += condition.says
    for procedure in known.procedures.values():
        for codes in procedure.choices:
            may["procedure", "+".join(codes), "name"] += procedure.says
    may["absent", "", "family"] += FAMILY
    return may


def test_every_span_is_a_mention_of_its_fact(evidence: list[Row], texts: dict[str, str]) -> None:
    may, titles, plain = templates(), knowledge().titles, defaultdict[tuple[str, str, str], set[str]](set)
    for row in evidence:
        text, start, end = texts[row["note_id"]], int(row["start"]), int(row["end"])
        key = row["fact"], row["code"], row["kind"]
        words = text[start:end]
        if words.lower() not in plain[key]:
            tail = [clinical(titles[row["code"]])] if row["kind"] == "name" and row["code"] in titles else []
            assert pattern([*may[key], *tail]).fullmatch(words), (row, words)
            plain[key].add(words.lower())
        assert not (text[start - 1] + text[end]).isalnum(), (row, text[start - 1 : end + 1])
    assert {row["kind"] for row in evidence} == {"name", "finding", "treatment", "denied", "history", "family"}
    assert any("___" in texts[row["note_id"]][int(row["start"]) : int(row["end"])] for row in evidence)
    assert len(evidence) > 20 * len(texts)


def test_every_name_in_a_list_of_diagnoses_has_its_span(evidence: list[Row], texts: dict[str, str]) -> None:
    spans = {(row["note_id"], int(row["start"]), int(row["end"])) for row in evidence if row["kind"] == "name"}
    for note, text in texts.items():
        start = text.index("Discharge Diagnosis:\n") + len("Discharge Diagnosis:\n")
        for line in text[start : text.index("\n \nDischarge Condition:")].split("\n"):
            assert (note, start, start + len(line)) in spans, line
            start += len(line) + 1


def test_the_evidence_leaves_every_other_file_as_it_was(hospital: Path) -> None:
    """The digest is of the tables' text before there was evidence, and before admissions had times in the emergency
    department and the rows of type APR a meaning; a change of the notes on purpose changes it.
    """
    digest = hashlib.sha256()
    for table in COLUMNS:
        if table != "note/evidence":
            text = gzip.decompress((hospital / f"{table}.csv.gz").read_bytes())
            if table == "hosp/admissions":
                text = re.sub(rb",[^,\n]+,[^,\n]+(,[01]\n)", rb",,\1", text)
            if table == "hosp/drgcodes":
                text = b"".join(line for line in text.splitlines(keepends=True) if b",APR" not in line)
            digest.update(text)
    assert digest.hexdigest()[:16] == "753b016d204336aa"


def test_what_is_denied_or_past_decides_nothing_and_was_not_coded(evidence: list[Row]) -> None:
    absent = [row for row in evidence if row["fact"] == "absent"]
    assert {(row["decides"], row["coded"]) for row in absent} == {("nothing", "0")}
    assert {row["kind"] for row in absent} == {"denied", "history", "family"}
    assert not {row["kind"] for row in evidence if row["fact"] != "absent"} & {"denied", "history", "family"}


def test_a_fact_is_coded_where_the_tables_of_codes_have_it(hospital: Path, evidence: list[Row]) -> None:
    codes = defaultdict(set)
    for table in ("hosp/diagnoses_icd", "hosp/procedures_icd"):
        for row in rows(hospital, table):
            codes[row["hadm_id"]].add(row["icd_code"])
    for row in evidence:
        assert int(row["coded"]) == (set(row["code"].split("+")) <= codes[row["hadm_id"]]), row
    assert any(row["coded"] == "0" and row["fact"] == "secondary" for row in evidence)


@pytest.fixture(scope="module")
def stay() -> Admission:
    """A stay for heart failure without any procedure or other diagnosis."""
    (failure,) = (condition for condition in knowledge().principals if condition.name == "heart_failure")
    drawn = next(admissions(knowledge(), 1, Random(1), (0, 0.0)))
    patient = replace(drawn.patient, sex="F")
    bare = replace(drawn, patient=patient, principal=failure, code="I5023", died=False, procedures=[])
    return with_codes(bare, "", "")


def with_codes(stay: Admission, documented: str, coded: str) -> Admission:
    by_code = {code: condition for condition in knowledge().secondaries.values() for code in condition.codes}
    pairs = [(by_code[code], code) for code in documented.split()]
    return replace(stay, documented=pairs, coded=coded.split())


@pytest.mark.parametrize(
    ("documented", "coded", "severe"),
    [
        ("N179", "N179", "N179"),
        ("N179 E785", "N179 E785", "N179"),
        ("N179 E871", "N179 E871", "N179 E871"),
        ("N179 J9601", "N179 J9601", "J9601"),
        ("J9601 G9341", "J9601 G9341", "J9601 G9341"),
        ("N179 J9601", "N179", "N179"),
        ("N179", "N179 J9601", ""),
        ("E785", "E785", ""),
    ],
    ids=[
        "a CC",
        "a CC and no CC",
        "two CCs",
        "a CC and an MCC",
        "two MCCs",
        "an MCC not coded",
        "an MCC not written",
        "none",
    ],
)
def test_the_severity_is_decided_by_each_that_would_bring_it_about_alone(
    documented: str, coded: str, severe: str, stay: Admission
) -> None:
    decided = decisive(with_codes(stay, documented, coded))
    assert decided.pop(Fact(Role.PRINCIPAL, "I5023")) is Decides.BASE
    assert {fact.code for fact, decides in decided.items() if decides is Decides.SEVERITY} == set(severe.split())
    assert {decides for fact, decides in decided.items() if fact.code not in severe} <= {Decides.NOTHING}
    assert {fact.code for fact in decided} == set(documented.split()) & set(coded.split())


def test_the_procedure_that_makes_a_stay_surgical_decides_the_base(stay: Admission) -> None:
    pacemaker, line = ("0JH606Z", "02HK3JZ", "02H63JZ"), ("02HV33Z",)
    assert group("I5023", ["N179"], pacemaker, sex="F", alive=True) == "243"
    surgical = replace(stay, procedures=[(pacemaker, "PPM implantation"), (line, "central line placement")])
    assert decisive(with_codes(surgical, "N179", "N179")) == {
        Fact(Role.PRINCIPAL, "I5023"): Decides.BASE,
        Fact(Role.SECONDARY, "N179"): Decides.SEVERITY,
        Fact(Role.PROCEDURE, "0JH606Z+02HK3JZ+02H63JZ"): Decides.BASE,
        Fact(Role.PROCEDURE, "02HV33Z"): Decides.NOTHING,
    }


def test_four_stents_decide_the_severity_as_an_mcc_does(stay: Admission) -> None:
    stents = ("02733FZ",)
    assert group("I5023", [], stents, sex="F", alive=True) == "248"
    decided = decisive(with_codes(replace(stay, procedures=[(stents, "stents")]), "N179", "N179"))
    assert decided[Fact(Role.PROCEDURE, "02733FZ")] is Decides.BOTH
    assert decided[Fact(Role.SECONDARY, "N179")] is Decides.NOTHING


def test_a_secondary_diagnosis_that_moves_the_base_with_its_own_severity_decides_both(stay: Admission) -> None:
    """A heart failure with an infarct is grouped as the infarct, which is an MCC."""
    assert group("I5023", ["I214"], [], sex="F", alive=True) == "280"
    decided = decisive(with_codes(stay, "I214 N179", "I214 N179"))
    assert decided[Fact(Role.SECONDARY, "I214")] is Decides.BOTH
    assert decided[Fact(Role.SECONDARY, "N179")] is Decides.NOTHING


def test_a_copied_text_decides_nothing_of_the_admission_it_was_copied_to(
    stay: Admission, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where both were for the same: the note is of another admission."""
    monkeypatch.setattr(hospital_tables, "DUPLICATE", 1.0)
    monkeypatch.setattr(hospital_tables, "WITHOUT_NOTE", 0.0)
    with open_tables(tmp_path, Random(0)) as tables:
        for hadm_id in (1, 2):
            tables.add(replace(stay, hadm_id=hadm_id), write_note(stay, knowledge(), Random(hadm_id)))
    first, second = (row["text"] for row in rows(tmp_path, "note/discharge"))
    assert first == second
    decided = {
        hadm_id: {row["decides"] for row in rows(tmp_path, "note/evidence") if row["hadm_id"] == hadm_id}
        for hadm_id in ("1", "2")
    }
    assert decided == {"1": {"base", "nothing"}, "2": {"nothing"}}


@pytest.mark.parametrize(
    ("protocol", "sections"),
    [
        ("clean", ["hospital_course"]),
        ("clean", ["discharge_diagnosis", "chief_complaint", "hospital_course"]),
        ("clean", ["whole_note"]),
        ("paper", ["hospital_course"]),
    ],
)
def test_spans_are_exact_in_the_text_that_a_model_reads(
    protocol: str, sections: list[str], hospital: Path, evidence: list[Row], texts: dict[str, str]
) -> None:
    whole = pl.Series(list(texts.values()))
    cut = (
        pl.Series(paper_course(whole.cast(pl.Binary).to_list()), dtype=pl.Binary).cast(pl.String)
        if protocol == "paper"
        else Sections().join(whole, sections)
    )
    notes = pl.DataFrame({"note_id": list(texts), "text": cut}).drop_nulls("text")
    cohort = Cohort(Path("cohort"), {"protocol": protocol, "sections": sections})
    known = read_known_evidence(hospital, cohort, notes)
    read = dict(notes.iter_rows())
    own = [row for row in evidence if row["note_id"] in read]
    assert known.spans.height + known.outside == len(own)
    words = defaultdict(set)
    for row in own:
        spot = row["note_id"], row["fact"], row["code"] or None, row["kind"], row["decides"]
        words[spot].add(texts[row["note_id"]][int(row["start"]) : int(row["end"])])
    for row in known.spans.iter_rows(named=True):
        spot = row["note_id"], row["fact"], row["code"], row["kind"], row["decides"]
        assert read[row["note_id"]][row["start"] : row["end"]] in words[spot], row
    assert (known.outside < 30) is (sections == ["whole_note"])
    assert known.spans.height > 8 * len(read)


def test_the_evidence_of_a_prepared_cohort_is_found_again(hospital: Path, cohort: Path) -> None:
    own = read_cohort(cohort)
    notes = own.notes(Split.TEST)
    known = read_known_evidence(hospital, own, notes)
    assert set(known.spans["note_id"]) <= set(notes["note_id"])
    first = known.spans.filter(pl.col("decides") == "base").unique("note_id")
    assert first.height >= notes.height - 2
    assert known.outside > 0


def test_a_hospital_without_evidence_or_of_other_notes_is_refused(hospital: Path, cohort: Path, tmp_path: Path) -> None:
    own = read_cohort(cohort)
    notes = own.notes(Split.TEST).head(3)
    other = notes.with_columns(pl.col("text") + " and more")
    with pytest.raises(UserError, match=f"note {notes['note_id'][0]} is not there, or not as {cohort} has it; build"):
        read_known_evidence(hospital, own, other)
    shutil.copytree(hospital / "note", tmp_path / "note", ignore=shutil.ignore_patterns("evidence*"))
    with pytest.raises(UserError, match=r"no note/evidence.csv.gz; build the hospital again"):
        read_known_evidence(tmp_path, own, notes)
