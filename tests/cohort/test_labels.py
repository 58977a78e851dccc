import polars as pl
import pytest

from src.cli.errors import UserError
from src.cohort.labels import Labels, mimic_labels, own_labels
from src.cohort.msdrg import load_drgs
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


def read(labels: list[str], kind: LabelKind = LabelKind.AUTO, version: str = "v34") -> Labels:
    return own_labels(pl.Series("LABEL", labels), kind, "LABEL", version)


@pytest.mark.parametrize(
    "labels",
    [
        ["1", "2", "3", "4", "5"], ["1", "2"],
        [str(age) for age in range(65, 91)], [str(age) for age in range(70, 105)],
        [str(score) for score in range(11)], [str(number) for number in range(1, 25)], ["1.0", "2.0", "3.0"],
        ["01", "02", "03"], ["001", "002", "003"], ["100", "200", "280"], ["1", "2", "3", "NA"],
    ],
)  # fmt: skip
def test_small_numbers_are_not_taken_for_msdrgs_unasked(labels: list[str]) -> None:
    with pytest.raises(UserError, match=r"may be classes, scores or ages, or .* MS-DRGs.*data\.labels=any.*=drg"):
        read(labels * 20)
    assert read(labels * 20, LabelKind.ANY).rows["drg"].to_list() == sorted(labels)
    assert set(read(labels * 20, LabelKind.DRG).rows["drg"].drop_nulls()) <= set(load_drgs())


@pytest.mark.parametrize(
    "labels",
    [
        ["291", "194", "683"], ["039", "065"], ["39", "65", "291"], ["DRG 1", "DRG 2"], ["291", "292", "293"], ["0291"],
        ["001 HEART TRANSPLANT OR IMPLANT OF HEART ASSIST SYSTEM W MCC"], ["313"], ["291.0", "194.0"],
    ],
)  # fmt: skip
def test_what_is_clearly_msdrgs_is_not_asked_for_and_read_aloud(labels: list[str]) -> None:
    labels_read = read(labels * 20)
    assert set(labels_read.rows["drg"]) <= set(load_drgs())
    (remark,) = labels_read.remarks
    assert remark.startswith(f"labels in LABEL: {20 * len(labels)} notes, {len(labels)} MS-DRGs of v34 by ")
    assert remark.endswith("; data.labels=any would make them classes")


def test_classes_are_read_aloud_with_what_they_may_be_instead() -> None:
    assert read(["Stroke", "sepsis", "stroke", "NA"] * 9).remarks == [
        "labels in LABEL: 36 notes, 4 classes (NA, Stroke, sepsis, stroke)",
        "labels in LABEL: Stroke, stroke differ in capitals, blanks or signs only, and are classes apart",
    ]
    assert (
        read(["0", "1"] * 9)
        .remarks[0]
        .endswith("1 of them may be MS-DRGs of v34, and data.labels=drg would keep those only")
    )


@pytest.mark.parametrize("labels", [["291", "194", "321", "322", "397"], ["321", "322", "397"]])
def test_the_version_that_has_all_codes_is_named(labels: list[str]) -> None:
    with pytest.raises(UserError, match=rf"version=v41 has all {len(labels)} \(so have v42, v43\)"):
        read(labels * 20)
    assert read(labels * 20, version="v41").rows["drg"].to_list() == sorted(labels)


def test_an_odd_label_that_stands_for_a_missing_one_brings_its_key() -> None:
    with pytest.raises(UserError, match=r"not 'NA' .*write data\.missing=\[NA\] if 'NA' stands for a missing label"):
        read(["291", "194", "NA"] * 9)


@pytest.mark.parametrize(
    "labels",
    [
        ["291;194", "194"],
        ["n44.8|z20.818", "n44.8|a01"],
        ["a, b", "a", "b"],
        ["['a', 'x']", "['a']"],
        ["N18 / I50", "N18", "I50"],
    ],
)
def test_several_labels_in_a_cell_are_refused_with_what_to_do(labels: list[str]) -> None:
    with pytest.raises(
        UserError, match=r"hold several, such as .*keep the main one of each, or write data\.labels=any"
    ):
        read(labels * 9)
    assert len(read(labels * 9, LabelKind.ANY).rows) == len(labels)


def test_a_comma_of_a_name_does_not_part_it() -> None:
    title = "MISC DISORDERS OF NUTRITION, METABOLISM, FLUIDS/ELECTROLYTES W MCC"
    assert read([title, "CHEST PAIN"] * 9).rows["drg"].to_list() == ["313", "640"]
    assert len(read(["stroke, left", "stroke, right", "hernia"] * 9).rows) == 3


@pytest.mark.parametrize(
    "labels", [[f"P{n}" for n in range(60)], [f"he came in with pain {n} days ago" for n in range(60)]]
)
def test_a_class_a_note_is_refused_but_where_it_is_meant(labels: list[str]) -> None:
    with pytest.raises(UserError, match=r"60 different labels of 60 notes.*swapped.*data\.labels=any"):
        read(labels)
    assert len(read(labels, LabelKind.ANY).rows) == 60


def test_a_text_becomes_no_class_and_stands_in_no_message_or_record() -> None:
    notes = ["SECRETWORD came in with cough " * 12, "SECRETWORD went home " * 20]
    for kind in (LabelKind.AUTO, LabelKind.ANY):
        with pytest.raises(UserError, match=r"a column of texts; are data\.text and data\.label swapped") as refusal:
            read(notes * 20, kind)
        assert "SECRETWORD" not in str(refusal.value)
    labels = read([*notes, "291"], LabelKind.DRG)
    assert "SECRETWORD" not in str(labels.undecided) + str(labels.remarks)
