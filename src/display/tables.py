"""Writes tables as text, CSV, Markdown, LaTeX and HTML, with the same numbers in each."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from src.cli.terminal import one_line
from src.display import html as markup
from src.display import latex, markdown
from src.display.spreadsheet import csv_text


@dataclass(frozen=True)
class Estimate:
    """Holds a number with its interval of 95 %; nan where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def bounded(self) -> bool:
        """Says whether it has an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


Entry = str | int | float | Estimate | None
"""What a cell of a table holds; None where there is nothing to say."""

NOTHING = "-"

LONG = 45
"""Letters from which a cell of a page is broken into lines."""


@dataclass(frozen=True)
class Column:
    """Describes a column: `name` in the CSV, `head` where people read, and the digits shown after the point."""

    name: str
    head: str
    digits: int = 3
    percent: bool = False
    """People read its shares as percentages."""
    chance: bool = False
    """It holds p-values, of which none is zero."""


@dataclass(frozen=True)
class Table:
    """Holds a table.

    Attributes:
        name: of its files.
        title: what it shows, in a sentence; empty where the text around it says so.
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
        """Says of each column whether it holds a number."""
        return [any(isinstance(row[i], int | float | Estimate) for row in self.rows) for i in range(len(self.columns))]

    def useful(self) -> "Table":
        """Drops columns in which no row has anything to say."""
        kept = [i for i in range(len(self.columns)) if any(not _empty(row[i]) for row in self.rows)]
        rows = [[row[i] for i in kept] for row in self.rows]
        return replace(self, columns=[self.columns[i] for i in kept], rows=rows)

    def texts(self, dash: str = " to ") -> list[list[str]]:
        """Writes the entries of each row as people read them, with a word or sign between the bounds of an interval."""
        return [
            [
                p_value(entry)
                if column.chance and isinstance(entry, float)
                else shown(entry, column.digits, dash, column.percent)
                for entry, column in zip(row, self.columns, strict=True)
            ]
            for row in self.rows
        ]


def table_of(heads: Sequence[str], rows: Iterable[Sequence[Entry]], digits: int = 3) -> Table:
    """Makes a table without a title, whose columns are named as they are headed."""
    return Table("", "", [Column(head, head, digits) for head in heads], list(rows))


def _empty(entry: Entry) -> bool:
    if isinstance(entry, Estimate):
        return math.isnan(entry.value)
    return entry is None or entry == "" or (isinstance(entry, float) and math.isnan(entry))


def shown(entry: Entry, digits: int = 3, dash: str = " to ", percent: bool = False) -> str:
    """Writes an entry as people read it.

    >>> shown(Estimate(0.34567, 0.32, 0.37)), shown(Estimate(0.3)), shown(1328256), shown(None), shown("two")
    ('0.346 (0.320 to 0.370)', '0.300', '1,328,256', '-', 'two')
    >>> shown(0.00004), shown(0.1234, digits=1, percent=True)
    ('4.0e-05', '12.3%')
    """
    if _empty(entry) or entry is None:
        return NOTHING
    if isinstance(entry, Estimate):
        value, low, high = (
            shown(float(part), digits, percent=percent) for part in (entry.value, entry.low, entry.high)
        )
        return f"{value} ({low}{dash}{high})" if entry.bounded else value
    if isinstance(entry, float) and percent:
        return f"{entry:.{digits}%}"
    if isinstance(entry, int):
        return f"{entry:,}"
    if isinstance(entry, float):
        # What rounds to nothing but is not nothing is written by its power of ten.
        return f"{entry:.1e}" if 1e-12 < abs(entry) < 0.5 * 10**-digits else f"{entry:,.{digits}f}"
    return entry


def to_text(table: Table) -> str:
    """Writes columns for a terminal, two spaces apart, without the title; numbers stand right.

    >>> print(to_text(table_of(["run", "top-1"], [["majority", 0.05], ["nano", None]])))
    run       top-1
    majority  0.050
    nano          -
    """
    lines = [[column.head for column in table.columns], *table.texts()]
    lines = [[one_line(text) for text in line] for line in lines]
    widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
    sides = list(zip(widths, table.numeric(), strict=True))
    return "\n".join(
        "  ".join(f"{text:{'>' if right else '<'}{width}}" for text, (width, right) in zip(line, sides, strict=True))
        for line in lines
    )


def to_csv(table: Table) -> str:
    """Writes CSV in full precision; an estimate takes three columns, `NAME`, `NAME_low` and `NAME_high`."""
    wide = [any(isinstance(row[i], Estimate) for row in table.rows) for i in range(len(table.columns))]
    heads: list[str] = []
    for column, three in zip(table.columns, wide, strict=True):
        heads += [column.name, f"{column.name}_low", f"{column.name}_high"] if three else [column.name]
    rows = []
    for row in table.rows:
        cells: list[str] = []
        for entry, three in zip(row, wide, strict=True):
            if isinstance(entry, Estimate):
                cells += [_plain(entry.value), _plain(entry.low), _plain(entry.high)]
            else:
                cells += [_plain(entry), "", ""] if three else [_plain(entry)]
        rows.append(cells)
    return csv_text(heads, rows)


def _plain(entry: Entry) -> str:
    return "" if _empty(entry) or entry is None else repr(float(entry)) if isinstance(entry, float) else str(entry)


def to_markdown(table: Table) -> str:
    r"""Writes GitHub's Markdown; numbers stand right.

    >>> print(to_markdown(table_of(["what", "n"], [["a|b", 1200]])), end="")
    | what | n |
    |---|---:|
    | a\|b | 1,200 |
    """
    rule = "|" + "|".join("---:" if number else "---" for number in table.numeric()) + "|"
    lines = [[markdown.escaped(text) for text in line] for line in ([c.head for c in table.columns], *table.texts())]
    head, *rows = (f"| {' | '.join(line)} |" for line in lines)
    title = f"**{markdown.escaped(table.title)}**\n\n" if table.title else ""
    return title + "\n".join([head, rule, *rows]) + "\n"


def to_latex(table: Table) -> str:
    r"""Writes a `table` of booktabs, for `\input`, no wider than the text; its label is `tab:NAME`."""
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
    for index, texts in enumerate(table.texts("--")):
        if table.rule and index == table.rule:
            lines.append(r"\midrule")
        lines.append(" & ".join(map(latex.escaped, texts)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""])


def p_value(p: float) -> str:
    """Words a p-value.

    >>> p_value(0.0), p_value(0.0412), p_value(float("nan"))
    ('< 0.0001', '0.041', '-')
    """
    if math.isnan(p):
        return NOTHING
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def to_html(table: Table) -> str:
    """Writes a `<table>`; a long one scrolls sideways in its own frame, and an interval stands below its value."""
    numeric = table.numeric()
    heads = "".join(
        _tag("th", markup.escaped(column.head), "n" if number else "")
        for column, number in zip(table.columns, numeric, strict=True)
    )
    lines = []
    for index, (row, texts) in enumerate(zip(table.rows, table.texts(), strict=True)):
        cells = []
        for entry, text, number in zip(row, texts, numeric, strict=True):
            content = markup.escaped(text)
            if isinstance(entry, Estimate) and entry.bounded:
                content = content.replace(" (", " <small>(", 1) + "</small>"
            cells.append(_tag("td", content, "n" if number else "t" if len(text) > LONG else ""))
        lines.append(_tag("tr", "".join(cells), "ruled" if table.rule and index == table.rule else ""))
    body = "\n".join(lines)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _tag(tag: str, content: str, kind: str) -> str:
    return f'<{tag} class="{kind}">{content}</{tag}>' if kind else f"<{tag}>{content}</{tag}>"
