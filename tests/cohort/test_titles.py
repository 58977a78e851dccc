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
