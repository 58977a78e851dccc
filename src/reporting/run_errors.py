"""What `src.evaluate` found of one run, as far as a report may hold it: no group of fewer than 10 patients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from src.cli.errors import UserError
from src.cohort.disclosure import MIN_GROUP_PATIENTS, shown_of_counts
from src.display.figure_style import STYLES, ReportFigure, panel
from src.display.spreadsheet import original
from src.display.tables import Column, Entry, Estimate, Table
from src.evaluation.evaluation_report import ABOUT
from src.runs.finished import Run
from src.runs.folder import RunFolder

GROUPS = ("by_training_notes", "by_mdc", "by_type", "by_severity", "by_words", "by_cut")
ROWS = 15
"""Confusions that are shown."""

SMALL = f"Groups of fewer than {MIN_GROUP_PATIENTS} patients are left out."


@dataclass(frozen=True)
class RunErrors:
    """The tables and pictures of one run's `evaluation/`."""

    run: str
    others: int
    """Further runs that have one."""
    tables: Sequence[Table]
    drawings: Sequence[ReportFigure]


def read_errors(runs: Sequence[Run]) -> RunErrors | None:
    """Those of the first run that has an `evaluation/`; None where none has.

    Args:
        runs: the best first.

    Raises:
        UserError: one of its files is damaged.
    """
    have = [run for run in runs if run.folder and (RunFolder(run.folder).evaluation / "metrics.csv").is_file()]
    if not have or have[0].folder is None:
        return None
    folder = RunFolder(have[0].folder).evaluation
    notes = int(have[0].record.counts["test"])
    groups = {name: _known(_read(folder, name), notes) for name in GROUPS}
    slices = _by_attribute(_read(folder, "slices"), notes)
    tables = [_group_table(name, table) for name, table in groups.items() if table is not None]
    tables += _slices(slices) + _kinds(_known(_read(folder, "kinds_of_error"), notes))
    tables += _confusions(_known(_read(folder, "confusions"))) + _trust(folder, notes)
    drawings = _frequency(groups["by_training_notes"]) + _forest(slices)
    return RunErrors(have[0].name, len(have) - 1, tables, drawings)


def _read(folder: Path, name: str) -> pl.DataFrame | None:
    path = folder / f"{name}.csv"
    if not path.is_file():
        return None
    try:
        table = pl.read_csv(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}); run src.evaluate again") from None
    return table.with_columns(pl.col(pl.String).map_elements(original, return_dtype=pl.String))


def _known(table: pl.DataFrame | None, notes: int | None = None) -> pl.DataFrame | None:
    """The rows of groups that may be shown; None where the table does not count patients, or none is.

    Args:
        table: a row a group.
        notes: of all groups together, where each note is in one, so that what is left out is told by subtraction.
    """
    if table is None or "patients" not in table.columns:
        return None
    counts = pl.col("patients", "notes").cast(pl.Int64, strict=False)  # text where no row has any
    counted = table.with_columns(counts).filter(pl.col("patients") >= MIN_GROUP_PATIENTS)
    if notes is not None:
        rest = notes - int(counted["notes"].sum())
        counted = counted.filter(pl.Series(shown_of_counts(counted["notes"].to_list(), rest), dtype=pl.Boolean))
    return None if counted.is_empty() else counted


def _by_attribute(table: pl.DataFrame | None, notes: int) -> pl.DataFrame | None:
    parts = [] if table is None else table.partition_by("attribute", maintain_order=True)
    kept = [part for attribute in parts if (part := _known(attribute, notes)) is not None]
    return pl.concat(kept) if kept else None


def _top1(row: dict[str, object], name: str = "top1") -> Estimate:
    return Estimate(*(_number(row.get(f"{name}{end}")) for end in ("", "_low", "_high")))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _group_table(name: str, table: pl.DataFrame) -> Table:
    of = table.columns[0]
    columns = [Column(of, of.replace("_", " ")), Column("patients", "patients"), Column("notes", "notes")]
    columns += [Column("top1", "top-1"), Column("top5", "top-5")]
    more = [each for each in ("drgs", "macro_f1") if each in table.columns]
    columns += [Column(each, {"drgs": "DRGs", "macro_f1": "macro-F1"}[each]) for each in more]
    rows: list[list[Entry]] = [
        [str(row[of]), row["patients"], row["notes"], _top1(row), _number(row["top5"]), *(row[each] for each in more)]
        for row in table.to_dicts()
    ]
    return Table(f"errors_{name}", f"{ABOUT[name]}. {SMALL}", columns, rows)


def _slices(table: pl.DataFrame | None) -> list[Table]:
    if table is None:
        return []
    columns = [Column("attribute", "attribute"), Column("group", "group"), Column("patients", "patients")]
    columns += [
        Column("notes", "notes"),
        Column("top1", "top-1"),
        Column("gap", "gap to the rest"),
        Column("p_holm", "p (Holm)"),
    ]
    rows: list[list[Entry]] = [
        [
            str(row["attribute"]).replace("_", " "), str(row["group"]), row["patients"], row["notes"], _top1(row),
            _top1(row, "gap"), _number(row["p_holm"]),
        ]
        for row in table.to_dicts()
    ]  # fmt: skip
    return [Table("errors_slices", f"For whom: top-1 accuracy by group. {SMALL}", columns, rows)]


def _kinds(table: pl.DataFrame | None) -> list[Table]:
    if table is None:
        return []
    columns = [Column("what", "what was right"), Column("notes", "notes"), Column("share", "share")]
    rows: list[list[Entry]] = [[row["what"], row["notes"], _number(row["share"])] for row in table.to_dicts()]
    return [Table("errors_kinds", f"{ABOUT['kinds_of_error']}. {SMALL}", columns, rows)]


def _confusions(table: pl.DataFrame | None) -> list[Table]:
    """Pairs of MS-DRGs; a hospital's own classes are named in its `evaluation/` alone.

    A share is left out where it would tell of a few other notes of the DRG.
    """
    table = table.filter(pl.col("drg_title").is_not_null()) if table is not None else None
    if table is None or table.is_empty():
        return []
    columns = [Column("drg", "DRG"), Column("predicted", "predicted"), Column("title", "title of the DRG")]
    columns += [Column("predicted_title", "title of the predicted"), Column("nearness", "shared")]
    columns += [Column("notes", "notes"), Column("share", "share of the DRG's")]
    rows: list[list[Entry]] = [
        [
            str(row["drg"]), str(row["predicted"]), _title(row["drg_title"]), _title(row["predicted_title"]),
            _title(row["nearness"]), row["notes"], row["share_of_drg"] if _of_many(row) else None,
        ]
        for row in table.head(ROWS).to_dicts()
    ]  # fmt: skip
    title = f"{ABOUT['confusions']}, of {MIN_GROUP_PATIENTS} patients or more; the first {ROWS}."
    return [Table("errors_confusions", title, columns, rows).useful()]


def _of_many(row: dict[str, Any]) -> bool:
    """Whether the DRG's other notes are none, or enough to be told of."""
    others = round(row["notes"] / row["share_of_drg"]) - row["notes"]
    return bool(others == 0 or others >= MIN_GROUP_PATIENTS)


def _title(value: object) -> str:
    return "" if value is None else str(value)


def _trust(folder: Path, notes: int) -> list[Table]:
    found = []
    calibration, selective = _read(folder, "calibration"), _read(folder, "selective")
    if calibration is not None:
        columns = [Column("scores", "scores"), Column("temperature", "temperature"), Column("ece", "calibration error")]
        columns += [
            Column("mean_confidence", "mean confidence"),
            Column("accuracy", "accuracy"),
            Column("log_loss", "log loss"),
        ]
        rows: list[list[Entry]] = [[row[column.name] for column in columns] for row in calibration.to_dicts()]
        title = (
            "Calibration on the test; the temperature is from validation. The error is the expected one, by confidence."
        )
        found.append(Table("errors_calibration", title, columns, rows))
    if selective is not None:
        columns = [Column("aim", "accuracy aimed at"), Column("threshold", "threshold (validation)")]
        columns += [Column("coverage", "notes decided"), Column("accuracy", "their accuracy")]
        rows = [
            [_number(row["aim"]), _number(row["threshold"]), _top1(row, "coverage"), _top1(row, "accuracy")]
            for row in selective.to_dicts()
            if min(decided := round(row["coverage"] * notes), notes - decided or MIN_GROUP_PATIENTS)
            >= MIN_GROUP_PATIENTS
            or not decided
        ]
        found.append(Table("errors_selective", f"{ABOUT['selective']}.", columns, rows))
    return found


def _short(band: str) -> str:
    """
    >>> _short("26 to 100"), _short("101 or more")
    ('26-100', '101+')
    """
    return band.replace(" to ", "-").replace(" or more", "+")


def _frequency(table: pl.DataFrame | None) -> list[ReportFigure]:
    if table is None or table.height < 2:
        return []
    figure, axes = panel()
    rows = table.to_dicts()
    top1 = [_top1(row) for row in rows]
    reach = [[each.value - each.low for each in top1], [each.high - each.value for each in top1]]
    colour, marker, _ = STYLES[0]
    axes.errorbar(
        range(len(rows)), [each.value for each in top1], yerr=reach, color=colour, marker=marker, linestyle="-",
        capsize=2, elinewidth=0.9,
    )  # fmt: skip
    axes.set_xticks(
        range(len(rows)), [f"{_short(row['training_notes'])}\n{row['notes']:,}" for row in rows], fontsize=6
    )
    axes.set_ylim(0, 1)
    axes.set_xlabel("training notes of the DRG; below: test notes")
    axes.set_ylabel("test top-1 accuracy")
    told = f"Test notes by how often their DRG was seen in training, with intervals of 95 % over test patients. {SMALL}"
    return [ReportFigure("errors_by_frequency", "Accuracy by frequency of the DRG", told, figure)]


def _forest(table: pl.DataFrame | None) -> list[ReportFigure]:
    if table is None or table.height < 2:
        return []
    rows = table.to_dicts()
    figure, axes = panel(0.7 + 0.155 * len(rows), grid="x")
    attributes = list(dict.fromkeys(row["attribute"] for row in rows))
    for place, row in enumerate(rows):
        top1 = _top1(row)
        colour, marker, _ = STYLES[attributes.index(row["attribute"]) % len(STYLES)]
        reach = [[top1.value - top1.low], [top1.high - top1.value]]
        axes.errorbar(
            top1.value, place, xerr=reach, color=colour, marker=marker, markersize=3.5, capsize=1.5, elinewidth=0.9
        )
    names = [f"{str(row['attribute']).replace('_', ' ')}: {row['group']} ({row['notes']:,})" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=6, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("test top-1 accuracy")
    told = f"Groups of test patients, their notes in brackets, with intervals of 95 % by patient. {SMALL}"
    return [ReportFigure("errors_by_group", "For whom: accuracy by group", told, figure)]
