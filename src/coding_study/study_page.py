"""Writes what a study shows as a page with a picture, tables as CSV, and the lines for a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from src.cli.files import exchanging_folder
from src.coding_study.study_plan import Plan
from src.display.figure_style import GREY, ReportFigure, panels, settings, settle, style, svg
from src.display.page import Page, PageBlock, Section, render
from src.display.tables import Estimate, Table, to_csv, to_text

PAGE = "study.html"

NOTES = (
    "Intervals of 95 % count coders and cases as drawn at random: they hold for other coders and other cases.",
    "Ratios and differences are freed of coders, of cases that several coders read, and of the period.",
    "Seconds are those of all of a coder's visits to a case; of several decisions the last counts.",
    "Intervals of medians and kappas are those of what each reading moves them.",
    "Wilcoxon's signed-rank test takes the mean of each case over its coders.",
    "There is no correction for the number of comparisons.",
)

HEADINGS = {
    "seconds": "Time",
    "shares": "Accuracy and agreement",
    "proposals": "Proposals",
    "weeks": "Week by week",
    "weights": "Weights",
    "coders": "Coders",
}


def as_text(tables: Sequence[Table], remarks: Sequence[str]) -> str:
    """Writes the tables, and below them what was left out."""
    return "\n\n".join([*(f"{table.title}\n{to_text(table)}" for table in tables), *remarks])


def write_results(folder: Path, plan: Plan, tables: Sequence[Table], facts: Mapping[str, str],
                  remarks: Sequence[str]) -> Path:  # fmt: skip
    """Writes the page, a CSV a table and the picture, whole or not at all; an earlier result is replaced.

    Returns:
        Where the page is.

    Raises:
        UserError: the folder holds something else.
    """
    drawing = draw_coders({table.name: table for table in tables}, plan.arms)
    settle(drawing)
    picture = svg(drawing)
    sections = [
        Section(table.name, HEADINGS[table.name],
                [*([PageBlock(figures=[drawing], broad=True)] if table.name == "coders" else []),
                 PageBlock(table=table)])
        for table in tables
    ]  # fmt: skip
    masked = "" if plan.open else "; the arms are masked as A and B"
    page = Page("A study of coders", f"Coders' names stand here: for the study's staff alone{masked}.", sections,
                facts, remarks, NOTES)  # fmt: skip
    with exchanging_folder(folder, lambda path: (path / PAGE).is_file(), "name another with out=") as tmp:
        (tmp / PAGE).write_text(render(page, {drawing.name: picture}), "utf-8")
        (tmp / f"{drawing.name}.svg").write_text(picture, "utf-8")
        for table in tables:
            (tmp / f"{table.name}.csv").write_text(to_csv(table), "utf-8")
    return folder / PAGE


@settings()
def draw_coders(tables: Mapping[str, Table], arms: tuple[str, str]) -> ReportFigure:
    """Draws each coder's median seconds and accuracy in both arms, joined by a line, and beside them all coders'."""
    figure, axes = panels(3.2, columns=2)
    rows = tables["coders"].rows
    whole = {"seconds": tables["seconds"].rows[1], "accuracy": tables["shares"].rows[0]}
    for index, (measure, label) in enumerate((("seconds", "median seconds a case"), ("accuracy", "accuracy"))):
        panel = axes[0, index]
        for row in rows:
            panel.plot((0, 1), (row[2 + index], row[5 + index]), color=GREY, marker=".", linewidth=0.9)
        for side in (0, 1):
            estimate = whole[measure][1 + side]
            assert isinstance(estimate, Estimate)
            reach = [[estimate.value - estimate.low], [estimate.high - estimate.value]] if estimate.bounded else None
            drawn = {**style(side), "linestyle": "none", "elinewidth": 0.9, "capsize": 2}
            panel.errorbar(side + (side - 0.5) * 0.3, estimate.value, yerr=reach, **drawn)
        panel.set_xticks((0, 1), arms)
        panel.set_xlim(-0.5, 1.5)
        panel.set_ylabel(label)
        if measure == "accuracy":
            panel.set_ylim(0, 1.02)
        else:
            panel.set_ylim(bottom=0)
    caption = "A line is a coder; marks are all coders with their interval of 95 %."
    return ReportFigure("coders", "Seconds and accuracy by arm", caption, figure)
