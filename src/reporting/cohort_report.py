"""Measures what a prepared cohort holds, as numbers and as a short text; never a word of a note."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cohort.disclosure import MIN_GROUP_PATIENTS, folded, shown_groups, shown_of_counts
from src.cohort.prepared import NOTES, Cohort, read_cohort
from src.cohort.split import Split
from src.config.choices import Weights
from src.config.cohort_folder import folder_at, prepared_horizons
from src.config.train import TrainConfig
from src.display.published import PAPER_COHORT
from src.display.tables import Table, table_of, to_text
from src.models.bases import load_tokenizer
from src.models.prompts import prompt_template
from src.training.notes import token_lengths
from src.training.quiet_libraries import quiet_libraries
from src.training.tokens import open_tokens, tokenizer_hash

NOT_KNOWN = "not known"

PAPER: Mapping[str, float] = PAPER_COHORT | {
    "training and validation notes": PAPER_COHORT["train"],
    "test notes": PAPER_COHORT["test"],
    "DRGs with a note": PAPER_COHORT["DRGs"],
    "base DRGs of the version": PAPER_COHORT["base DRGs"],
}
"""The paper's counts by the names of this report."""

BANDS = {"1": (1, 1), "2 to 9": (2, 9), "10 to 99": (10, 99), "100 or more": (100, 10**12)}
"""Notes of a DRG: few to many."""


@dataclass(frozen=True, eq=False)
class Lengths:
    """Holds how long every note of a cohort is, by row."""

    words: NDArray[np.int64]
    tokens: NDArray[np.int64]
    """Before a note is cut, with the tokenizer's own tokens and the prompt's."""
    tokenizer: str
    """Whose tokens, in words."""


def read_lengths(cohort: Cohort, cfg: TrainConfig) -> Lengths:
    """Reads the lengths that a training run of this configuration would meet.

    Raises:
        UserError: the model's tokenizer cannot be had.
    """
    quiet_libraries()
    tokenizer = load_tokenizer(cfg.model)
    around = prompt_template(tokenizer, cfg.prompt, cfg.max_len).tokens
    tokens = open_tokens(cohort, tokenizer)
    words = pl.read_parquet(cohort.folder / NOTES, columns=["words"])["words"].cast(pl.Int64).to_numpy()
    instead = " (the small base's tokenizer in its place)" if cfg.model.weights is Weights.RANDOM else ""
    named = f"model={cfg.model.name}{instead}, tokenizer {tokenizer_hash(tokenizer)}, prompt={cfg.prompt}"
    return Lengths(words, tokens.lengths(np.arange(len(tokens))) + around, named)


def measure(cohort: Cohort, whole: NDArray[np.int64], lengths: Sequence[int]) -> dict[str, Any]:
    """Measures every number of the report, ready for JSON.

    Args:
        cohort: the prepared cohort.
        whole: tokens of each note before it is cut, by row.
        lengths: tokens at which notes may be cut.
    """
    columns = pl.scan_parquet(cohort.folder / NOTES).select(
        "subject_id", "hadm_id", "split", "drg", "words", pl.col("text").hash()
    )
    notes = columns.collect()
    numbers = {
        "cohort": cohort.fingerprint,
        "drg_version": cohort.record["drg_version"],
        "flow": folded(cohort.record["flow"]),
        "horizons": _horizons(cohort.folder),
        "splits": _splits(notes),
        "in_two_splits": _in_two_splits(notes),
        "labels": _labels(notes, cohort),
        "labels_decided_by": dict(cohort.record.get("labels_decided_by", {})),
        "words": _spread(notes["words"].to_numpy()),
        "tokens": {
            **_spread(whole),
            "share_cut": {str(length): token_lengths(whole, length)["share_cut"] for length in lengths},
        },
        "undecided": _undecided(cohort.record),
    }
    return {**numbers, "beside_the_paper": _beside_the_paper(numbers) if cohort.record["drg_version"] == "v34" else []}


def _horizons(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Reads the flow of each horizon before discharge, in order of time; nothing where none was prepared."""
    return {name: folded(read_cohort(folder_at(folder, name)).record["flow"]) for name in prepared_horizons(folder)}


def _splits(notes: pl.DataFrame) -> dict[str, dict[str, int]]:
    counted = {}
    for split in Split:
        rows = notes.filter(pl.col("split") == str(split))
        counts = {name: rows[column].n_unique() for name, column in (("patients", "subject_id"), ("drgs", "drg"))}
        counted[str(split)] = {"notes": rows.height, **counts}
    return counted


def _in_two_splits(notes: pl.DataFrame) -> dict[str, int]:
    """Counts patients, admissions and equal texts that stand in more than one split."""
    by = {"patients": "subject_id", "admissions": "hadm_id", "texts": "text"}
    return {
        name: notes.group_by(column).agg(pl.col("split").n_unique()).filter(pl.col("split") > 1).height
        for name, column in by.items()
    }


def _labels(notes: pl.DataFrame, cohort: Cohort) -> dict[str, Any]:
    counts = notes["drg"].value_counts().sort(["count", "drg"], descending=[True, False])
    per_drg, names, kept = counts["count"].to_numpy(), cohort.public_names, shown_groups(notes, "drg")
    base_of = {drg.code: drg.base_drg for drg in cohort.labels}
    trained = set(notes.filter(pl.col("split") == str(Split.TRAIN))["drg"])
    unseen = notes.filter(pl.col("split") == str(Split.TEST))["drg"].is_in(trained).not_().sum()
    return {
        "drgs": counts.height,
        "drgs_of_the_version": len(base_of),
        "base_drgs": len({base_of[code] for code in counts["drg"]} - {None}),
        "base_drgs_of_the_version": len(set(base_of.values()) - {None}),
        "drgs_by_notes": {
            name: int(((per_drg >= low) & (per_drg <= high)).sum()) for name, (low, high) in BANDS.items()
        },
        "share_of_the_ten_commonest": float(per_drg[:10].sum() / per_drg.sum()),
        "test_notes_of_drgs_without_a_training_note": int(unseen),
        "notes_by_drg": {names[code]: count for code, count in counts.iter_rows() if code in kept},
        "notes_by_rank": [count for count in per_drg.tolist() if count >= MIN_GROUP_PATIENTS],
    }


def _undecided(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Counts what was not decided, and lists descriptions of many patients, none of a hospital's own file.

    All are in `cohort.json`. None where the record does not say.
    """
    rows = record.get("undecided")
    if rows is None:
        return None
    public = [row for row in rows if row.get("patients")] if record.get("protocol") != "own" else []
    kept = shown_of_counts([row["patients"] for row in public])
    return {
        "descriptions": len(rows),
        "rows": sum(row["rows"] for row in rows),
        "listed": [row for row, fits in zip(public, kept, strict=True) if fits],
    }


def _spread(values: NDArray[Any]) -> dict[str, float]:
    quantiles = {f"p{round(q * 100)}": float(np.quantile(values, q)) for q in (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)}
    return {"mean": float(values.mean()), **quantiles, "longest": int(values.max())}


def _beside_the_paper(numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    splits, labels = numbers["splits"], numbers["labels"]
    here = {
        "notes": sum(split["notes"] for split in splits.values()),
        "training and validation notes": splits["train"]["notes"] + splits["validation"]["notes"],
        "test notes": splits["test"]["notes"],
        "DRGs with a note": labels["drgs"],
        "base DRGs with a note": labels["base_drgs"],
        "DRGs of the version": labels["drgs_of_the_version"],
        "base DRGs of the version": labels["base_drgs_of_the_version"],
        "mean words of a note": numbers["words"]["mean"],
        "mean tokens of a note": numbers["tokens"]["mean"],
        "patients in two splits": numbers["in_two_splits"]["patients"],
    }
    return [
        {"what": quantity, "here": value, "paper": PAPER.get(quantity, NOT_KNOWN)} for quantity, value in here.items()
    ]


def summary(numbers: Mapping[str, Any]) -> str:
    """Writes the report in a screenful.

    Args:
        numbers: what `measure` gives.
    """
    labels, tokens, kind = numbers["labels"], numbers["tokens"], kind_of(numbers)
    lines = [f"{step['left']:>9,}  {step['step']}  (-{step['excluded']:,})" for step in numbers["flow"]]
    for name, flow in numbers["horizons"].items():
        lines.append(f"{flow[-1]['left']:>9,}  known at {name}")
    for name, split in numbers["splits"].items():
        lines.append(f"{split['notes']:>9,}  {name}: {split['patients']:,} patients, {split['drgs']} {kind}")
    lines.append("in two splits: " + ", ".join(f"{count:,} {unit}" for unit, count in numbers["in_two_splits"].items()))
    bases = f", {labels['base_drgs']} base DRGs" if labels["base_drgs"] else ""
    lines.append(f"labels: {labels['drgs']} {kind} of {labels['drgs_of_the_version']}{bases}")
    bands = ", ".join(f"{count} with {band}" for band, count in labels["drgs_by_notes"].items())
    lines.append(f"{kind} by notes: {bands}; the ten commonest hold {labels['share_of_the_ten_commonest']:.1%}")
    for unit in ("words", "tokens"):
        spread = numbers[unit]
        lines.append(f"{unit}: mean {spread['mean']:.0f}, median {spread['p50']:.0f}, p90 {spread['p90']:.0f}")
    lines.append("cut: " + ", ".join(f"{share:.1%} at {length}" for length, share in tokens["share_cut"].items()))
    if (undecided := numbers["undecided"]) and undecided["rows"]:
        lines.append(f"undecided: {undecided['descriptions']:,} descriptions on {undecided['rows']:,} rows")
    published = published_rows(numbers)
    return "\n".join([*lines, *([to_text(paper_table(published))] if published else [])])


def kind_of(numbers: Mapping[str, Any]) -> str:
    """Names what the labels of a cohort are called: a hospital's own are of no MS-DRG version."""
    return "classes" if numbers["drg_version"] is None else "DRGs"


def published_rows(numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Picks the rows of the comparison for which the paper has a figure."""
    return [row for row in numbers["beside_the_paper"] if row["paper"] != NOT_KNOWN]


def paper_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lays the comparison with the paper out as a table."""
    return table_of(("", "here", "paper"), [[row["what"], row["here"], row["paper"]] for row in rows], digits=1)
