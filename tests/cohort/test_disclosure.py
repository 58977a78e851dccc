"""Groups of few are not shown, nor what tells of them by subtraction; names of a hospital's own are numbered."""

from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from src.cohort.disclosure import MIN_GROUP_PATIENTS, public_names, shown_groups, shown_of_counts
from src.cohort.prepared import read_cohort
from src.evaluation.groups import by_group
from src.reporting.cohort_report import measure
from tests.cohort.conftest import Prepare


@given(counts=st.lists(st.integers(1, 40), max_size=8), rest=st.integers(0, 40))
def test_no_few_patients_are_shown_or_told_by_subtraction(counts: list[int], rest: int) -> None:
    kept = shown_of_counts(counts, rest)
    assert all(count >= MIN_GROUP_PATIENTS for count, fits in zip(counts, kept, strict=True) if fits)
    gone = rest + sum(count for count, fits in zip(counts, kept, strict=True) if not fits)
    assert gone == 0 or gone >= MIN_GROUP_PATIENTS or not any(kept)


def rows(groups: dict[str | None, range]) -> pl.DataFrame:
    pairs = [(who, group) for group, people in groups.items() for who in people]
    notes = [{"subject_id": who, "group": group, "right": who % 2 == 0, "rank": 1} for who, group in pairs]
    return pl.DataFrame(notes, schema_overrides={"group": pl.String})


def test_a_suppressed_group_cannot_be_had_from_the_total_and_the_others() -> None:
    two = rows({"F": range(30), "M": range(30, 35)})
    assert shown_groups(two, "group") == set()
    assert by_group(two, "group")["top1"].null_count() == 2
    three = rows({"a": range(30), "b": range(30, 42), "c": range(42, 45)})
    assert shown_groups(three, "group") == {"a"}
    unknown = rows({"a": range(30), "b": range(30, 42), None: range(42, 45)})
    assert shown_groups(unknown, "group") == {"a"}
    shared = rows({"a": range(30), "b": range(40, 48), "c": range(40, 48)})  # eight patients, whatever their groups
    assert shown_groups(shared, "group") == set()


def test_classes_of_a_hospitals_own_are_numbered_and_drgs_are_not() -> None:
    assert public_names(["=cmd", "Dr. Roe"], None) == {"=cmd": "class_0001", "Dr. Roe": "class_0002"}
    assert public_names(["065"], "v34") == {"065": "065"}


def test_a_cohorts_report_names_no_class_of_a_hospital_and_counts_none_of_few(tmp_path: Path, prepare: Prepare) -> None:
    labels = ["Dr. Roe's ward"] * 40 + ["=cmd|'/C calc'!A0"] * 30 + ["alone with a rare thing"]
    pl.DataFrame([{"t": f"note {n}", "y": label} for n, label in enumerate(labels)]).write_csv(tmp_path / "n.csv")
    words = ["data=csv", f"data.path={tmp_path / 'n.csv'}", "data.text=t", "data.label=y", "data.words=1"]
    record, notes = prepare(*words)
    assert set(record["labels"]) == set(labels)
    numbers = measure(read_cohort(tmp_path / "cohort-1"), np.full(notes.height, 9), [16])
    counts = numbers["labels"]["notes_by_drg"]
    assert set(counts) <= {"class_0001", "class_0002", "class_0003"}
    assert list(counts.values()) == [40]  # the one of 30 would tell of the one of 1
    assert not [label for label in labels if label in str(numbers)]


def test_descriptions_of_a_hospitals_own_are_counted_alone(tmp_path: Path, prepare: Prepare) -> None:
    rows = [{"t": f"note {n}", "y": y} for n, y in enumerate(["291", "065", "064", "a free text of one"] * 9)]
    pl.DataFrame(rows).write_csv(tmp_path / "n.csv")
    words = ["data=csv", f"data.path={tmp_path / 'n.csv'}", "data.text=t", "data.label=y", "data.labels=drg"]
    _, notes = prepare(*words)
    told = measure(read_cohort(tmp_path / "cohort-1"), np.full(notes.height, 9), [16])["undecided"]
    assert told == {"descriptions": 1, "rows": 9, "listed": []}
