"""Compares titles with how hospitals spell them: abbreviated, cut, with signs for words, now and then misspelt."""

import re
from functools import cache

SHORTEST_CUT = 60
"""Characters from which a description may have lost its end; MIMIC-IV cuts at 77 to 80 bytes of its source."""

SHORTEST_JOINED = 3
"""Letters of a word's beginning that tell it where words ran together."""

_WRITTEN = {
    "W": "WITH", "WO": "WITHOUT", "EXC": "EXCEPT", "EXCL": "EXCEPT",
    "W/O": "WITHOUT", "W/": "WITH", "O.R.": "OR", "DX": "DIAGNOSIS",
    "PDX": "PRINCIPAL DIAGNOSIS", "FX": "FRACTURE", "MV": "MV", "MAJ": "MAJOR", "GI": "G.I.",
    "CC/MCC": "CC/MCC", "MCC/CC": "CC/MCC",
}  # fmt: skip
_SILENT = frozenset({"AND", "&", "OF", "THE", "FOR", "OR", "TO"})
_DECISIVE = frozenset({"WITH", "WITHOUT", "CC", "MCC", "CC/MCC", "EXCEPT", "NON", "OTHER", "MAJOR", "NO", "NOT"})
"""Words that never go missing: without them the title is another DRG's."""
_STATE = frozenset({"WITH", "WITHOUT", "CC", "MCC", "CC/MCC"})

_RULES = (
    (re.compile(r"[,();]"), " "),
    (re.compile(r"\bCC\s*/\s*MCC\b"), "CC/MCC"),
    (re.compile(r"\bW/O(?=\s|$)|\bW/OUT\b"), "WITHOUT"),
    (re.compile(r"\b([A-Z])AND([A-Z])\b"), r"\1&\2"),  # D&C by someone who wrote every & out
    (re.compile(r"(?<!CC)/(?!MCC)|-"), " "),
    (re.compile("&"), " & "),
    (re.compile(r"\bGREATER THAN\b|\bMORE THAN\b|>=?|≥|\+"), " "),
    (re.compile(r"\bLESS THAN\b|<=?|≤"), " UPTO "),
    (re.compile(r"\bONE(?=\s+HOUR)"), "1"),
    (re.compile(r"(\d+)\s*(?=HOURS?\b|HRS?\b)"), r"\1 "),
)
"""What is written in several ways; more than 96 hours is 96+ and >96, and fewer are at most 96."""


@cache
def words(title: str) -> tuple[str, ...]:
    """Lists the words of a title that tell DRGs apart, in one spelling.

    >>> words("Resp. system diagnosis w ventilator support >96 hours")
    ('RESP', 'SYSTEM', 'DIAGNOSIS', 'WITH', 'VENTILATOR', 'SUPPORT', '96', 'HOURS')
    >>> words("COMA, LESS THAN ONE HOUR W/O CC/MCC") == words("COMA <1 HOUR WO CC/MCC")
    True
    """
    text = title.upper()
    for pattern, written in _RULES:
        text = pattern.sub(written, text)
    spelt = " ".join(_WRITTEN.get(word, word) for word in text.split()).replace(".", "").split()
    return tuple(word for word in spelt if word not in _SILENT)


def may_be_cut(description: str) -> bool:
    """Says whether the description is long enough to have lost its end."""
    return len(description) >= SHORTEST_CUT


def without_stump(said: tuple[str, ...], cut: bool) -> tuple[str, ...]:
    """Drops from the words what a cut left of AND, OR or FOR."""
    stump = cut and said and any(silent.startswith(said[-1]) for silent in _SILENT)
    return said[:-1] if stump else said


@cache
def fits(said: tuple[str, ...], title: tuple[str, ...], cut: bool) -> bool:
    """Says whether each word said abbreviates the title's word at its place; a cut description may end early.

    >>> fits(words("CARD CATH W MCC"), words("CARDIAC CATHETERIZATION WITH MCC"), cut=False)
    True
    >>> fits(words("CARD CATH W CC"), words("CARDIAC CATHETERIZATION WITH MCC"), cut=False)
    False
    """
    if not said or len(said) > len(title) or (len(said) < len(title) and not cut):
        return False
    ends = len(said) - 1
    return all(
        _abbreviates(word, whole) or (cut and index == ends and whole.startswith(word))
        for index, (word, whole) in enumerate(zip(said, title, strict=False))
    )


def nearly_fits(said: tuple[str, ...], title: tuple[str, ...]) -> bool:
    """Each word said is, in order, a word of the title, perhaps with one letter wrong; two of the title's words may
    be missing, but none that decides, and no number.

    >>> nearly_fits(words("HEART FALIURE & SHOCK W MCC"), words("HEART FAILURE AND SHOCK WITH MCC"))
    True
    """
    if not 2 <= len(said) <= len(title) <= len(said) + 2:
        return False
    matched = 0
    for word in title:
        if matched < len(said) and (_abbreviates(said[matched], word) or _misspells(said[matched], word)):
            matched += 1
        elif word in _DECISIVE or any(letter.isdigit() for letter in word):
            return False
    return matched == len(said)


def spells(said: tuple[str, ...], title: tuple[str, ...], cut: bool) -> bool:
    """Says whether each word said is, in order, the title's, abbreviated, with one letter wrong, or several in one.

    >>> spells(words("LAPARASCOPIC CHOLECYSTECTOMYWITH CC"), words("LAPAROSCOPIC CHOLECYSTECTOMY W CC"), cut=False)
    True
    """
    # A set of places: words that ran together can be divided in more than one way.
    ends = {0}
    for index, word in enumerate(said):
        last = cut and index == len(said) - 1
        ends = {end for start in ends for end in _ends(word, title, start, last)}
    return len(title) in ends or (cut and bool(ends))


def _ends(word: str, title: tuple[str, ...], start: int, last: bool) -> set[int]:
    """Finds the places of the title up to which a word said may tell it from `start` on."""
    ends = _joined_ends(word, title, start) - {start}
    if start < len(title):
        whole = title[start]
        if _abbreviates(word, whole) or _misspells(word, whole) or (last and whole.startswith(word)):
            ends.add(start + 1)
    return ends


def _joined_ends(rest: str, title: tuple[str, ...], start: int) -> set[int]:
    """Finds where `rest` ends that is words of the title, each whole or its first letters, silent words between."""
    if not rest:
        return {start}
    ends: set[int] = set()
    for silent in _SILENT:
        if rest.startswith(silent):
            ends |= _joined_ends(rest[len(silent) :], title, start)
    if start < len(title):
        whole = title[start]
        # A beginning of a decisive word may be another one, as NO is of NON and NOT.
        shortest = len(whole) if whole in _DECISIVE else min(SHORTEST_JOINED, len(whole))
        for size in range(shortest, len(whole) + 1):
            if rest.startswith(whole[:size]):
                ends |= _joined_ends(rest[size:], title, start + 1)
    return ends


def _misspells(word: str, whole: str) -> bool:
    """Says whether one letter is wrong, missing, added or swapped in a word of six letters or more."""
    # Shorter words are too often a letter apart from words that mean something else.
    if min(len(word), len(whole)) < 6 or abs(len(word) - len(whole)) > 1 or word == whole:
        return False
    start = next(
        (index for index, (a, b) in enumerate(zip(word, whole, strict=False)) if a != b), min(len(word), len(whole))
    )
    a, b = word[start:], whole[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[:2][::-1] and a[2:] == b[2:])


def _abbreviates(word: str, whole: str) -> bool:
    if word == whole:
        return True
    # CC has letters of CC/MCC in their order, and is another state.
    if word in _STATE or whole in _STATE or len(word) < 2 or word[0] != whole[0]:
        return False
    # `in` uses up the iterator as far as it looks, so that letters count in the order of the word only.
    letters = iter(whole)
    return all(letter in letters for letter in word)
