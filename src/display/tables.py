"""Tables as CSV, Markdown, LaTeX and HTML, with the same numbers in each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from src.display import html as markup
from src.display import latex, markdown
from src.display.spreadsheet import csv_text


@dataclass(frozen=True)
class Estimate:
    """A number with its interval of 95 %; nan where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def bounded(self) -> bool:
        """It has an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


Entry = str | int | float | Estimate | None
"""What a cell of a table holds; None where there is nothing to say."""

NOTHING = "-"


@dataclass(frozen=True)
class Column:
    """A column: `name` in the CSV, `head` where people read, and the digits that are shown after the point."""

    name: str
    head: str
    digits: int = 3


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: of its files.
        title: what it shows, in a sentence.
        columns: left to right.
        rows: an entry a column.
        rule: rows above a line that parts the table; 0 for none.
        files_only: it is long, and stands in the files but not on the page.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Entry]]
    rule: int = 0
    files_only: bool = False

    def numeric(self) -> list[bool]:
        """Of each column whether it holds a number."""
        return [
            any(isinstance(row[at], int | float | Estimate) for row in self.rows) for at in range(len(self.columns))
        ]

    def useful(self) -> "Table":
        """The table without columns in which no row has anything to say."""
        kept = [at for at in range(len(self.columns)) if any(not _empty(row[at]) for row in self.rows)]
        rows = [[row[at] for at in kept] for row in self.rows]
        return Table(self.name, self.title, [self.columns[at] for at in kept], rows, self.rule, self.files_only)


def _empty(entry: Entry) -> bool:
    if isinstance(entry, Estimate):
        return math.isnan(entry.value)
    return entry is None or entry == "" or (isinstance(entry, float) and math.isnan(entry))


def shown(entry: Entry, digits: int = 3, dash: str = " to ") -> str:
    """An entry as people read it.

    >>> shown(Estimate(0.34567, 0.32, 0.37)), shown(Estimate(0.3)), shown(1328256), shown(None), shown("two")
    ('0.346 (0.320 to 0.370)', '0.300', '1,328,256', '-', 'two')
    >>> shown(0.00004)
    '4.0e-05'
    """
    if _empty(entry) or entry is None:
        return NOTHING
    if isinstance(entry, Estimate):
        told = shown(float(entry.value), digits)
        return (
            f"{told} ({shown(float(entry.low), digits)}{dash}{shown(float(entry.high), digits)})"
            if entry.bounded
            else told
        )
    if isinstance(entry, int):
        return f"{entry:,}"
    if isinstance(entry, float):
        return f"{entry:.1e}" if 1e-12 < abs(entry) < 0.5 * 10**-digits else f"{entry:,.{digits}f}"
    return entry


def to_csv(table: Table) -> str:
    """Full precision; an estimate takes three columns, `NAME`, `NAME_low` and `NAME_high`."""
    wide = [any(isinstance(row[at], Estimate) for row in table.rows) for at in range(len(table.columns))]
    heads: list[str] = []
    for column, three in zip(table.columns, wide, strict=True):
        heads += [column.name, f"{column.name}_low", f"{column.name}_high"] if three else [column.name]
    rows = []
    for row in table.rows:
        cells: list[str] = []
        for entry, three in zip(row, wide, strict=True):
            cells += _three(entry) if three else [_plain(entry)]
        rows.append(cells)
    return csv_text(heads, rows)


def _three(entry: Entry) -> list[str]:
    if not isinstance(entry, Estimate):
        return [_plain(entry), "", ""]
    return [_plain(entry.value), _plain(entry.low), _plain(entry.high)]


def _plain(entry: Entry) -> str:
    return "" if _empty(entry) or entry is None else repr(float(entry)) if isinstance(entry, float) else str(entry)


def to_markdown(table: Table) -> str:
    """GitHub's Markdown; numbers stand right."""
    rows = [
        [shown(entry, column.digits) for entry, column in zip(row, table.columns, strict=True)] for row in table.rows
    ]
    body = markdown.table([column.head for column in table.columns], rows, right=table.numeric())
    return f"**{markdown.escaped(table.title)}**\n\n{body}\n"


def to_latex(table: Table) -> str:
    r"""A `table` of booktabs, for `\input`, no wider than the text; its label is `tab:NAME`."""
    spec = "".join("r" if number else "l" for number in table.numeric())
    lines = [
        r"% \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        rf"\caption{{{latex.escaped(table.title)}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}",
        r"\centering\small",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
        r"\toprule",
        " & ".join(latex.escaped(column.head) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    for place, row in enumerate(table.rows):
        if table.rule and place == table.rule:
            lines.append(r"\midrule")
        told = [
            latex.escaped(shown(entry, column.digits, "--")) for entry, column in zip(row, table.columns, strict=True)
        ]
        lines.append(" & ".join(told) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""])


def to_html(table: Table) -> str:
    """A `<table>`; a long one scrolls sideways in its own frame."""
    numeric = table.numeric()
    heads = "".join(_tag("th", column.head, number) for column, number in zip(table.columns, numeric, strict=True))
    lines = []
    for place, row in enumerate(table.rows):
        entries = zip(row, table.columns, numeric, strict=True)
        told = "".join(_data(entry, column.digits, number) for entry, column, number in entries)
        lines.append(f'<tr class="ruled">{told}</tr>' if table.rule and place == table.rule else f"<tr>{told}</tr>")
    body = "\n".join(lines)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _data(entry: Entry, digits: int, number: bool) -> str:
    """A cell; an interval stands below its value."""
    text = markup.escaped(shown(entry, digits))
    long = len(text) > 45
    if isinstance(entry, Estimate) and entry.bounded:
        text = text.replace(" (", " <small>(", 1) + "</small>"
    kind = "n" if number else "t" if long else ""
    return f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"


def _tag(tag: str, text: str, number: bool) -> str:
    return f'<{tag} class="n">{markup.escaped(text)}</{tag}>' if number else f"<{tag}>{markup.escaped(text)}</{tag}>"
