"""Finds which DRG of one MS-DRG version stands for a DRG of another, where exactly one does.

A code never changes its meaning between v34 and v43: it is reworded, retired or split, and a reviewed table
(`crosswalk.csv`) holds what the DRGs were or became that some version lacks.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from src.cohort.msdrg import load_drgs


@dataclass(frozen=True)
class Entry:
    """Holds what is known of a DRG that some version lacks."""

    counterparts: tuple[str, ...]
    """Codes of other versions that its cases have or had."""
    others: bool
    """Whether its cases may have had still other codes."""
    note: str
    """What the difference is."""


@cache
def crosswalk() -> Mapping[str, Entry]:
    """Reads the reviewed table, by code."""
    lines = files("src.cohort").joinpath("crosswalk.csv").read_text("utf-8").splitlines()
    table = {}
    for row in csv.DictReader(lines):
        codes = row["counterparts"].split()
        table[row["code"]] = Entry(tuple(code for code in codes if code != "?"), "?" in codes, row["note"])
    return MappingProxyType(table)


def counterpart(code: str, version: str) -> str | None:
    """Finds the one code of `version` that a code of any version stands for; None when there is none, or several.

    >>> counterpart("788", "v34"), counterpart("766", "v38"), counterpart("291", "v43")
    ('766', None, '291')
    """
    drgs = load_drgs(version)
    if code in drgs:
        return code
    entry = crosswalk().get(code)
    if entry is None or entry.others:
        return None
    present = [candidate for candidate in entry.counterparts if candidate in drgs]
    return present[0] if len(present) == 1 else None


def why_none(code: str, version: str) -> str:
    """Says why `counterpart` is None, with the codes that come into question.

    >>> why_none("766", "v38")
    '766 of another version may be 785 or 788 in v38: sterilization decides'
    """
    entry = crosswalk().get(code)
    if entry is None:
        return f"{code} is a code of no version"
    present = [candidate for candidate in entry.counterparts if candidate in load_drgs(version)]
    if not present:
        return f"{code} of another version has no counterpart in {version}: {entry.note}"
    others = " or another" if entry.others else ""
    return f"{code} of another version may be {' or '.join(present)}{others} in {version}: {entry.note}"
