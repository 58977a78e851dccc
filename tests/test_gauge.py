from collections.abc import Callable
from pathlib import Path

import polars as pl


def test_horizons_are_measured_on_the_admissions_that_all_of_them_reach(
    early_cohort: Path, command: Callable[..., object]
) -> None:
    path = early_cohort / "horizons" / "48h" / "notes.parquet"
    notes = pl.read_parquet(path)
    gone = notes.filter(pl.col("split") == "test")["hadm_id"].head(5)
    path.unlink()
    notes.filter(~pl.col("hadm_id").is_in(gone.implode())).write_parquet(path)
    printed = command("src.gauge", f"data.dir={early_cohort}", "words=[100000]").stdout  # type: ignore[attr-defined]
    _, whole, _, said, header, *rows = printed.splitlines()
    count = notes.filter(pl.col("split") == "test").height
    assert said == f"{count - 5} of {count} test admissions are in the house at every horizon:"
    assert header.split() == ["horizon", "drg", "base_drg", "severity"]
    assert [row.split()[0] for row in rows] == ["triage", "ed", "admission", "24h", "48h", "discharge"]
    assert len({tuple(row.split()[1:]) for row in rows}) == 1, "the texts are the same"
    right = round(float(rows[0].split()[1]) * (count - 5))
    assert abs(float(whole.split()[1]) * count - right) <= 6, "five test notes are left out, and figures are rounded"
