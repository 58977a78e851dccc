"""Writes HTML that shows text as it is."""

import html

from src.cli.terminal import visible


def escaped(text: object) -> str:
    """Escapes text for HTML, also within an attribute's quotes.

    >>> escaped("<script>'")
    '&lt;script&gt;&#x27;'
    """
    return html.escape(visible(text))
