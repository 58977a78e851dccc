"""The report on runs as one page that needs nothing beside it."""

from collections.abc import Mapping, Sequence

from src.display.figure_style import ReportFigure, inline
from src.display.html import escaped
from src.display.tables import Table, to_html
from src.reporting.runs_report import FIGURES, TABLES, Report

LONG, LONG_RESULTS = 20, 100
"""Rows from which a table is folded up, and the table of results."""

COMMANDS = 40
"""Commands that are shown."""

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; max-width: 74rem; margin: 1.5rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
nav { font-size: .92rem; margin: .8rem 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; } a { color: #1b3f73; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: .6rem 0; }
dt { color: #5f6b76; } dd { margin: 0; overflow-wrap: anywhere; }
ul.said { padding-left: 1.2rem; } ul.said li { margin: .35rem 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); gap: 1.6rem 2rem; }
figure { margin: 0; min-width: 0; } figure.broad { grid-column: 1 / -1; max-width: 50rem; overflow-x: auto; }
figure svg { width: 100%; height: auto; display: block; } figure.broad svg { min-width: 38rem; }
figcaption { font-size: .85rem; color: #47525d; margin-top: .4rem; } figcaption b { color: #1f2933; }
code { font: .85em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: #f4f6f8; padding: .6rem .8rem; border-radius: 4px; white-space: pre-wrap; margin: .5rem 0; }
.wide { overflow-x: auto; margin: .4rem 0 .2rem; }
table { border-collapse: collapse; font-size: .8rem; }
th, td { padding: .22rem .65rem .22rem 0; border-bottom: 1px solid #e3e5e8; text-align: left; vertical-align: top; }
td { white-space: nowrap; } td.t { white-space: normal; min-width: 15rem; }
th { border-bottom: 1.5px solid #1f2933; vertical-align: bottom; } td.n, th.n { text-align: right; }
td.n { font-variant-numeric: tabular-nums; } td small { display: block; color: #5f6b76; font-size: .8em; }
tr.ruled td { border-top: 2px solid #7d858d; }
.less { color: #5f6b76; font-size: .88rem; } summary { cursor: pointer; margin: .6rem 0; }
@media (max-width: 40rem) { td:first-child { white-space: normal; min-width: 6rem; }
  dl { grid-template-columns: 1fr; } dt { margin-top: .4rem; }
  body { margin: .8rem auto; } }
@media print { .wide { overflow: visible; } body { max-width: none; } figure { break-inside: avoid; } }
"""

SECTIONS: Sequence[tuple[str, str, Sequence[str], Sequence[str]]] = (
    ("results", "Results beside the published", ("_cells",), ("results", "beside_the_paper", "published")),
    ("scaling", "How it scales", ("_by_size", "_by_context", "_by_rank", "_heat"), ("fits", "predictions", "held_out")),
    ("steps", "What each step brings", ("_differences",), ("differences",)),
    ("cost", "Cost", ("_by_cost",), ("cost",)),
    ("learning", "Learning curves", ("learning_",), ()),
)
"""Of each section: its anchor, heading, what its figures' names hold, and its tables."""


def page(report: Report, pictures: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        report: what it shows.
        pictures: each figure's SVG, by name.
    """
    parts = [(anchor, head, _section(report, pictures, *kinds)) for anchor, head, *kinds in SECTIONS]
    parts += [
        ("errors", "What it gets wrong", _errors(report, pictures)),
        ("cohort", "Cohort", _cohort(report, pictures)),
    ]
    parts += [("missing", "Not finished", _tables(report.tables, ("missing",)))]
    parts += [("reproduce", "How to reproduce it", _reproduce(report))]
    kept = [(anchor, head, body) for anchor, head, body in parts if body]
    links = "".join(f'<a href="#{anchor}">{_safe(head)}</a>' for anchor, head, _ in kept)
    body = [
        f"<h1>{_safe(title_of(report))}</h1>",
        '<p class="less">Aggregates only: no word of a note, no admission, no group of fewer than 10 patients.</p>',
        f"<nav>{links}</nav>",
        f"<dl>{''.join(f'<dt>{_safe(name)}</dt><dd>{_safe(told)}</dd>' for name, told in report.facts.items())}</dl>",
        '<h2 id="came-out">What came out</h2>',
        f'<ul class="said">{"".join(f"<li>{_safe(each)}</li>" for each in report.said)}</ul>',
        _notes(report.notes),
        *(f'<section id="{anchor}"><h2>{_safe(head)}</h2>\n{body}</section>' for anchor, head, body in kept),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{_safe(title_of(report))}</title><style>{STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def title_of(report: Report) -> str:
    """The page's title."""
    parts = [part for part in report.source.split("/") if part]
    return f"DRG prediction: {'/'.join(parts[-2:] if parts[-1:] == ['runs'] else parts[-1:])}"


def _notes(notes: Sequence[str]) -> str:
    rows = "".join(f"<li>{_safe(each[:1].upper() + each[1:])}</li>" for each in notes)
    return f'<details class="less"><summary>How to read the numbers</summary><ul>{rows}</ul></details>' if notes else ""


def _section(report: Report, pictures: Mapping[str, str], figures: Sequence[str], tables: Sequence[str]) -> str:
    drawn = [each for each in report.drawings if any(part in each.name for part in figures)]
    return _figures(drawn, pictures) + _tables(report.tables, tables)


def _figures(drawings: Sequence[ReportFigure], pictures: Mapping[str, str], broad: bool = False) -> str:
    kind = ' class="broad"' if broad else ""
    shown = [
        f'<figure{kind} id="figure-{each.name}">{inline(pictures[each.name], each.name, each.title)}'
        f"<figcaption><b>{_safe(each.title)}.</b> {_safe(each.caption)} "
        f"<code>{FIGURES}/{each.name}.svg</code>, <code>.pdf</code></figcaption></figure>"
        for each in drawings
    ]
    return f'<div class="figures">{"".join(shown)}</div>' if shown else ""


def _tables(tables: Sequence[Table], names: Sequence[str]) -> str:
    return "".join(_table(each) for name in names for each in tables if each.name == name and not each.files_only)


def _table(table: Table) -> str:
    head = f"<h3>{_safe(table.title)}</h3>"
    long = len(table.rows) > (LONG_RESULTS if table.name == "results" else LONG)
    return head + (_folded(table, f"{len(table.rows):,} rows") if long else _whole(table))


def _folded(table: Table, told: str) -> str:
    return f"<details><summary>{_safe(told)}</summary>{_whole(table)}</details>"


def _whole(table: Table) -> str:
    files = f'<p class="less"><code>{TABLES}/{table.name}.csv</code>, <code>.md</code>, <code>.tex</code></p>'
    return f"{to_html(table)}{files}"


def _errors(report: Report, pictures: Mapping[str, str]) -> str:
    errors = report.errors
    if errors is None:
        return ""
    others = f" {errors.others} more runs have an analysis of their own." if errors.others else ""
    told = f"<p>Of the run <code>{_safe(errors.run)}</code>, from what <code>src.evaluate</code> left.{others}</p>"
    return told + _figures(errors.drawings, pictures) + "".join(_folded(each, each.title) for each in errors.tables)


def _cohort(report: Report, pictures: Mapping[str, str]) -> str:
    return _figures([report.cohort], pictures, broad=True) if report.cohort else ""


def _reproduce(report: Report) -> str:
    trained = "\n".join(f"{each.words}    # {each.makes}" for each in report.commands[:COMMANDS])
    more = len(report.commands) - COMMANDS
    source = _safe(report.source)
    parts = [
        "<p>The runs; <code>COHORT</code> is the folder that <code>src.prepare</code> wrote:</p>",
        f"<pre><code>{_safe(trained)}</code></pre>",
    ]
    if more > 0:
        parts.append(f'<p class="less">{more:,} more runs, whose settings are in the table of results.</p>')
    drawn = ", ".join(
        f"<code>{each.name}</code>" for each in [*report.drawings, *([report.cohort] if report.cohort else [])]
    )
    parts.append(f"<p>The figures {drawn}, and all tables:</p><pre><code>python -m src.report {source}</code></pre>")
    parts.append("<p>Cells, differences, fits and predictions alone:</p>")
    parts.append(f"<pre><code>python -m src.scaling {source}</code></pre>")
    if report.errors:
        drawn = ", ".join(f"<code>{each.name}</code>" for each in report.errors.drawings)
        parts.append(f"<p>The analysis of errors{f' and the figures {drawn}' if drawn else ''}, before the report:</p>")
        parts.append(f"<pre><code>python -m src.evaluate run={_safe(report.errors.run)}</code></pre>")
    return "".join(parts)


def _safe(text: object) -> str:
    return escaped(text).replace(" %", "&nbsp;%")
