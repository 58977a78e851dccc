"""Says what of a cohort may stand where others read it: no small groups, no names of a hospital's own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

MIN_GROUP_PATIENTS = 10
"""Patients below which a group is not shown: neither its interval nor the privacy of who is in it would be kept."""

LOCAL = (
    "notes.parquet", "admissions.parquet", "source_ids.parquet", "split.key", "cohort.json", "excluded.csv", "tokens",
    "predictions.parquet", "predictions_validation.parquet", "result.json", "history.jsonl", "cell.json", "state.json",
    "tracking.json", "audit.json", "evaluation", "adapter", "checkpoints", "classes.csv",
)  # fmt: skip
"""Files and folders of cohorts and runs, by the end of their names, that hold notes, ids, rows of patients, counts of
few or names of a hospital's own. All that is not listed is written to be shared."""


def shown(patients: Sequence[int], together: Callable[[list[bool]], int]) -> list[bool]:
    """Says which groups of a table may be shown: none of few patients, and none that tells of few by subtraction.

    Args:
        patients: of each group.
        together: how many patients are left out of the table when the groups that are marked are.

    >>> counts = [30, 20, 12, 3]
    >>> shown(counts, lambda hidden: sum(count for count, gone in zip(counts, hidden) if gone))
    [True, True, False, False]
    """
    kept = [count >= MIN_GROUP_PATIENTS for count in patients]
    while any(kept) and 0 < together([not fits for fits in kept]) < MIN_GROUP_PATIENTS:
        smallest = min((group for group, fits in enumerate(kept) if fits), key=lambda group: patients[group])
        kept[smallest] = False
    return kept


def shown_of_counts(patients: Sequence[int], rest: int = 0) -> list[bool]:
    """Says which groups may be shown where no patient is in two; `rest` are patients of no group.

    >>> shown_of_counts([30, 20, 12]), shown_of_counts([30, 20, 12], rest=3), shown_of_counts([5])
    ([True, True, True], [True, True, False], [False])
    """
    return shown(patients, lambda hidden: rest + sum(n for n, gone in zip(patients, hidden, strict=True) if gone))


def shown_groups(rows: pl.DataFrame, of: str) -> set[Any]:
    """Picks the values of a column whose rows may be shown as groups; rows without a value are in no group.

    Args:
        rows: notes with their `subject_id`.
        of: the column.
    """
    names, counts = [], []
    for name, count in rows.group_by(of, maintain_order=True).agg(pl.col("subject_id").n_unique()).iter_rows():
        if name is not None:
            names.append(name)
            counts.append(count)

    def together(hidden: list[bool]) -> int:
        gone = [name for name, out in zip(names, hidden, strict=True) if out]
        left_out = pl.col(of).is_null() | pl.col(of).cast(pl.String).is_in([str(name) for name in gone])
        return rows.filter(left_out)["subject_id"].n_unique()

    return {name for name, fits in zip(names, shown(counts, together), strict=True) if fits}


def folded(flow: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Folds steps of the flow together from whose counts a few patients could be told.

    >>> steps = [("notes", 0, 100), ("a", 0, 100), ("b", 4, 96), ("c", 30, 66), ("d", 2, 64)]
    >>> [tuple(step.values()) for step in folded([dict(zip(("step", "excluded", "left"), s)) for s in steps])]
    [('notes', 0, 100), ('b; c; d', 36, 64)]
    """
    kept = [dict(flow[0])]
    names: list[str] = []
    for step in flow[1:]:
        names += [str(step["step"])] if step["excluded"] else []
        excluded = kept[-1]["left"] - step["left"]
        if excluded >= MIN_GROUP_PATIENTS:
            kept.append({"step": "; ".join(names), "excluded": excluded, "left": step["left"]})
            names = []
    if names:  # too few for a step of their own
        last, left = kept.pop(), flow[-1]["left"]
        if not kept:
            return [{"step": f"{last['step']}; {'; '.join(names)}", "excluded": 0, "left": left}]
        joined = "; ".join([str(last["step"]), *names])
        kept.append({"step": joined, "excluded": kept[-1]["left"] - left, "left": left})
    return kept


def public_names(codes: Sequence[str], version: str | None) -> dict[str, str]:
    """Names each class as outside of the hospital: an MS-DRG or APR-DRG by its code, any other by its number.

    Args:
        codes: in the order of the logits.
        version: of the MS-DRGs, or `apr`; None for classes of a hospital's own.

    >>> public_names(["291"], "v34"), public_names(["ward 7, Dr. Roe"], None)
    ({'291': '291'}, {'ward 7, Dr. Roe': 'class_0001'})
    """
    return {code: code if version else f"class_{number:04d}" for number, code in enumerate(codes, start=1)}
