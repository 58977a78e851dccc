"""Decides the APR-DRG of each admission, a code with its severity of illness, from MIMIC-IV's rows of type APR."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from src.cohort.codes import digits_of
from src.cohort.labels import Labels
from src.cohort.msdrg import Severity
from src.config.prepare import DrgSystem

COLUMNS = {"drg_severity": pl.Int64, "drg_mortality": pl.Int64}
"""Columns of hosp/drgcodes that rows of type HCFA leave empty."""

MORTALITY = "risk_of_mortality"
"""Column of `admissions.parquet`: APR-DRG's risk of mortality, 1 to 4. It is coded after discharge."""


@dataclass(frozen=True)
class AprDrg:
    """Holds one APR-DRG with its severity of illness; neither its MDC nor its type is public."""

    code: str
    """Three digits and the severity of illness, as 194-3: neither a number nor a date to a spreadsheet."""
    title: str
    base_drg: str
    """Code and description: two codes may be described alike once their descriptions are cut."""
    severity: Severity
    mdc: None = None
    type: None = None


def apr_drg(code: str, titles: Mapping[str, str]) -> AprDrg:
    """Makes the APR-DRG of a label; its title is the data's.

    >>> apr_drg("194-3", {"194": "HEART FAILURE"}).title
    'HEART FAILURE, severity of illness 3'
    """
    base, level = code.split("-")
    title = titles.get(base, f"APR-DRG {base}")
    return AprDrg(code, f"{title}, severity of illness {level}", f"{base} {title}", Severity[f"ILLNESS_{level}"])


def apr_labels(table: pl.DataFrame) -> Labels:
    """Decides the label of each row of type APR of `hosp/drgcodes`: its code with its severity of illness, 1 to 4.

    A code's title is its commonest description, of equals the longest. An admission whose rows disagree on the risk of
    mortality has none.

    Args:
        table: with the columns of `COLUMNS`.
    """
    kinds = pl.col("drg_type").fill_null("").str.strip_chars().str.to_uppercase()
    named = pl.col("drg_code", "description").fill_null("").str.strip_chars()
    apr = table.filter(kinds == "APR").with_columns(named)
    by = ["drg_code", "description", "drg_severity"]
    counts = pl.len().alias("rows"), pl.col("subject_id").n_unique().alias("patients")
    spelt = apr.group_by(by).agg(*counts).sort(by)
    reasons = [_reason(code, severity) for code, severity in spelt.select("drg_code", "drg_severity").iter_rows()]
    bases = [digits_of(code) for code in spelt["drg_code"]]
    decided = spelt.with_columns(reason=pl.Series(reasons, dtype=pl.String), base=pl.Series(bases, dtype=pl.String))
    label = pl.col("base") + "-" + pl.col("drg_severity").cast(pl.String)
    decided = decided.with_columns(drg=pl.when(pl.col("reason").is_null()).then(label))
    rows = apr.join(decided.select(*by, "drg"), on=by, how="left", nulls_equal=True, maintain_order="left")
    open_ = decided.filter(pl.col("drg").is_null()).sort(["rows", *by], descending=[True, False, False, False])
    rules = {"code and severity of illness": rows["drg"].count(), "not decided": rows["drg"].null_count()}
    others = table.filter(~kinds.is_in(["APR", "HCFA"])).height
    remark = f"hosp/drgcodes: {others:,} rows of a type that is neither APR nor HCFA are passed over"
    return Labels(
        rows.select("hadm_id", "drg"),
        {rule: count for rule, count in rules.items() if count},
        open_.select("drg_code", "description", "reason", "rows", "patients").to_dicts(),
        DrgSystem.APR,
        [remark] if others else [],
        _titles(decided),
        _mortality(rows),
    )


def _reason(code: str, severity: int | None) -> str | None:
    """Says why a row is no label; None where it is one."""
    if not re.fullmatch(r"(?!000)[0-9]{3}", digits_of(code)):
        return "no code of three digits"
    if severity is None:
        return "no severity of illness"
    return None if 1 <= severity <= 4 else f"severity of illness {severity}, which is none of 1 to 4"


def _titles(decided: pl.DataFrame) -> dict[str, str]:
    described = decided.filter(pl.col("drg").is_not_null() & (pl.col("description") != ""))
    counted = described.group_by("base", "description").agg(pl.col("rows").sum())
    longest = pl.col("description").str.len_chars()
    best = counted.sort("base", "rows", longest, "description", descending=[False, True, True, False])
    return dict(best.unique("base", keep="first", maintain_order=True).select("base", "description").iter_rows())


def _mortality(rows: pl.DataFrame) -> pl.DataFrame:
    """Gives each admission its risk of mortality; null where it has none of 1 to 4, or several."""
    risk = pl.col("drg_mortality")
    return rows.group_by("hadm_id", maintain_order=True).agg(
        pl.when(risk.n_unique() == 1).then(risk.filter(risk.is_between(1, 4)).first()).alias(MORTALITY)
    )
