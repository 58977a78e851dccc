"""Writes Markdown that shows text as it is: nothing in it is a table's edge, a link, code or HTML."""

import re

from src.cli.terminal import one_line

SIGNS = re.compile(r"([\\`*\[\]|~$])")
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def escaped(text: object) -> str:
    r"""Escapes text for a cell or a line of GitHub's Markdown.

    >>> escaped("a|b `c`\n<script>[d](e)")
    'a\\|b \\`c\\` &lt;script&gt;\\[d\\](e)'
    """
    return SIGNS.sub(r"\\\1", one_line(text).translate(ENTITIES))
