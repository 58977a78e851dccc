"""Finds which DRG of one MS-DRG version stands for a DRG of another, where exactly one does.

A code never changes its meaning between v34 and v43: it is reworded, retired or split, and a reviewed table
(`crosswalk.csv`) holds what the DRGs were or became that some version lacks.
"""

import csv
from collections import defaultdict
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


def one_to_one(code: str, version: str, former: str) -> str | None:
    """Finds the one code of `former` that a code of `version` stands for, and that stands for no other code of it.

    >>> one_to_one("291", "v41", "v34"), one_to_one("788", "v41", "v34"), one_to_one("019", "v41", "v34")
    ('291', None, None)
    """
    earlier = counterpart(code, former)
    return earlier if earlier and counterpart(earlier, version) == code else None


def bases_one_to_one(version: str, former: str) -> dict[str, str]:
    """Lists the base DRGs of `version` whose DRGs are one to one those of a base DRG of `former`, with its name there.

    >>> bases_one_to_one("v41", "v34")["HEART FAILURE AND SHOCK"]
    'HEART FAILURE AND SHOCK'
    """
    there: dict[frozenset[str | None], str] = {codes: name for name, codes in _members(former).items()}
    earlier = {
        name: frozenset(one_to_one(code, version, former) for code in codes)
        for name, codes in _members(version).items()
    }
    return {name: there[codes] for name, codes in earlier.items() if codes in there}


def _members(version: str) -> dict[str, frozenset[str]]:
    codes: dict[str, set[str]] = defaultdict(set)
    for code, drg in load_drgs(version).items():
        codes[drg.base_drg].add(code)
    return {name: frozenset(members) for name, members in codes.items()}


def shared_with(code: str, version: str, former: str) -> str:
    """Says with which codes of one version a code that both have shares cases of the other; empty where with none.

    >>> shared_with("008", "v41", "v34"), shared_with("008", "v34", "v41"), shared_with("291", "v41", "v34")
    ('019 of v41 has some of its cases', '019 of v41 has some of its cases', '')
    """
    parts = []
    for name, lacking in ((version, former), (former, version)):
        later = load_drgs(name).keys() - load_drgs(lacking).keys()
        if codes := sorted(candidate for candidate in later if code in crosswalk()[candidate].counterparts):
            parts.append(f"{', '.join(codes)} of {name} {'have' if len(codes) > 1 else 'has'} some of its cases")
    return "; ".join(parts)


def why_not_one_to_one(code: str, version: str, former: str) -> str:
    """Says why `one_to_one` is None.

    >>> why_not_one_to_one("019", "v41", "v34")
    '008 of v34 stands for other codes of v41 too'
    """
    earlier = counterpart(code, former)
    return f"{earlier} of {former} stands for other codes of {version} too" if earlier else why_none(code, former)


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
