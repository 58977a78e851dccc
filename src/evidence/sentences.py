"""Divides a clinical note into sentences and list items, by a small rule, and keeps where in the note each is."""

import re
from collections.abc import Iterator

ABBREVIATIONS = re.compile(
    "dr|mr|mrs|ms|prof|st|vs|etc|eg|ie|approx|pts?|nos?|hx|dx|rx|tx|sx|fx|hosp|resp|temp|wt|ht|neg|pos|abd|ext|ant|"
    "post|lat|bilat|sig|dept|vol|max|min|inc|jr|sr|ca|cont|(?:[a-z]{1,2}[.])*[a-z]"
)
"""Words after which a period ends no sentence; the last are letters that are words (q.d., a.m.)."""

ITEM = r"[ \t]*(?:[#\-*\u2022]|\d{1,2}[.)][ \t])"
"""How a line of a list begins."""

BREAK = re.compile(rf"[.!?]+[\"')\]]*(?=\s)|:[ \t]*(?=\n)|\n(?=[ \t]*\n)|\n(?={ITEM})")
"""Where a sentence may end: at its stop, behind a heading, at a blank line, before an item of a list."""


def split_sentences(text: str) -> list[tuple[int, int]]:
    r"""Finds the sentences of a text; they cover all of it but blanks.

    A line break alone ends none, as notes are wrapped; nor does a period in a number or behind an abbreviation.

    >>> text = "# CHF: s/p IV lasix, Dr. Wu saw him.\nLasix 2.5 mg q.d. was\nheld. 1.\n- K 4.2\n2. PNA\n\nHome"
    >>> [text[start:end] for start, end in split_sentences(text)]
    ['# CHF: s/p IV lasix, Dr. Wu saw him.', 'Lasix 2.5 mg q.d. was\nheld.', '1.', '- K 4.2', '2. PNA', 'Home']
    >>> split_sentences("  \n")
    []
    """
    spans, start = [], 0
    for end in [*_ends(text), len(text)]:
        piece = text[start:end]
        if piece.strip():
            first = start + len(piece) - len(piece.lstrip())
            spans.append((first, start + len(piece.rstrip())))
        start = end
    return spans


def _ends(text: str) -> Iterator[int]:
    start = 0
    for match in BREAK.finditer(text):
        if match[0].startswith("."):
            before = text[start : match.start()]
            word = re.split(r"[\s(\[]", before)[-1].lower()
            item = word.isdigit() and not before.rpartition("\n")[2].strip().removesuffix(word)
            if item or ABBREVIATIONS.fullmatch(word):
                continue
        start = match.end()
        yield start
