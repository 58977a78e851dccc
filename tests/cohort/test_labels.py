import polars as pl

from src.cohort.labels import mimic_labels, own_labels
from src.config.prepare import LabelKind

TABLE = pl.DataFrame(
    {
        "subject_id": [7, 8, 7],
        "hadm_id": [1, 2, 3],
        "drg_type": ["HCFA", "HCFA", "APR "],
        "drg_code": ["292", "807", "194"],
        "description": [
            "HEART FAILURE & SHOCK W MCC",
            "VAGINAL DELIVERY W/O STERILIZATION/D&C W/O CC/MCC",
            "HEART FAILURE",
        ],
    }
)


def test_a_title_whose_code_is_anothers_is_open_but_under_the_papers_rule() -> None:
    assert mimic_labels(TABLE).rows["drg"].to_list() == [None, "775"]
    assert mimic_labels(TABLE).undecided[0]["reason"] == "the title is that of 291, but 292 is another DRG"
    assert mimic_labels(TABLE, title_first=True).rows["drg"].to_list() == ["291", "775"]


def test_labels_are_of_the_version_that_was_asked_for() -> None:
    assert mimic_labels(TABLE, "v41").rows["drg"].to_list() == [None, "807"]


def test_a_code_with_its_title_is_a_drg() -> None:
    labels = pl.Series("label", ["291 - HEART FAILURE & SHOCK W MCC", "039", "CHEST PAIN", "291.0"])
    found = own_labels(labels, LabelKind.AUTO, "label").rows.sort("label")
    assert found["drg"].to_list() == ["039", "291", "291", "313"]
