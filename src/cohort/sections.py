"""Finds the sections of a discharge summary: every standard heading, and the text under it.

A heading stands at the start of a line and ends with a colon or with the line. Its section ends at the first
heading that comes later in the order of `HEADINGS`. Source of names and order: MIMIC-IV-Note 2.2.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import polars as pl

_MARK = "_{2,}"
WHOLE_NOTE = "whole_note"

HEADINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "allergies": ("allergies",),
        "chief_complaint": ("chief complaint", f"chief {_MARK}"),
        "procedure": ("major surgical or invasive procedures?",),
        "history_of_present_illness": (
            "history of (?:the )?present(?:ing)? illness",
            f"history of present {_MARK}",
            "hpi",
        ),
        "past_medical_history": ("past medical history", f"past {_MARK} history", "pmh"),
        "social_history": ("social history", f"{_MARK} history"),
        "family_history": ("family history", f"family {_MARK}"),
        "physical_exam": ("physical exam(?:ination)?", f"physical {_MARK}"),
        "pertinent_results": ("pertinent results", f"pertinent {_MARK}"),
        # `rief` is a slip that MIMIC-IV's notes hold.
        "hospital_course": (
            "b?rief hospital course",
            "hospital course",
            f"{_MARK} hospital course",
            f"brief {_MARK} course",
            f"brief hospital {_MARK}",
        ),
        "medications_on_admission": ("medications? on admission", f"{_MARK} on admission"),
        "discharge_medications": (f"(?:discharge|{_MARK}) medications?",),
        "discharge_disposition": (f"(?:discharge|{_MARK}) disposition",),
        "discharge_diagnosis": (f"(?:discharge|{_MARK}) diagnos[ie]s",),
        "discharge_condition": (f"(?:discharge|{_MARK}) condition",),
        "discharge_instructions": (f"(?:discharge|{_MARK}) instructions?",),
        "followup_instructions": ("follow-?up instructions?",),
    }
)
"""Patterns of each section's heading, in the order of a note; `_MARK` is where de-identification defaced one."""

SECTIONS = (*HEADINGS, WHOLE_NOTE)


class Sections:
    """Finds sections under the standard headings and those that a hospital adds.

    >>> note = pl.Series(["Results:\\n___\\nBrief Hospital Course: Stable.\\nHome.\\nDischarge Condition:\\nGood"])
    >>> Sections().find(note, "hospital_course").to_list()
    ['Stable.\\nHome.']
    >>> Sections({"hospital_course": ["Results"]}).find(note, "hospital_course")[0][:3]
    '___'
    """

    def __init__(self, more: Mapping[str, Sequence[str]] | None = None) -> None:
        self._patterns = {name: list(patterns) for name, patterns in HEADINGS.items()}
        for name, titles in (more or {}).items():
            # re.escape would escape blanks too, which `_line` replaces.
            self._patterns[name] += [re.sub(r"([^\w ]|_)", r"\\\1", title) for title in titles]

    def find(self, texts: pl.Series, section: str) -> pl.Series:
        """Finds the text of one section of each note, without blanks around it; null without its heading."""
        if section == WHOLE_NOTE:
            return texts.str.strip_chars()
        names = list(self._patterns)
        later = [pattern for name in names[names.index(section) + 1 :] for pattern in self._patterns[name]]
        tail = self._tail(texts, section)
        return (to_byte(tail, _first(tail, _line(later))) if later else tail).str.strip_chars()

    def starts(self, texts: pl.Series, section: str) -> pl.Series:
        """Counts the characters of each note before what `find` finds of it; null without its heading.

        >>> Sections().starts(pl.Series(["Allergies:\\n  None", "None"]), "allergies").to_list()
        [13, None]
        """
        tail = texts if section == WHOLE_NOTE else self._tail(texts, section)
        return (texts.str.len_chars() - tail.str.strip_chars_start().str.len_chars()).cast(pl.Int64)

    def _tail(self, texts: pl.Series, section: str) -> pl.Series:
        """Cuts off each note up to a section's heading; null without one."""
        line = _line(self._patterns[section])
        return from_byte(texts, _first(texts, line)).str.replace(rf"\A\n?{line}", "")

    def before(self, texts: pl.Series, sections: Sequence[str]) -> pl.Series:
        """Cuts each note at the first heading of any of these sections, in whatever order they stand.

        >>> Sections().before(pl.Series(["Allergies: None\\nBrief Hospital Course: Stable."]), ["hospital_course"])[0]
        'Allergies: None'
        """
        return to_byte(texts, _first(texts, _line([pattern for name in sections for pattern in self._patterns[name]])))

    def join(self, texts: pl.Series, sections: Sequence[str]) -> pl.Series:
        """Joins several sections of each note in the order given, a blank line between; null when none is there."""
        parts = pl.DataFrame([self.find(texts, name).alias(name) for name in sections])
        present = [pl.when(pl.col(name) != "").then(pl.col(name)) for name in sections]
        joined = pl.concat_str(present, separator="\n\n", ignore_nulls=True)
        return parts.select(text=pl.when(pl.any_horizontal(pl.all().is_not_null())).then(joined))["text"]


def headings_by_section(typed: Sequence[str]) -> dict[str, list[str]]:
    """Reads further headings, each typed as `SECTION:HEADING`.

    >>> headings_by_section(["hospital_course: Clinical Summary", "hospital_course:Course"])
    {'hospital_course': ['Clinical Summary', 'Course']}
    """
    headings: dict[str, list[str]] = {}
    for section, _, heading in (words.partition(":") for words in typed):
        headings.setdefault(section, []).append(heading.strip())
    return headings


def from_byte(texts: pl.Series, start: pl.Series) -> pl.Series:
    """Cuts off what stands before a byte of each text; null where `start` is."""
    frame = pl.DataFrame({"text": texts.cast(pl.Binary), "start": start})
    return frame.select(pl.col("text").bin.slice(pl.col("start")).cast(pl.String)).to_series()


def to_byte(texts: pl.Series, end: pl.Series) -> pl.Series:
    """Cuts off what stands behind a byte of each text; the whole text where `end` is null."""
    frame = pl.DataFrame({"text": texts.cast(pl.Binary), "end": end})
    cut = pl.col("text").bin.slice(0, pl.col("end").fill_null(2**32 - 1))
    return frame.select(cut.cast(pl.String)).to_series()


def hospital_course(text: str) -> str | None:
    """Finds the brief hospital course; None without its heading. Text on the heading's own line is kept.

    >>> hospital_course("Discharge Diagnosis:\\nPneumonia") is None
    True
    """
    return _section(text, "hospital_course")


def discharge_diagnosis(text: str) -> str | None:
    """Finds the discharge diagnosis, as the physician wrote it; None without a heading.

    >>> discharge_diagnosis("Discharge Diagnosis:\\nPneumonia\\n\\nDischarge Condition:\\nGood")
    'Pneumonia'
    """
    return _section(text, "discharge_diagnosis")


def _section(text: str, section: str) -> str | None:
    content: str | None = Sections().find(pl.Series([text], dtype=pl.String), section)[0]
    return content


def _line(patterns: Sequence[str]) -> str:
    """Makes a pattern of a heading, from the start of its line to its colon or the line's end."""
    names = "|".join(pattern.replace(" ", "[ \t]+") for pattern in patterns)
    return rf"[ \t]*(?i:{names})[ \t\r]*(?::|\n|\z)"


def _first(texts: pl.Series, line: str) -> pl.Series:
    """Finds the byte where the first such heading begins, with the line end before it; null without one.

    A pattern that begins with a line end is four times as fast as `(?m:^)`.
    """
    frame = pl.DataFrame({"text": texts})
    at_once, below = pl.col("text").str.contains(rf"\A{line}"), pl.col("text").str.find(rf"\n{line}")
    return frame.select(pl.when(at_once).then(0).otherwise(below)).to_series()
