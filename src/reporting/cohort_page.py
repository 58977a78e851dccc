"""Writes the report of a cohort as one page that needs nothing beside it."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from src.cohort.disclosure import MIN_GROUP_PATIENTS
from src.config.cohort_folder import RECORD
from src.config.prepare import system_name
from src.display.figure_style import ReportFigure, svg
from src.display.page import Page, PageBlock, Section, render
from src.display.tables import Column, Table, table_of
from src.reporting.cohort_figures import flow_figure, horizon_figure, label_figure, length_figure
from src.reporting.cohort_report import kind_of, paper_table

UNDECIDED_SHOWN = 200
"""Rows of the longest table."""


def page(numbers: Mapping[str, Any], words: NDArray[Any], tokens: NDArray[Any], tokenizer: str) -> str:
    """Writes the whole page as HTML.

    Args:
        numbers: what `measure` gives.
        words: of each note.
        tokens: of each note before it is cut.
        tokenizer: whose tokens they are, in words.
    """
    subtitle = (
        f"cohort {numbers['cohort']}, {system_name(numbers['drg_version'])}. No text of any note, no class of fewer "
        f"than {MIN_GROUP_PATIENTS} patients; classes of a hospital's own are numbered."
    )
    flow = ReportFigure("flow", "Flow of counts", "", flow_figure(numbers["flow"], numbers["splits"]))
    published = numbers["beside_the_paper"]
    sections = [
        Section("flow", "From discharge summaries to splits", [_broad(flow)]),
        _horizons(numbers["horizons"]),
        _splits(numbers),
        _labels(numbers),
        _lengths(numbers, words, tokens, tokenizer),
        _undecided(numbers["undecided"] if numbers["drg_version"] else None),
        Section("paper", "Beside the paper", [PageBlock(table=paper_table(published))] if published else []),
    ]
    figures = [figure for section in sections for block in section.blocks for figure in block.figures]
    return render(Page("Cohort report", subtitle, sections), {figure.name: svg(figure) for figure in figures})


def _broad(figure: ReportFigure) -> PageBlock:
    return PageBlock(figures=[figure], broad=True)


def _horizons(flows: Mapping[str, Any]) -> Section:
    title = "Before discharge: what each horizon reaches"
    if not flows:
        return Section("horizons", title, [])
    figure = ReportFigure("horizons", title, "", horizon_figure(flows))
    text = f"Notes of this cohort by horizon. Reasons of fewer than {MIN_GROUP_PATIENTS} notes are joined."
    return Section("horizons", title, [_broad(figure), PageBlock(text, small=True)])


def _splits(numbers: Mapping[str, Any]) -> Section:
    rows = [[name, split["notes"], split["patients"], split["drgs"]] for name, split in numbers["splits"].items()]
    shared = ", ".join(f"{count:,} {unit}" for unit, count in numbers["in_two_splits"].items())
    unseen = numbers["labels"]["test_notes_of_drgs_without_a_training_note"]
    text = f"In more than one split: {shared}. Test notes whose label has no training note: {unseen:,}."
    return Section(
        "splits",
        "Splits",
        [PageBlock(table=table_of(("split", "notes", "patients", kind_of(numbers)), rows)), PageBlock(text)],
    )


def _labels(numbers: Mapping[str, Any]) -> Section:
    labels = numbers["labels"]
    kind = kind_of(numbers)
    bases = f", and {labels['base_drgs']} of its {labels['base_drgs_of_the_version']} base DRGs"
    whose = "version's" if labels["base_drgs"] else "cohort's"
    decided = sorted(numbers["labels_decided_by"].items(), key=lambda pair: -pair[1])
    text = (
        f"{labels['drgs']} of the {whose} {labels['drgs_of_the_version']} {kind} have a note"
        f"{bases if labels['base_drgs'] else ''}. "
        f"The ten commonest {kind} hold {labels['share_of_the_ten_commonest']:.1%} of the notes."
    )
    figure = label_figure(labels["notes_by_rank"], labels["drgs_by_notes"], kind)
    blocks = [PageBlock(text), _broad(ReportFigure("labels", "Notes by label", "", figure))]
    if decided:
        blocks.append(PageBlock(table=table_of(("label decided by", "rows"), decided)))
    return Section("labels", "Labels", blocks)


def _lengths(numbers: Mapping[str, Any], words: NDArray[Any], tokens: NDArray[Any], tokenizer: str) -> Section:
    names = ("mean", "p10", "p50", "p90", "p99", "longest")
    spreads = [[unit, *(round(numbers[unit][name]) for name in names)] for unit in ("words", "tokens")]
    cuts = numbers["tokens"]["share_cut"]
    columns = [Column("max_len", "max_len"), Column("notes_cut", "notes cut", digits=1, percent=True)]
    figure = ReportFigure("lengths", "Lengths of notes", "", length_figure(words, tokens, cuts))
    return Section(
        "lengths",
        "Lengths",
        [
            _broad(figure),
            PageBlock(table=table_of(("", *names), spreads)),
            PageBlock(table=Table("", "", columns, list(cuts.items()))),
            PageBlock(f"Tokens of {tokenizer}.", small=True),
        ],
    )


def _undecided(undecided: Mapping[str, Any] | None) -> Section:
    title = "Descriptions that name no DRG for certain"
    if undecided is None:
        return Section("undecided", title, [])
    most = sorted(undecided["listed"], key=lambda row: -row["rows"])[:UNDECIDED_SHOWN]
    names = {"code": "drg_code", "description": "description", "reason": "reason", "rows": "rows"}
    text = (
        f"{undecided['descriptions']:,} on {undecided['rows']:,} rows, all in {RECORD}; listed are those of MIMIC-IV "
        f"that {MIN_GROUP_PATIENTS} patients or more have."
    )
    listed = [PageBlock(table=table_of(list(names), [[row[key] for key in names.values()] for row in most]))]
    return Section("undecided", title, [PageBlock(text), *(listed if most else [])])
