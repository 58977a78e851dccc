"""Splits into train, validation and test: by patient with DRGs balanced, by row, by time, or as published.

A hash of the patient's number gives each patient a place between 0 and 1, whatever else is in the data; low places
go to test. So a split does not change with row order or library versions, and little with other patients.
"""

import hashlib
from pathlib import Path

import polars as pl

from src.cli.errors import UserError
from src.cli.files import atomic_write
from src.cohort.split_ids import KEY, ids_of, key_of, write_key
from src.cohort.split_names import Split as Split


def place_of(who: int | str, seed: int) -> float:
    """Gives a patient, or anything that has a name, a place between 0 and 1."""
    digest = hashlib.sha256(f"{seed}:{who}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(subject_id: int | str, seed: int, test_share: float, validation_share: float) -> Split:
    """Decides the split of one patient; the same under any row order, library version or other patients.

    >>> split_of(10000032, seed=0, test_share=0.1, validation_share=0.1)
    <Split.TRAIN: 'train'>
    >>> split_of(10000032, seed=0, test_share=1.0, validation_share=0.0)
    <Split.TEST: 'test'>
    """
    position = place_of(subject_id, seed)
    if position < test_share:
        return Split.TEST
    return Split.VALIDATION if position < test_share + validation_share else Split.TRAIN


def by_patient(rows: pl.DataFrame, seed: int, test: float, validation: float) -> pl.Series:
    """Splits patients so that each DRG has its share in each split, as far as whole patients allow.

    A patient counts for the rarest DRG among the notes. Of the patients of a DRG those with the lowest positions
    go to test; where a share is no whole number of patients, the DRG's own position decides on the last.
    """
    often = rows.group_by("drg").len("often")
    rarest = rows.join(often, on="drg").sort("often", "drg").unique("subject_id", keep="first", maintain_order=True)
    patients = rarest.select("subject_id", "drg").with_columns(
        position=_positions(rarest["subject_id"], seed), last=_positions(rarest["drg"], seed)
    )
    rank = pl.col("position").rank("ordinal").over("drg") - 1
    count = pl.len().over("drg")
    tests, others = ((count * share + pl.col("last")).floor() for share in (test, test + validation))
    split = pl.when(rank < tests).then(pl.lit("test")).when(rank < others).then(pl.lit("validation"))
    decided = patients.with_columns(split=split.otherwise(pl.lit("train")))
    return _looked_up(rows["subject_id"], decided["subject_id"], decided["split"])


def sampled(rows: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """Samples `limit` of a split's notes in their order, each DRG by its share; all of them with None.

    The same notes in every process, and all of them among those of a larger limit.

    Args:
        rows: the split's notes with `note_id` and `drg`.
        limit: how many.
    """
    if limit is None or limit >= rows.height:
        return rows
    rank = pl.col("position").rank("ordinal").over("drg") - 1
    placed = rows.select(
        "drg", position=_positions(rows["note_id"], 0), last=_positions(rows["drg"], 0)
    ).with_row_index("index")
    share = placed.select("index", share=(rank + pl.col("last")) / pl.len().over("drg"))
    return rows[share.sort("share", "index").head(limit)["index"].sort()]


def by_row(rows: pl.DataFrame, validation: float) -> pl.Series:
    """Splits as the paper does: 90 to 10 by row, stratified by DRG, seed 42; validation comes out of training.

    Raises:
        UserError: there are fewer test rows than DRGs.
    """
    from sklearn.model_selection import train_test_split

    order = rows.with_row_index("index").sort("drg", maintain_order=True)
    try:
        _, test = train_test_split(
            order["index"].to_list(), test_size=0.1, stratify=order["drg"].to_list(), random_state=42
        )
    except ValueError as error:
        raise UserError(f"the paper's split needs more notes: {error}") from None
    tested = set(test)
    names = rows["note_id"].to_list()
    return pl.Series(
        [
            "test" if index in tested else "validation" if place_of(name, 42) < validation else "train"
            for index, name in enumerate(names)
        ]
    )


def by_time(rows: pl.DataFrame, groups: pl.DataFrame, since: str | None, seed: int, validation: float) -> pl.Series:
    """Puts patients of `since` and later `anchor_year_group`s into the test; the others train and validate.

    Args:
        rows: notes with their `subject_id`.
        groups: `subject_id` and `anchor_year_group` of every patient.
        since: the first group of the test; None for the last group of all.
        seed: of the validation patients.
        validation: share of validation patients among the earlier ones.

    Raises:
        UserError: no patient has the group, a patient has none, or one side would be empty.
    """
    grouped = rows.select("subject_id").join(
        groups.unique("subject_id"), on="subject_id", how="left", maintain_order="left"
    )
    if missing := grouped["anchor_year_group"].null_count():
        raise UserError(f"split=time: {missing:,} notes are of patients without an anchor_year_group in hosp/patients")
    names = sorted(grouped["anchor_year_group"].unique())
    first = since if since is not None else names[-1]
    if first not in names or first == names[0]:
        raise UserError(f"split_since={first}: must be one of {', '.join(names[1:])}, so that earlier patients train")
    rest = pl.Series([str(split_of(who, seed, 0.0, validation)) for who in rows["subject_id"]])
    return pl.select(pl.when(grouped["anchor_year_group"] >= first).then(pl.lit("test")).otherwise(rest)).to_series()


def by_file(rows: pl.DataFrame, path: Path, key_path: Path | None) -> tuple[pl.Series, bytes | None]:
    """Reads the split that a file of hashed ids gives, null for who is not in it, and the key of its ids, if any.

    Args:
        rows: notes.
        path: the split file.
        key_path: the file of its key; None for the one beside it.

    Raises:
        UserError: the file is empty, damaged or of another form, its key is missing, or it names none of the notes.
    """
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError):
        raise UserError(f"{path}: cannot be read; a split file has the columns id and split") from None
    odd = table.columns != ["id", "split"] or not set(table["split"]) <= set(Split)
    if odd or table["id"].n_unique() < table.height or table["id"].null_count():
        raise UserError(
            f"{path}: a split file has the columns id and split, each id once, split one of {', '.join(Split)}"
        )
    if table.is_empty():
        raise UserError(f"{path}: names no id; take the split.csv that prepare wrote, or leave split=file out")
    key = key_of(path, table["id"], key_path)
    ids = ids_of(rows, "note_id" if table["id"][0:1].str.starts_with("n").all() else "subject_id", key)
    splits = _looked_up(ids, table["id"], table["split"])
    if splits.null_count() == rows.height:
        reason = f", or {key_path or path.with_name(KEY)} is the key of another split" if key else ""
        raise UserError(f"{path}: none of its {table.height:,} ids is of these notes; the data are others{reason}")
    return splits, key


def with_validation(splits: pl.Series, subject_ids: pl.Series, seed: int, test: float, validation: float) -> pl.Series:
    """Makes validation of some training patients where there is none: of those whose places say so, at least one."""
    if validation <= 0 or "validation" in splits or "train" not in splits:
        return splits
    own = pl.Series([str(split_of(who, seed, test, validation)) for who in subject_ids])
    moved = (splits == "train") & (own == "validation")
    training = subject_ids.filter(splits == "train").unique()
    if not moved.any() and len(training) > 1:
        moved = (splits == "train") & (subject_ids == min(training, key=lambda who: place_of(who, seed)))
    return pl.select(pl.when(moved).then(pl.lit("validation")).otherwise(splits)).to_series()


def counts_by_split(rows: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Counts the notes, patients and DRGs of each split."""
    return {
        str(name): {
            "notes": part.height,
            "patients": part["subject_id"].n_unique(),
            "drgs": part["drg"].n_unique(),
        }
        for name in Split
        for part in [rows.filter(pl.col("split") == name)]
    }


def write_split(path: Path, rows: pl.DataFrame, key: bytes) -> None:
    """Writes the split as keyed ids, of patients where each is in one split, else of notes; and the key beside it."""
    whole = rows.group_by("subject_id").agg(pl.col("split").n_unique())["split"].max() == 1
    ids = ids_of(rows, "subject_id" if whole else "note_id", key)
    write_key(path.with_name(KEY), key)
    with atomic_write(path) as tmp:
        pl.DataFrame({"id": ids, "split": rows["split"]}).unique("id", keep="first").sort("id").write_csv(tmp)


def _positions(who: pl.Series, seed: int) -> pl.Series:
    distinct = who.unique()
    return _looked_up(who, distinct, pl.Series([place_of(name, seed) for name in distinct], dtype=pl.Float64))


def _looked_up(keys: pl.Series, entries: pl.Series, values: pl.Series) -> pl.Series:
    return keys.replace_strict(entries, values, default=None, return_dtype=values.dtype)
