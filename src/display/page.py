"""Renders one page of HTML that needs nothing beside it: text, tables, figures and commands, shown as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from src.display.figure_style import ReportFigure, inline
from src.display.html import escaped
from src.display.tables import Table, to_html

TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class PageBlock:
    """Holds a part of a section: a paragraph, a command, figures or a table; what is not given is not shown.

    Attributes:
        text: a paragraph.
        small: the paragraph is a remark.
        code: commands, as they are typed.
        figures: beside each other.
        broad: each figure has the whole width.
        table: under its title.
        folded: the line by which the table is unfolded; empty for one that is open.
        files: the folder that holds the figures or the table as files; empty where there is none.
    """

    text: str = ""
    small: bool = False
    code: str = ""
    figures: Sequence[ReportFigure] = ()
    broad: bool = False
    table: Table | None = None
    folded: str = ""
    files: str = ""


@dataclass(frozen=True)
class Section:
    """Holds a heading with what stands under it; `anchor` is its address in the page."""

    anchor: str
    title: str
    blocks: Sequence[PageBlock]


@dataclass(frozen=True)
class Page:
    """Holds a whole page.

    Attributes:
        title: its name.
        subtitle: a line on what it holds, and what it never holds.
        sections: from top to bottom; those without a block are left out.
        facts: names and values above them.
        findings: what came out, in sentences.
        notes: how to read the numbers, in sentences.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    facts: Mapping[str, str] = field(default_factory=dict)
    findings: Sequence[str] = ()
    notes: Sequence[str] = ()


def render(page: Page, svgs: Mapping[str, str]) -> str:
    """Renders the page as HTML.

    Args:
        page: what it shows.
        svgs: each figure's SVG file, by name.
    """

    kept = replace(page, sections=[section for section in page.sections if section.blocks])
    template = _environment().get_template(TEMPLATE)
    return template.render(
        page=kept,
        inline=lambda figure: Markup(inline(svgs[figure.name], figure.name, figure.title)),
        html=lambda table: Markup(to_html(table)),
    )


def prose(pattern: str, *codes: object) -> str:
    """Writes a paragraph in which each `{}` is code.

    >>> prose("Run {}, at <5 %.", "python <x>")
    Markup('Run <code>python &lt;x&gt;</code>, at &lt;5&nbsp;%.')
    """
    return safe(pattern).format(*(Markup(f"<code>{safe(code)}</code>") for code in codes))


def safe(text: Any) -> Markup:
    """Escapes text for the page, control characters spelled out; a percent sign stays beside its number."""
    return text if isinstance(text, Markup) else Markup(escaped(text).replace(" %", "&nbsp;%"))


@cache
def _environment() -> Environment:
    """Loads templates in which every value goes through `safe`, and a name that is not given is an error."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=safe,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
