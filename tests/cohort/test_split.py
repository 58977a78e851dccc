import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from src.cohort.split import Split, by_patient, sampled, split_of

NOTES = st.lists(st.tuples(st.integers(1, 60), st.sampled_from("abcdef")), min_size=1, max_size=120)


def frame(notes: list[tuple[int, str]]) -> pl.DataFrame:
    return pl.DataFrame(notes, schema={"subject_id": pl.Int64, "drg": pl.String}, orient="row").with_columns(
        note_id=pl.int_range(len(notes)).cast(pl.String)
    )


def test_shares_of_patients_are_what_was_asked_for() -> None:
    drawn = [split_of(number, 3, 0.2, 0.1) for number in range(20_000)]
    assert abs(drawn.count(Split.TEST) / 20_000 - 0.2) < 0.01
    assert abs(drawn.count(Split.VALIDATION) / 20_000 - 0.1) < 0.01


@settings(max_examples=200, deadline=None)
@given(notes=NOTES, seed=st.integers(0, 5))
def test_a_patient_is_in_one_split_whatever_the_row_order(notes: list[tuple[int, str]], seed: int) -> None:
    rows = frame(notes)
    split = dict(zip(rows["note_id"], by_patient(rows, seed, 0.2, 0.2), strict=True))
    turned = rows.reverse()
    assert split == dict(zip(turned["note_id"], by_patient(turned, seed, 0.2, 0.2), strict=True))
    told = rows.with_columns(split=pl.Series([split[note] for note in rows["note_id"]]))
    assert told.group_by("subject_id").agg(pl.col("split").n_unique())["split"].max() == 1
    assert set(split.values()) <= set(Split)


def test_each_drg_has_its_share_of_patients_in_each_split() -> None:
    rows = frame([(number, "abcd"[number % 4 if number % 7 else 0]) for number in range(4000)])
    told = rows.with_columns(split=by_patient(rows, 0, 0.1, 0.1))
    for (_, split), part in told.group_by("drg", "split"):
        share = part.height / told.filter(pl.col("drg") == part["drg"][0]).height
        assert abs(share - (0.8 if split == "train" else 0.1)) < 0.002


@settings(max_examples=100, deadline=None)
@given(notes=NOTES, limit=st.integers(1, 60), more=st.integers(0, 60))
def test_a_sample_is_part_of_a_larger_one_with_each_class_by_its_share(
    notes: list[tuple[int, str]], limit: int, more: int
) -> None:
    rows = frame(notes)
    sample, larger = sampled(rows, limit), sampled(rows, limit + more)
    assert sample.height == min(limit, rows.height)
    assert set(sample["note_id"]) <= set(larger["note_id"])
    assert sample["note_id"].cast(pl.Int64).is_sorted()
    for drg, often in rows.group_by("drg").len().iter_rows():
        assert abs((sample["drg"] == drg).sum() - often * sample.height / rows.height) < 2 + 6 * often / rows.height


def test_a_sample_of_notes_sorted_by_class_is_of_every_class() -> None:
    rows = frame([(number, "abc"[number // 40]) for number in range(120)])
    assert sampled(rows, None).equals(rows)
    assert dict(sampled(rows, 12).group_by("drg").len().iter_rows()) == {"a": 4, "b": 4, "c": 4}
