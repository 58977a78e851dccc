"""Defines the configuration of `python -m src.prepare`."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from src.config.dialect import Dialect


class DrgSystem(StrEnum):
    """Says of which system the labels are."""

    MS = "ms"
    """MS-DRGs, MIMIC-IV's rows of type HCFA."""
    APR = "apr"
    """APR-DRGs with their severity of illness, MIMIC-IV's rows of type APR."""


def system_name(version: str | int | None) -> str:
    """Names the system of a cohort's `drg_version`.

    >>> system_name("v34"), system_name("apr"), system_name(None)
    ('MS-DRG v34', 'APR-DRG', "classes of a hospital's own")
    """
    if version is None:
        return "classes of a hospital's own"
    return "APR-DRG" if version == DrgSystem.APR else f"MS-DRG {version}"


class Protocol(StrEnum):
    """Says which notes make the cohort."""

    CLEAN = "clean"
    """Fixed extraction, one DRG an admission, split by patient."""
    PAPER = "paper"
    """The paper's code to the letter, defects included."""


class SplitBy(StrEnum):
    """Says who decides on train, validation and test."""

    AUTO = "auto"
    """A `split.csv` in `data.dir` or a `data.split` column where there is one; else the protocol's own."""
    PATIENT = "patient"
    ROW = "row"
    TIME = "time"
    FILE = "file"


class NamedHorizon(StrEnum):
    """Says up to when a text was charted for a model to read it; hours, as `24h`, are horizons too."""

    TRIAGE = "triage"
    """What the emergency department's triage wrote."""
    ED = "ed"
    """All that was known when the emergency department was left."""
    ADMISSION = "admission"
    """Triage, and the sections of the summary that an admission note has."""
    DISCHARGE = "discharge"
    """The summary's sections of `data.sections`."""


HORIZONS = "horizons"
"""The folder below a cohort's in which each horizon before discharge has one."""

MOST_HOURS = 720
"""Thirty days: few are in the house then."""


def hours_of(horizon: str) -> int | None:
    """Reads the hours of a horizon such as `24h`; None where it is of no such form, or of too many.

    >>> hours_of("24h"), hours_of("0h"), hours_of("ed")
    (24, None, None)
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})h", horizon)
    return int(match[1]) if match and int(match[1]) <= MOST_HOURS else None


def is_horizon(name: str) -> bool:
    """Says whether a horizon may be called so."""
    return name in list(NamedHorizon) or hours_of(name) is not None


def in_time(horizon: str) -> tuple[int, int]:
    """Orders horizons: triage, leaving the emergency department, admission, hours, discharge.

    >>> sorted(["discharge", "48h", "admission", "6h", "triage"], key=in_time)
    ['triage', 'admission', '6h', '48h', 'discharge']
    """
    hours = hours_of(horizon)
    named = (NamedHorizon.TRIAGE, NamedHorizon.ED, NamedHorizon.ADMISSION)
    return (len(named), hours) if hours else (named.index(NamedHorizon(horizon)) if horizon in named else 9, 0)


HORIZON_CHOICES = f"{', '.join(NamedHorizon)}, or hours from 1h to {MOST_HOURS}h"


class LabelKind(StrEnum):
    """Says what a hospital's own labels are."""

    AUTO = "auto"
    """MS-DRG codes or titles when all of them are; else classes of their own."""
    DRG = "drg"
    ANY = "any"


@dataclass
class PrepareData:
    """Names the files that are read and the folder that is written."""

    dir: str | None
    """Folder of MIMIC-IV files, with `note` and `hosp` in it."""
    notes: str | None
    """Folder of MIMIC-IV-Note where it lies elsewhere, as PhysioNet's two downloads do; null: in `dir`."""
    ed: str | None
    """Folder of MIMIC-IV-ED where it lies elsewhere, as PhysioNet's downloads do; null: in `dir`."""
    path: str | None
    """A hospital's own file of notes instead: CSV, Parquet or JSON."""
    text: str | None
    """Its column of texts."""
    label: str | None
    """Its column of labels."""
    patient: str | None
    """Its column of patients, if it has one."""
    split: str | None
    """Its column of splits (train, validation, test), if it has one."""
    separator: str | None
    """Between the columns of a CSV file: comma, semicolon, tab, pipe, or a character; null: as its header shows."""
    encoding: str | None
    """Of a text file, such as cp1252; null: UTF-8, or what its first bytes say."""
    missing: list[str]
    """Words that stand for a missing value, beside nothing, blanks, null and NaN."""
    labels: LabelKind
    sections: list[str]
    """Which sections the model reads, in this order."""
    headings: list[str]
    """Further headings of sections, each `SECTION:HEADING`."""
    words: int
    """Fewest words of a note."""
    out: str
    """Folder for the prepared cohort; must not hold anything yet."""


@dataclass
class PrepareConfig:
    """Makes a cohort of notes with labels, split into train, validation and test, from MIMIC-IV or any file."""

    data: PrepareData
    drg: DrgSystem
    version: str
    """MS-DRG version of the labels."""
    protocol: Protocol
    horizon: list[str]
    """Up to when texts are known that a model reads: triage, ed, hours as 24h, admission, discharge. The cohort of
    discharge is always made; each other horizon is a cohort of its own below it."""
    latest_first: bool
    """Texts of horizons before discharge begin with the latest piece, and not with the first. Models cut a text at its
    end, and would lose what became known last."""
    split: SplitBy
    split_file: str | None
    """With split=file: keyed ids and their splits, as `prepare` writes them to `split.csv`."""
    split_key: str | None
    """The key of its ids where it is not the `split.key` beside it; else the key that the new `split.csv` gets."""
    split_since: str | None
    """With split=time: the first anchor_year_group of the test; null for the last."""
    test_share: float
    """Share of patients in the test split."""
    validation_share: float
    """Share of patients in the validation split."""
    split_seed: int

    def problems(self) -> list[str]:
        """Returns one line for each value that cannot be."""
        problems = self._shares() + self._source() + self._split() + self._horizons() + self._system()
        problems += Dialect(self.data.separator, self.data.encoding).problems()
        if self.data.words < 1:
            problems.append(f"data.words={self.data.words}: must be at least 1")
        if self.protocol is Protocol.PAPER and self.version != "v34":
            problems.append(f"version={self.version}: the paper's DRGs are of v34; leave protocol=paper or version out")
        if not self.data.sections:
            problems.append("data.sections=[]: name at least one section")
        if Path(self.data.out).is_dir() and any(Path(self.data.out).iterdir()):
            problems.append(f"data.out={self.data.out}: the folder is not empty; name another, or remove it first")
        return problems

    def _shares(self) -> list[str]:
        problems = []
        for key, share in (("test_share", self.test_share), ("validation_share", self.validation_share)):
            if not 0 <= share < 1:
                problems.append(f"{key}={share}: must be at least 0 and below 1")
        if self.test_share + self.validation_share >= 1:
            problems.append("test_share and validation_share: together they must leave patients for training")
        return problems

    def _source(self) -> list[str]:
        data, problems = self.data, []
        if data.path is None:
            where = "it is where MIMIC-IV's note and hosp folders lie"
            if data.dir is None or not Path(data.dir).is_dir():
                problems.append(
                    f"data.dir={data.dir}: no such folder; {where}. For your own file write data=csv data.path=FILE"
                )
            if data.notes is not None and not Path(data.notes).is_dir():
                problems.append(f"data.notes={data.notes}: no such folder; it is the download of MIMIC-IV-Note")
            own = {key: getattr(data, key) for key in ("label", "patient", "split", "separator", "missing")}
            return problems + [
                f"data.{key}={value}: belongs to data=csv data.path=FILE" for key, value in own.items() if value
            ]
        if data.notes is not None:
            problems.append(f"data.notes={data.notes}: belongs to MIMIC-IV files; leave data.path out")
        if not Path(data.path).is_file():
            problems.append(f"data.path={data.path}: no such file")
        if self.protocol is Protocol.PAPER:
            problems.append("protocol=paper: reads MIMIC-IV files; leave data.path out")
        return problems + [
            f"data.{key}: not given; name the column, data.{key}=COLUMN"
            for key, value in (("text", data.text), ("label", data.label))
            if value is None
        ]

    def _system(self) -> list[str]:
        if self.drg is DrgSystem.MS:
            return []
        problems = []
        if self.data.path is not None:
            problems.append(f"drg={self.drg}: reads MIMIC-IV's hosp/drgcodes; leave data.path or drg out")
        if self.protocol is Protocol.PAPER:
            problems.append(f"drg={self.drg}: the paper's DRGs are MS-DRGs; leave protocol=paper or drg out")
        if self.version != "v34":
            problems.append(f"version={self.version}: is of MS-DRGs; leave drg=apr or version out")
        return problems

    def _horizons(self) -> list[str]:
        names, data = self.horizon, self.data
        problems = [] if names else [f"horizon=[]: name at least one of {HORIZON_CHOICES}"]
        problems += [f"horizon={name}: must be {HORIZON_CHOICES}" for name in names if not is_horizon(name)]
        problems += [f"horizon={name}: is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]
        early = [name for name in names if name != NamedHorizon.DISCHARGE]
        if early and data.path is not None:
            problems.append(f"horizon={early[0]}: reads MIMIC-IV files; leave data.path or horizon out")
        if early and self.protocol is Protocol.PAPER:
            problems.append(f"horizon={early[0]}: needs protocol=clean, in which an admission is there once")
        if data.ed is not None and not early:
            problems.append(f"data.ed={data.ed}: needs a horizon before discharge, as horizon=[triage]")
        elif data.ed is not None and not Path(data.ed).is_dir():
            problems.append(f"data.ed={data.ed}: no such folder; it is the download of MIMIC-IV-ED")
        if self.latest_first and not early:
            problems.append("latest_first=true: needs a horizon before discharge, as horizon=[24h]")
        return problems

    def _split(self) -> list[str]:
        problems = []
        if self.split is SplitBy.FILE and (self.split_file is None or not Path(self.split_file).is_file()):
            problems.append(
                f"split_file={self.split_file}: no such file; split=file needs a split.csv that prepare wrote"
            )
        if self.split is not SplitBy.FILE and self.split_file is not None:
            problems.append(f"split_file={self.split_file}: needs split=file")
        if self.split_key is not None and not Path(self.split_key).is_file():
            problems.append(f"split_key={self.split_key}: no such file; it is the split.key that prepare wrote")
        if self.split_since is not None and self.split is not SplitBy.TIME:
            problems.append(f"split_since={self.split_since}: needs split=time")
        if self.split is SplitBy.TIME and self.data.path is not None:
            problems.append("split=time: needs MIMIC-IV's hosp/patients; leave data.path out")
        return problems
