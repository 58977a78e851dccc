"""Writes the report on runs as one page that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.display.figure_style import ReportFigure
from src.display.page import Page, PageBlock, Section, prose, render
from src.display.tables import Table
from src.reporting.reproduce import Command
from src.reporting.run_errors import RunErrors

FIGURES, TABLES = "figures", "tables"
"""The folders of a report beside its page."""

LONG, LONG_RESULTS = 20, 100
"""Rows from which a table is folded up, and the table of results."""

COMMANDS = 40
"""Commands that are shown."""

SECTIONS: Sequence[tuple[str, str, Sequence[str], Sequence[str]]] = (
    ("results", "Results beside the published", ("_cells",), ("results", "beside_the_paper", "published")),
    ("scaling", "How it scales", ("_by_size", "_by_context", "_by_rank", "_heat"), ("fits", "predictions", "held_out")),
    ("horizons", "How early it is told", ("horizon_",), ("horizons", "horizon_differences")),
    ("against", "Beside one cell", ("against",), ("against",)),
    ("steps", "What each step brings", ("_differences",), ("differences",)),
    ("cost", "Cost", ("_by_cost",), ("cost",)),
    ("learning", "Learning curves", ("learning_",), ()),
)
"""Of each section: its anchor, heading, what its figures' names hold, and its tables."""


@dataclass(frozen=True)
class Report:
    """Holds all that a report shows."""

    source: str
    """As typed."""
    facts: Mapping[str, str]
    """What was run, in the page's order."""
    said: Sequence[str]
    """What came out."""
    notes: Sequence[str]
    """What a reader must know of the intervals and of what was left out."""
    tables: Sequence[Table]
    drawings: Sequence[ReportFigure]
    errors: RunErrors | None
    outdated: str
    """What to do about evaluations by an earlier version; empty where there is none."""
    cohort: ReportFigure | None
    commands: Sequence[Command]

    def every_table(self) -> list[Table]:
        """Lists the report's tables, those on errors too."""
        return [*self.tables, *(self.errors.tables if self.errors else [])]

    def every_drawing(self) -> list[ReportFigure]:
        """Lists the report's figures, those on errors and the cohort too."""
        return [*self.drawings, *(self.errors.drawings if self.errors else []), *([self.cohort] if self.cohort else [])]


def page(report: Report, svgs: Mapping[str, str]) -> str:
    """Writes the whole page as HTML.

    Args:
        report: what it shows.
        svgs: each figure's SVG, by name.
    """
    sections = [
        Section(anchor, title, [*_figures(report, figures), *_tables(report.tables, tables)])
        for anchor, title, figures, tables in SECTIONS
    ]
    cohort = [PageBlock(figures=[report.cohort], broad=True, files=FIGURES)] if report.cohort else []
    sections += [
        Section("errors", "What it gets wrong", _errors(report)),
        Section("cohort", "Cohort", cohort),
        Section("missing", "Not finished", _tables(report.tables, ("missing",))),
        Section("reproduce", "How to reproduce it", _reproduce(report)),
    ]
    subtitle = "Aggregates only: no word of a note, no admission, no group of fewer than 10 patients."
    notes = [note[:1].upper() + note[1:] for note in report.notes]
    return render(Page(title_of(report), subtitle, sections, report.facts, report.said, notes), svgs)


def title_of(report: Report) -> str:
    """Names the page by the last part of its source."""
    parts = [part for part in report.source.split("/") if part]
    return f"DRG prediction: {'/'.join(parts[-2:] if parts[-1:] == ['runs'] else parts[-1:])}"


def _figures(report: Report, names: Sequence[str]) -> list[PageBlock]:
    drawn = [figure for figure in report.drawings if any(part in figure.name for part in names)]
    return [PageBlock(figures=drawn, files=FIGURES)] if drawn else []


def _tables(tables: Sequence[Table], names: Sequence[str]) -> list[PageBlock]:
    blocks = []
    for table in (table for name in names for table in tables if table.name == name and not table.files_only):
        long = len(table.rows) > (LONG_RESULTS if table.name == "results" else LONG)
        blocks.append(PageBlock(table=table, folded=f"{len(table.rows):,} rows" if long else "", files=TABLES))
    return blocks


def _errors(report: Report) -> list[PageBlock]:
    blocks = [PageBlock(report.outdated)] if report.outdated else []
    if (errors := report.errors) is None:
        return blocks
    others = f" {errors.others} more runs have an analysis of their own." if errors.others else ""
    blocks.append(PageBlock(prose(f"Of the run {{}}, from what {{}} left.{others}", errors.run, "src.evaluate")))
    blocks += [PageBlock(figures=errors.drawings, files=FIGURES)] if errors.drawings else []
    return blocks + [PageBlock(table=table, folded=table.title, files=TABLES) for table in errors.tables]


def _reproduce(report: Report) -> list[PageBlock]:
    trained = "\n".join(f"{command.words}    # {command.makes}" for command in report.commands[:COMMANDS])
    more = len(report.commands) - COMMANDS
    drawn = [*report.drawings, *([report.cohort] if report.cohort else [])]
    blocks = [
        PageBlock(prose("The runs; {} is the folder that {} wrote:", "COHORT", "src.prepare"), code=trained),
        PageBlock(f"{more:,} more runs, whose settings are in the table of results.", small=True)
        if more > 0
        else PageBlock(),
        PageBlock(
            _named("The figures {}, and all tables:" if drawn else "All tables:", drawn),
            code=f"python -m src.report {report.source}",
        ),
        PageBlock("Cells, differences, fits and predictions alone:", code=f"python -m src.scaling {report.source}"),
    ]
    if report.errors:
        of_errors = report.errors.drawings
        pattern = f"The analysis of errors{' and the figures {}' if of_errors else ''}, before the report:"
        blocks.append(PageBlock(_named(pattern, of_errors), code=f"python -m src.evaluate run={report.errors.run}"))
    return blocks


def _named(pattern: str, figures: Sequence[ReportFigure]) -> str:
    return prose(pattern.replace("{}", ", ".join(["{}"] * len(figures))), *(figure.name for figure in figures))
