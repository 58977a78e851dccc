"""Finds the DRG of one MS-DRG version for a hospital's DRG code and description, by rules that never guess.

Descriptions are abbreviated, cut at 77 to 80 characters, and of several MS-DRG versions in one table.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from src.cohort.codes import bare, digits_of, too_long
from src.cohort.crosswalk import counterpart, why_none
from src.cohort.msdrg import VERSIONS, Drg, Severity, load_drgs, package_table, split_title
from src.cohort.spelling import fits, may_be_cut, nearly_fits, spells, without_stump, words

Words = tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """Holds the DRG of a description and what decided it, or the reason why there is none."""

    drg: Drg | None
    reason: str


def resolve(code: str, description: str, version: str = "v34") -> Match:
    """Finds the DRG of `version` that a hospital's row names.

    A description that is the title of one DRG decides, and so does an abbreviated or cut one that fits a single DRG,
    or that of its code. Where the code is another DRG's, or the version has several DRGs for it, none is chosen.

    >>> resolve("291", "HEART FAILURE & SHOCK W MCC").drg.code
    '291'
    >>> resolve("807", "VAGINAL DELIVERY W/O STERILIZATION OR D&C W/O CC/MCC").drg.code
    '775'
    >>> resolve("775", "VAGINAL DELIVERY W/O COMPLICATING DIAGNOSES", "v41").reason
    '775 of another version may be 805 or 806 or 807 in v41: severity decides'
    >>> resolve("292", "HEART FAILURE & SHOCK W MCC").reason
    'the title is that of 291, but 292 is another DRG'

    Raises:
        UserError: the version's table is not at hand.
    """
    said, digits = words(description), digits_of(code)
    if reason := too_long(code):
        return Match(None, reason)
    if re.fullmatch("0[0-9]{3}", bare(code)) and int(digits) and not _meanings(digits):
        return Match(None, f"{bare(code)} has four digits, and {digits} is no MS-DRG")
    if not said:
        return Match(None, "no description, and a code alone may be of any version")
    if said in titles():
        return _decided(digits, [said], version, "title")
    cut = may_be_cut(description)
    said = without_stump(said, cut)
    fitting = [title for title in titles() if fits(said, title, cut)]
    if not fitting and (row := _former(said, cut, digits)) is not None:
        return _of_former(digits, row, version)
    if fitting:
        rule = "code and abbreviated title" if digits in _codes(fitting) else "abbreviated title"
        return _decided(digits, fitting, version, rule)
    near = [title for title in titles() if nearly_fits(said, title)]
    if _codes(near) == {digits}:
        return _decided(digits, near, version, "code and shortened or misspelt title")
    spelt = [title for title in titles() if spells(said, title, cut)]
    if spelt and (match := _decided(digits, spelt, version, "title by its letters")).drg:
        return match
    if stateless := {code for base, codes in _bases().items() if fits(said, base, False) for code in codes}:
        return Match(None, f"says neither CC nor MCC; it may be {' or '.join(sorted(stateless))}")
    return Match(None, f"no title of {VERSIONS[0]} to {VERSIONS[-1]} fits")


def _decided(digits: str, fitting: Iterable[Words], version: str, rule: str) -> Match:
    """Decides for the one DRG of the titles that fit, unless the code says another."""
    codes, drgs = _codes(fitting), load_drgs(version)
    if digits in codes:
        drg = counterpart(digits, version)
        return Match(drgs[drg], rule) if drg else Match(None, why_none(digits, version))
    candidates: set[str | None] = set()
    for title in fitting:
        candidates |= _own_titles(version).get(title) or {counterpart(code, version) for code in titles()[title]}
    if len(candidates) > 1:
        return Match(None, f"fits {len(candidates)} titles, and code {digits or '(none)'} decides for none")
    (drg,) = candidates
    if drg is None:
        return Match(None, why_none(min(codes), version))
    if _of_v24(digits) and drgs[drg].severity is Severity.WITH_CC and "CC/MCC" not in drgs[drg].title:
        return Match(None, f"{digits} is a code of v24 or before, where with CC meant with CC or MCC of today")
    if not _agrees(digits, drg, version):
        is_ = "is that of" if rule == "title" else "looks like that of"
        return Match(None, f"the title {is_} {drg}, but {digits} is another DRG")
    return Match(drgs[drg], rule)


def _of_former(digits: str, row: dict[str, str], version: str) -> Match:
    """Decides what a title of v24 to v33 stands for."""
    drg = counterpart(row["drg"], version) if row["drg"] else None
    if not row["drg"]:
        return Match(None, f"of a family that {version} no longer has: {row['note']}")
    if drg is None:
        return Match(None, why_none(row["drg"], version))
    if digits != row["code"] and not _agrees(digits, drg, version):
        return Match(None, f"the title is a former one of {drg}, but {digits} is another DRG")
    return Match(load_drgs(version)[drg], "title of v24 to v33")


def _codes(fitting: Iterable[Words]) -> set[str]:
    return {code for title in fitting for code in titles()[title]}


@cache
def titles() -> dict[Words, set[str]]:
    """Lists the codes of every title of every version at hand."""
    codes: dict[Words, set[str]] = defaultdict(set)
    for code, drg in load_drgs().items():
        codes[words(drg.title)].add(code)
    for version in VERSIONS[1:]:
        for code, row in package_table(version).items():
            codes[words(row["desc"])].add(f"{int(code):03d}")
    return dict(codes)


@cache
def _own_titles(version: str) -> dict[Words, set[str]]:
    """Lists a version's own titles: they mean its own DRG, whatever other versions call so."""
    return {words(drg.title): {code} for code, drg in load_drgs(version).items()}


@cache
def _bases() -> dict[Words, set[str]]:
    """Lists the codes of every title without the CC/MCC state that it ends with."""
    codes: dict[Words, set[str]] = defaultdict(set)
    for version in VERSIONS:
        for code, drg in load_drgs(version).items():
            if drg.severity is not Severity.NONE:
                codes[words(split_title(drg.title)[0])].add(code)
    return dict(codes)


@cache
def _meanings(code: str) -> frozenset[str]:
    """Lists the DRGs of v34 to v43 that a code had as its own, none for a retired family; empty for no MS-DRG."""
    former = {row["drg"] for row in _former_titles().values() if row["code"] == code}
    return frozenset(former | ({code} if any(code in load_drgs(version) for version in VERSIONS) else set()))


def _agrees(digits: str, drg: str, version: str) -> bool:
    """Says whether the code says nothing, or `drg`."""
    meanings = _meanings(digits)
    return not meanings or drg in {counterpart(code, version) for code in meanings if code}


def _of_v24(digits: str) -> bool:
    """Says whether this is a code of the CMS-DRGs, 1 to 579, that no MS-DRG had."""
    return digits.isdecimal() and 1 <= int(digits) <= 579 and not _meanings(digits)


@cache
def _former_titles() -> dict[Words, dict[str, str]]:
    """Reads the reviewed table of titles of v24 to v33; an empty code where v34 has no single counterpart."""
    lines = files("src.cohort").joinpath("former_titles.csv").read_text("utf-8").splitlines()
    return {words(row["title"]): row for row in csv.DictReader(lines)}


def _former(said: Words, cut: bool, digits: str) -> dict[str, str] | None:
    """Finds the row of the one DRG whose former title the words fit; the code decides between several."""
    rows = [row for title, row in _former_titles().items() if fits(said, title, cut)]
    rows = [row for row in rows if row["code"] == digits] or rows
    return rows[0] if len({(row["drg"], row["note"]) for row in rows}) == 1 else None
