"""From a hospital's DRG code and description to the DRG of v34, by rules that never guess.

Descriptions are abbreviated, cut at 77 to 80 characters, and of several MS-DRG versions in one table.
"""

import csv
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from src.cohort.msdrg import Drg, load_drgs

SHORTEST_CUT = 60
"""Characters from which a description may have lost its end; MIMIC-IV cuts at 77 to 80 bytes of its source."""

VERSIONS = ("v36", "v37", "v38", "v39", "v40", "v41", "v42", "v43")
"""Versions whose titles are known beside v34's, from `drgpy`."""

OBSTETRIC = {
    "783": "765", "784": "765", "785": "766", "786": "765", "787": "765", "788": "766",
    "796": "767", "797": "767", "798": "767", "805": "774", "806": "774", "807": "775",
    "817": "781", "818": "781", "819": "782", "831": "781", "832": "781", "833": "782",
}  # fmt: skip
"""DRGs that v36 made of v34's obstetric ones, by code; 777, 778 and 780 need the diagnosis."""

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


@dataclass(frozen=True)
class Match:
    """The DRG of a description, or the reason why there is none."""

    drg: Drg | None
    how: str


def resolve(code: str, description: str) -> Match:
    """The v34 DRG that a hospital's row names.

    A description that is the title of one DRG decides alone: codes are reused between versions. An
    abbreviated or cut one decides together with its code, or alone where it fits a single title.

    >>> resolve("291", "HEART FAILURE & SHOCK W MCC").drg.code
    '291'
    >>> resolve("807", "VAGINAL DELIVERY W/O STERILIZATION OR D&C W/O CC/MCC").drg.code
    '775'
    >>> resolve("999", "SOMETHING ELSE").how
    'no title of v34 to v43 fits'
    """
    said = _words(description)
    named = _titles().get(said, set())
    digits = f"{int(code):03d}" if code.isdigit() else code
    if len(named) == 1:
        drg = next(iter(named))
        other = digits in load_drgs() and digits != drg
        return _known(drg, "title; the code is another DRG's in v34" if other else "title")
    cut = len(description) >= SHORTEST_CUT
    if cut and said and any(silent.startswith(said[-1]) for silent in _SILENT):
        said = said[:-1]  # what is left of AND, OR, FOR at the cut
    former = _former(said, cut)
    if former is not None:
        return Match(load_drgs().get(former), "title of v24 to v33" if former else "of a family that v34 no longer has")
    for title in _titles_of_code().get(digits, ()):
        if _fits(said, title, cut):
            return _known(_in_v34(digits), "code and abbreviated title")
    fitting = {drg for title, drgs in _titles().items() if _fits(said, title, cut) for drg in drgs}
    if len(fitting) == 1:
        drg = next(iter(fitting))
        if digits in load_drgs() and digits != drg:
            return Match(None, f"the title looks like {drg}, but {digits} is another DRG in v34")
        return _known(drg, "abbreviated title")
    if not fitting and digits in load_drgs() and _nearly(said, digits):
        return _known(digits, "code and shortened or misspelt title")
    if fitting:
        return Match(None, f"fits {len(fitting)} titles, and code {code} decides for none")
    return Match(None, f"no title of v34 to {VERSIONS[-1]} fits")


def _known(code: str, how: str) -> Match:
    drg = load_drgs().get(code)
    return Match(drg, how if drg else f"{code} is of a later version and has no counterpart in v34")


def _in_v34(code: str) -> str:
    return OBSTETRIC.get(code, code) if code not in load_drgs() else code


@cache
def _words(title: str) -> tuple[str, ...]:
    text = title.upper().replace(",", " ").replace("(", " ").replace(")", " ").replace(";", " ")
    text = re.sub(r"\bCC\s*/\s*MCC\b", "CC/MCC", text)
    text = re.sub(r"\bW/O(?=\s|$)|\bW/OUT\b", "WITHOUT", text)
    text = re.sub(r"(?<!CC)/(?!MCC)", " ", text).replace("-", " ").replace("&", " & ").replace("+", " ")
    text = re.sub(r"(\d+)\s*(?=HOURS?\b|HRS?\b)", r"\1 ", text.replace(">", " ").replace("<=", " UPTO "))
    words = " ".join(_WRITTEN.get(word, word) for word in text.split()).replace(".", "").split()
    return tuple(word for word in words if word not in _SILENT)


@cache
def _all_titles() -> tuple[tuple[str, tuple[str, ...]], ...]:
    from drgpy._runtime_data import load_runtime_data

    rows = [(code, _words(drg.title)) for code, drg in load_drgs().items()]
    for version in VERSIONS:
        table = load_runtime_data(version).drgmap.items()
        rows += [(f"{int(code):03d}", _words(row["desc"])) for code, row in table]
    return tuple(dict.fromkeys(rows))


@cache
def _titles() -> dict[tuple[str, ...], set[str]]:
    """DRGs of each title; a title of v34 means v34's DRG, whatever later versions call so."""
    of_v34 = {_words(drg.title): {code} for code, drg in load_drgs().items()}
    later: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for code, title in _all_titles():
        later[title].add(_in_v34(code))
    return {**later, **of_v34}


@cache
def _titles_of_code() -> dict[str, list[tuple[str, ...]]]:
    titles: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for code, title in _all_titles():
        titles[code].append(title)
    return titles


@cache
def _former_titles() -> dict[tuple[str, ...], str]:
    """The reviewed table of titles of v24 to v33; an empty code where v34 has no single counterpart."""
    lines = files("src.cohort").joinpath("former_titles.csv").read_text("utf-8").splitlines()
    return {_words(row["title"]): row["drg"] for row in csv.DictReader(lines)}


def _former(said: tuple[str, ...], cut: bool) -> str | None:
    """The code of the one former title that the words fit, while no title of v34 on fits them too."""
    fitting = {code for title, code in _former_titles().items() if _fits(said, title, cut)}
    if len(fitting) != 1 or any(_fits(said, title, cut) for title in _titles()):
        return None
    return next(iter(fitting))


def _nearly(said: tuple[str, ...], code: str) -> bool:
    """The code's own title says the same state, with a few words left out or a letter wrong, and no other does."""
    fitting = {drg for title, drgs in _titles().items() if _skips(said, title) for drg in drgs}
    return fitting == {code}


def _skips(said: tuple[str, ...], title: tuple[str, ...]) -> bool:
    """Each word said is, in order, a word of the title; two of the title's may be missing, no state or number."""
    if not 2 <= len(said) <= len(title) <= len(said) + 2:
        return False
    place = 0
    for word in title:
        if place < len(said) and (_abbreviates(said[place], word) or _misspells(said[place], word)):
            place += 1
        elif word in _DECISIVE or any(letter.isdigit() for letter in word):
            return False
    return place == len(said)


def _misspells(word: str, whole: str) -> bool:
    """One letter is wrong, missing, added or swapped in a word of six letters or more."""
    if min(len(word), len(whole)) < 6 or abs(len(word) - len(whole)) > 1 or word == whole:
        return False
    start = next((at for at, (a, b) in enumerate(zip(word, whole, strict=False)) if a != b), min(len(word), len(whole)))
    a, b = word[start:], whole[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[:2][::-1] and a[2:] == b[2:])


@cache
def _fits(said: tuple[str, ...], title: tuple[str, ...], cut: bool) -> bool:
    """Each word said abbreviates the title's word at its place; a cut description may end early."""
    if not said or len(said) > len(title) or (len(said) < len(title) and not cut):
        return False
    ends = len(said) - 1
    return all(
        _abbreviates(word, whole) or (cut and place == ends and whole.startswith(word))
        for place, (word, whole) in enumerate(zip(said, title, strict=False))
    )


def _abbreviates(word: str, whole: str) -> bool:
    if word == whole:
        return True
    if word in _STATE or whole in _STATE or len(word) < 2 or word[0] != whole[0]:
        return False
    letters = iter(whole)
    return all(letter in letters for letter in word)
