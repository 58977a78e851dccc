"""Markdown that shows text as it is: nothing in it is a table's edge, a link, code or HTML."""

import re
from collections.abc import Sequence
from typing import Any

from src.cli.terminal import one_line

SIGNS = re.compile(r"([\\`*\[\]|~$])")
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def escaped(text: object) -> str:
    r"""Text for a cell or a line of GitHub's Markdown.

    >>> escaped("a|b `c`\n<script>[d](e)")
    'a\\|b \\`c\\` &lt;script&gt;\\[d\\](e)'
    """
    return SIGNS.sub(r"\\\1", one_line(text).translate(ENTITIES))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[bool] | None = None) -> str:
    """A table of GitHub's Markdown; whole numbers have commas.

    Args:
        head: of the columns.
        rows: texts and whole numbers.
        right: the columns that stand right; None for all that hold no word, and all but the first.

    >>> print(table(["what", "n"], [["a|b", 1200]]))
    | what | n |
    |---|---:|
    | a\\|b | 1,200 |
    """
    sides = right or [column > 0 for column in range(len(head))]
    rule = "|" + "|".join("---:" if side else "---" for side in sides) + "|"
    lines = [[_cell(cell) for cell in row] for row in (head, *rows)]
    first, *rest = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([first, rule, *rest])


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else escaped(value)
