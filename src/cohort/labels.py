"""The label of each note: from MIMIC-IV's DRG rows, or from a column of a hospital's own file."""

import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from src.cohort.msdrg import load_drgs
from src.cohort.titles import Match, digits_of, resolve
from src.config.prepare import LabelKind
from src.shell.errors import UserError


@dataclass(frozen=True)
class Labels:
    """What each label text stands for."""

    rows: pl.DataFrame
    """`hadm_id` and `drg` of every row of type HCFA (MIMIC-IV), or `label` and `drg` of every label text; `drg` null
    where it was not decided."""
    how: dict[str, int]
    """How often each rule decided."""
    undecided: list[dict[str, Any]]
    """Codes and descriptions that were not decided, with the reason, the number of rows, and MIMIC-IV's patients."""
    version: str = "v34"
    """The MS-DRG version of the DRGs."""


def mimic_labels(table: pl.DataFrame, version: str = "v34", *, title_first: bool = False) -> Labels:
    """The DRG of `version` of each row of type HCFA of `hosp/drgcodes`.

    With `title_first` a description that names a DRG decides whatever its code says, as in the paper.
    """
    named = pl.col("drg_code", "description").fill_null("").str.strip_chars()
    hcfa = table.filter(pl.col("drg_type").str.strip_chars() == "HCFA").with_columns(named)
    counts = pl.len().alias("rows"), pl.col("subject_id").n_unique().alias("patients")
    pairs = hcfa.group_by("drg_code", "description").agg(*counts).sort("drg_code", "description")
    matches = [_match(code, description, version, title_first) for code, description, *_ in pairs.iter_rows()]
    decided = pairs.with_columns(
        drg=pl.Series([match.drg.code if match.drg else None for match in matches], dtype=pl.String),
        how=pl.Series([match.how for match in matches], dtype=pl.String),
    )
    rows = hcfa.join(decided.select("drg_code", "description", "drg"), on=["drg_code", "description"], how="left")
    open_ = decided.filter(pl.col("drg").is_null()).sort(
        "rows", "drg_code", "description", descending=[True, False, False]
    )
    undecided = open_.select("drg_code", "description", pl.col("how").alias("reason"), "rows", "patients").to_dicts()
    return Labels(rows.select("hadm_id", "drg"), _counted(decided), undecided, version)


def _match(code: str, description: str, version: str, title_first: bool) -> Match:
    titled = resolve("", description, version) if title_first else None
    return titled if titled and titled.drg else resolve(code, description, version)


def own_labels(labels: pl.Series, kind: LabelKind, column: str, version: str = "v34") -> Labels:
    """What the label texts of a hospital's own file stand for: codes, titles, or classes of their own.

    Raises:
        UserError: with `kind` auto, some but not all texts are MS-DRGs; with `drg`, none is.
    """
    texts = labels.drop_nulls().value_counts(name="rows").rename({labels.name: "label"}).sort("label")
    names = texts["label"].to_list()
    found = {name: _drg(name, version) for name in names}
    named = sum(match.drg is not None for match in found.values())
    if kind is LabelKind.AUTO and 0 < named < len(names):
        odd = next(name for name in names if found[name].drg is None)
        if named > len(names) / 2:
            raise UserError(
                f"data.label={column}: {named} of {len(names)} labels are MS-DRGs, but not {odd[:80]!r} "
                f"({found[odd].how}); write data.labels=drg to leave such rows out, or data.labels=any"
            )
    if kind is LabelKind.DRG and not named:
        raise UserError(f"data.label={column}: no label is an MS-DRG code or title; write data.labels=any")
    plain = kind is LabelKind.ANY or (kind is LabelKind.AUTO and named < len(names))
    drgs = [name if plain else drg.code if (drg := found[name].drg) else None for name in names]
    decided = texts.with_columns(
        drg=pl.Series(drgs, dtype=pl.String),
        how=pl.Series(["own label" if plain else found[name].how for name in names], dtype=pl.String),
    )
    undecided = [
        {"drg_code": "", "description": label, "reason": how, "rows": rows}
        for label, rows, drg, how in decided.iter_rows()
        if drg is None
    ]
    return Labels(decided.select("label", "drg"), _counted(decided), undecided, version)


def _drg(label: str, version: str) -> Match:
    """The DRG of a code, of a title, or of both as CMS writes them: `291 - HEART FAILURE & SHOCK W MCC`."""
    code = digits_of(label)
    if code.isdecimal():
        drg = load_drgs(version).get(code)
        return Match(drg, "code" if drg else f"{code} is no code of {version}")
    both = re.fullmatch(r"\s*([0-9]{1,3})\s*[-:]\s*(\D.*)", label, re.DOTALL)
    return resolve(both[1], both[2], version) if both else resolve("", label, version)


def _counted(decided: pl.DataFrame) -> dict[str, int]:
    kinds = pl.when(pl.col("drg").is_null()).then(pl.lit("not decided")).otherwise("how")
    counts = decided.group_by(kinds.alias("kind")).agg(pl.col("rows").sum()).sort("kind")
    return {str(kind): int(rows) for kind, rows in counts.iter_rows()}
