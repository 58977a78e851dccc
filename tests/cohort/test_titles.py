import csv
import os
from pathlib import Path
from random import Random

import pytest

from src.cohort.msdrg import load_drgs
from src.cohort.titles import resolve
from src.synthetic.descriptions import described

DEMO = Path(os.environ.get("MIMIC_IV_DEMO", "mimic-iv-demo")) / "drgcodes.csv"
"""The open MIMIC-IV demo (https://physionet.org/content/mimic-iv-demo), where a user has it."""


def test_every_title_of_v34_names_its_own_drg() -> None:
    for code, drg in load_drgs().items():
        assert resolve(code, drg.title).drg is drg


@pytest.mark.parametrize(
    ("code", "description", "expected"),
    [
        ("871", "SEPTICEMIA OR SEVERE SEPSIS W/O MV >96 HOURS W MCC", "871"),
        ("871", "SEPTICEMIA OR SEVERE SEPSIS W/O MV 96+ HOURS W MCC", "871"),
        ("470", "MAJOR JOINT REPLACEMENT OR REATTACHMENT OF LOWER EXTREMITY W/O MCC", "470"),
        ("441", "DISORDERS OF LIVER EXCEPT MALIG,CIRR,ALC HEPA W MCC", "441"),
        ("897", "ALCOHOL/DRUG ABUSE OR DEPENDENCE W/O REHABILITATION THERAPY W/O MCC", "897"),
        ("788", "CESAREAN SECTION W/O STERILIZATION W/O CC/MCC", "766"),
        ("417", "LAPAROSCOPIC CHOLECYSTECTOMY WO C.D.E. W MCC", "417"),
    ],
)
def test_a_hospitals_spelling_finds_its_drg(code: str, description: str, expected: str) -> None:
    found = resolve(code, description)
    assert found.drg is not None, found.how
    assert found.drg.code == expected


def test_a_title_of_another_code_decides_against_the_code() -> None:
    found = resolve("127", "HEART FAILURE & SHOCK W MCC")
    assert found.drg is not None
    assert (found.drg.code, found.how) == ("291", "title")


def test_what_no_title_fits_is_left_open_with_its_reason() -> None:
    assert resolve("291", "HEART TRANSPLANT REJECTION").drg is None
    assert "fits" in resolve("291", "HEART TRANSPLANT REJECTION").how


def test_the_synthetic_hospitals_descriptions_lead_back_to_their_drgs() -> None:
    random, drgs = Random(1), list(load_drgs())
    wrong = lost = 0
    for drg in drgs:
        found = resolve(*described(drg, random)).drg
        lost += found is None
        wrong += found is not None and found.code != drg
    assert wrong <= 3
    assert lost <= 0.02 * len(drgs)


def test_real_descriptions_are_resolved_or_left_open_but_never_to_another_code() -> None:
    if not DEMO.is_file():
        pytest.skip(f"{DEMO}: no such file; set MIMIC_IV_DEMO to the demo's hosp folder to check real descriptions")
    with DEMO.open(encoding="utf-8") as lines:
        rows = {(r["drg_code"], r["description"]) for r in csv.DictReader(lines) if r["drg_type"] == "HCFA"}
    found = {row: resolve(*row).drg for row in rows}
    known = {row: drg for row, drg in found.items() if drg}
    assert len(known) >= 0.95 * len(rows)
    assert all(drg.code == code.zfill(3) for (code, _), drg in known.items())


@pytest.mark.parametrize(
    ("code", "description", "drg"),
    [
        ("871", "SEPTICEMIA W/O MV 96+ HOURS W MCC", "871"),
        ("208", "RESPIRATORY SYSTEM DIAGNOSIS W VENTILATOR SUPPORT <96 HOURS", "208"),
        ("065", "INTRACRANIAL HEMORRHAGE OR CEREBRAL INFARCTION W CC", "065"),
        ("230", "OTHER CARDIOTHORACIC PROCEDURES W/O CC/MCC", "229"),
        ("884", "ORGANIC DISTURBANCES & MENTAL RETARDATION", "884"),
        ("484", "MAJOR JOINT & LIMB REATTACHMENT PROC OF UPPER EXTREMITY W/O CC/MCC", "483"),
        ("291", "HEART FALIURE & SHOCK W MCC", "291"),
        ("190", "CHRONIC OBSTRUCTIVE PULMONRY DISEASE W MCC", "190"),
    ],
)
def test_former_and_misspelt_titles_find_their_code(code: str, description: str, drg: str) -> None:
    found = resolve(code, description).drg
    assert found is not None
    assert found.code == drg


@pytest.mark.parametrize(
    ("code", "description", "reason"),
    [
        ("237", "MAJOR CARDIOVASC PROCEDURES W MCC", "of a family that v34 no longer has"),
        ("490", "BACK & NECK PROC EXC SPINAL FUSION W CC/MCC OR DISC DEVICE/NEUROSTIM", "of a family"),
        ("292", "HRT FAIL & SHOCK W MCC", "looks like 291, but 292 is another DRG"),
        ("292", "HEART FALIURE & SHOCK W MCC", "no title"),
        ("291", "HEART", "no title"),
        ("", "W MCC", "no title"),
        ("", "", "no title"),
    ],
)
def test_what_is_not_certain_is_reported(code: str, description: str, reason: str) -> None:
    match = resolve(code, description)
    assert match.drg is None
    assert reason in match.how
