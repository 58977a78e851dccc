"""Shows what `src.evaluate` knows of one run, as far as a report may: no group of fewer than 10 patients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from src.cohort.disclosure import MIN_GROUP_PATIENTS, shown_of_counts
from src.display.catalog import METRICS
from src.display.figure_style import STYLES, ReportFigure, panel
from src.display.tables import Column, Entry, Estimate, Table
from src.evaluation.evaluation_record import FOLDER, NUMBERS, Row, read_evaluation
from src.evaluation.evaluation_report import ABOUT
from src.runs.finished import Run

GROUPS = ("by_training_notes", "by_mdc", "by_type", "by_severity", "by_words", "by_cut")
ROWS = 15
"""Confusions that are shown."""

SMALL = f"Groups of fewer than {MIN_GROUP_PATIENTS} patients are left out."


@dataclass(frozen=True)
class RunErrors:
    """Holds the tables and figures of one run's `evaluation/`."""

    run: str
    others: int
    """Further runs that have one."""
    tables: Sequence[Table]
    drawings: Sequence[ReportFigure]


def read_errors(runs: Sequence[Run]) -> RunErrors | None:
    """Reads the evaluation of the first run that has one; None where none has.

    Args:
        runs: the best first.

    Raises:
        UserError: its numbers are damaged.
    """
    evaluated = [run for run in runs if run.folder and (run.folder / FOLDER / NUMBERS).is_file()]
    if not evaluated or evaluated[0].folder is None:
        return None
    evaluation = read_evaluation(evaluated[0].folder)
    groups = {name: known_groups(evaluation.rows(name), evaluation.notes) for name in GROUPS}
    slices = _by_attribute(evaluation.rows("slices"), evaluation.notes)
    tables = [_group_table(name, rows) for name, rows in groups.items() if rows]
    tables += _slices(slices) + _kinds(known_groups(evaluation.rows("kinds_of_error"), evaluation.notes))
    tables += _confusions(known_groups(evaluation.rows("confusions")))
    tables += _calibration(evaluation.rows("calibration")) + _selective(evaluation.rows("selective"), evaluation.notes)
    tables += _adjustment(evaluation.rows("adjustment"))
    drawings = _frequency(groups["by_training_notes"]) + _forest(slices)
    return RunErrors(evaluated[0].name, len(evaluated) - 1, tables, drawings)


def outdated(runs: Sequence[Run]) -> str:
    """Says what to do about runs of whose evaluation only tables for people are there; empty where there is none.

    Args:
        runs: the best first.
    """
    tables = [
        run.folder
        for run in runs
        if run.folder
        and (run.folder / FOLDER / "metrics.csv").is_file()
        and not (run.folder / FOLDER / NUMBERS).is_file()
    ]
    if not tables:
        return ""
    subject = f"{tables[0].name} and {len(tables) - 1} more runs were" if tables[1:] else f"{tables[0].name} was"
    return (
        f"{subject} evaluated by an earlier version, of which no errors can be shown; "
        f"python -m src.evaluate run={tables[0]} writes what is needed."
    )


def known_groups(rows: Sequence[Row], notes: int | None = None) -> list[Row]:
    """Picks the rows of groups that may be shown.

    Args:
        rows: a group each.
        notes: of all groups together, where each note is in one, so that what is left out is told by subtraction.
    """
    many = [row for row in rows if (row["patients"] or 0) >= MIN_GROUP_PATIENTS]
    if notes is None:
        return many
    counts = [row["notes"] for row in many]
    return [row for row, fits in zip(many, shown_of_counts(counts, notes - sum(counts)), strict=True) if fits]


def _by_attribute(rows: Sequence[Row], notes: int) -> list[Row]:
    attributes = dict.fromkeys(row["attribute"] for row in rows)
    return [
        row
        for attribute in attributes
        for row in known_groups([row for row in rows if row["attribute"] == attribute], notes)
    ]


def _estimate(row: Row, name: str = "top1") -> Estimate:
    """Joins a number of a row with its interval."""
    return Estimate(*(_number(row[f"{name}{end}"]) for end in ("", "_low", "_high")))


def _number(value: float | None) -> float:
    """Gives nan for a number that is not known: a column of None alone would pass for one of words."""
    return math.nan if value is None else value


def _reach(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Measures how far the bars of intervals reach down and up; nowhere where there is no interval."""
    bounded = [(e.value - e.low, e.high - e.value) if e.bounded else (0.0, 0.0) for e in estimates]
    return [[max(end[side], 0.0) for end in bounded] for side in (0, 1)]


def _group_table(name: str, rows: Sequence[Row]) -> Table:
    group = next(iter(rows[0]))
    columns = [Column(group, group.replace("_", " ")), Column("patients", "patients"), Column("notes", "notes")]
    columns += [Column("top1", "top-1"), Column("top5", "top-5")]
    more = [key for key in ("drgs", "macro_f1") if key in rows[0]]
    columns += [Column(key, {"drgs": "DRGs", "macro_f1": "macro-F1"}[key]) for key in more]
    entries: list[list[Entry]] = [
        [row[group], row["patients"], row["notes"], _estimate(row), row["top5"], *(row[key] for key in more)]
        for row in rows
    ]
    return Table(f"errors_{name}", f"{ABOUT[name]}. {SMALL}", columns, entries)


def _slices(rows: Sequence[Row]) -> list[Table]:
    columns = [Column("attribute", "attribute"), Column("group", "group"), Column("patients", "patients")]
    columns += [
        Column("notes", "notes"),
        Column("top1", "top-1"),
        Column("gap", "gap to the rest"),
        Column("p_holm", "p (Holm)", chance=True),
    ]
    entries: list[list[Entry]] = [
        [
            row["attribute"].replace("_", " "), row["group"], row["patients"], row["notes"], _estimate(row),
            _estimate(row, "gap"), _number(row["p_holm"]),
        ]
        for row in rows
    ]  # fmt: skip
    title = f"For whom: top-1 accuracy by group. {SMALL}"
    return [Table("errors_slices", title, columns, entries)] if rows else []


def _kinds(rows: Sequence[Row]) -> list[Table]:
    columns = [Column("what", "what was right"), Column("notes", "notes"), Column("share", "share")]
    title = f"{ABOUT['kinds_of_error']}. {SMALL}"
    return [_plain("errors_kinds", title, columns, rows)] if rows else []


def _plain(name: str, title: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    return Table(name, title, columns, [[row[column.name] for column in columns] for row in rows])


def _confusions(rows: Sequence[Row]) -> list[Table]:
    """Lists pairs of MS-DRGs; a hospital's own classes are named in its `evaluation/` alone.

    A share is left out where it would tell of a few other notes of the DRG.
    """
    public = [row for row in rows if row["drg_title"] is not None][:ROWS]
    columns = [Column("drg", "DRG"), Column("predicted", "predicted"), Column("drg_title", "title of the DRG")]
    columns += [Column("predicted_title", "title of the predicted"), Column("nearness", "shared")]
    columns += [Column("notes", "notes"), Column("share_of_drg", "share of the DRG's")]
    entries = [{**row, "share_of_drg": row["share_of_drg"] if _of_many(row) else None} for row in public]
    title = f"{ABOUT['confusions']}, of {MIN_GROUP_PATIENTS} patients or more; the first {ROWS}."
    return [_plain("errors_confusions", title, columns, entries).useful()] if public else []


def _of_many(row: Row) -> bool:
    """Says whether the DRG's other notes are none, or enough to be told of."""
    rest = round(row["notes"] / row["share_of_drg"]) - row["notes"]
    return bool(rest == 0 or rest >= MIN_GROUP_PATIENTS)


def _calibration(rows: Sequence[Row]) -> list[Table]:
    columns = [Column("scores", "scores"), Column("temperature", "temperature"), Column("ece", "calibration error")]
    columns += [
        Column("mean_confidence", "mean confidence"),
        Column("accuracy", "accuracy"),
        Column("log_loss", "log loss"),
    ]
    title = "Calibration on the test; the temperature is from validation. The error is the expected one, by confidence."
    return [_plain("errors_calibration", title, columns, rows)] if rows else []


def _selective(rows: Sequence[Row], notes: int) -> list[Table]:
    columns = [Column("aim", "accuracy aimed at"), Column("threshold", "threshold (validation)")]
    columns += [Column("coverage", "notes decided"), Column("accuracy", "their accuracy")]
    entries: list[list[Entry]] = []
    for row in rows:
        # Neither those decided nor the rest may be few: each follows from the other.
        decided = round((row["coverage"] or 0.0) * notes)
        if not decided or min(decided, notes - decided or MIN_GROUP_PATIENTS) >= MIN_GROUP_PATIENTS:
            reached = [_estimate(row, name) for name in ("coverage", "accuracy")]
            entries.append([row["aim"], _number(row["threshold"]), *reached])
    return [Table("errors_selective", f"{ABOUT['selective']}.", columns, entries)] if rows else []


def _adjustment(rows: Sequence[Row]) -> list[Table]:
    names = {metric.key: metric.name for metric in METRICS}
    columns = [
        Column("point", "scores"),
        Column("tau", "tau"),
        Column("metric", "metric"),
        Column("value", "on the test"),
    ]
    columns += [Column("difference", "to as trained"), Column("p_holm", "p (Holm)", chance=True)]
    entries: list[list[Entry]] = [
        [
            row["point"], row["tau"], names[row["metric"]], _estimate(row, "value"),
            _estimate(row, "difference"), _number(row["p_holm"]),
        ]
        for row in rows
    ]  # fmt: skip
    return [Table("errors_adjustment", f"{ABOUT['adjustment']}.", columns, entries)] if rows else []


def short_band(band: str) -> str:
    """Shortens a band of numbers for a tick.

    >>> short_band("26 to 100"), short_band("101 or more")
    ('26-100', '101+')
    """
    return band.replace(" to ", "-").replace(" or more", "+")


def _frequency(rows: Sequence[Row]) -> list[ReportFigure]:
    if len(rows) < 2:
        return []
    figure, axes = panel()
    top1 = [_estimate(row) for row in rows]
    colour, marker, _ = STYLES[0]
    axes.errorbar(
        range(len(rows)), [accuracy.value for accuracy in top1], yerr=_reach(top1), color=colour, marker=marker,
        linestyle="-", capsize=2, elinewidth=0.9,
    )  # fmt: skip
    axes.set_xticks(
        range(len(rows)), [f"{short_band(row['training_notes'])}\n{row['notes']:,}" for row in rows], fontsize=6
    )
    axes.set_ylim(0, 1)
    axes.set_xlabel("training notes of the DRG; below: test notes")
    axes.set_ylabel("test top-1 accuracy")
    caption = "Test notes by how often their DRG was seen in training, with intervals of 95 % over test patients."
    return [ReportFigure("errors_by_frequency", "Accuracy by frequency of the DRG", f"{caption} {SMALL}", figure)]


def _forest(rows: Sequence[Row]) -> list[ReportFigure]:
    if len(rows) < 2:
        return []
    figure, axes = panel(0.7 + 0.155 * len(rows), grid="x")
    attributes = list(dict.fromkeys(row["attribute"] for row in rows))
    for index, row in enumerate(rows):
        top1 = _estimate(row)
        colour, marker, _ = STYLES[attributes.index(row["attribute"]) % len(STYLES)]
        axes.errorbar(
            top1.value, index, xerr=_reach([top1]), color=colour, marker=marker, markersize=3.5, capsize=1.5,
            elinewidth=0.9,
        )  # fmt: skip
    names = [f"{row['attribute'].replace('_', ' ')}: {row['group']} ({row['notes']:,})" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=6, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("test top-1 accuracy")
    caption = f"Groups of test patients, their notes in brackets, with intervals of 95 % by patient. {SMALL}"
    return [ReportFigure("errors_by_group", "For whom: accuracy by group", caption, figure)]
