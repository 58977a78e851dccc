"""Sections of a discharge summary: the hospital course and the discharge diagnosis."""

import re

_MARK = r"_{2,}"
_COURSE_NAMES = "|".join(
    (
        r"b?rief[ \t]+hospital[ \t]+course",
        r"hospital[ \t]+course",
        rf"{_MARK}[ \t]+hospital[ \t]+course",
        rf"brief[ \t]+{_MARK}[ \t]+course",
        rf"brief[ \t]+hospital[ \t]+{_MARK}",
    )
)
"""De-identification defaces headings too; `rief` is a slip that MIMIC-IV's notes hold."""

_LATER_NAMES = "|".join(
    (
        rf"(?:medications?|{_MARK})[ \t]+on[ \t]+admission",
        rf"(?:discharge|{_MARK})[ \t]+(?:medications?|disposition|diagnos[ie]s|condition|instructions?)",
        r"follow-?up[ \t]+instructions?",
    )
)

_COURSE = re.compile(rf"^[ \t]*(?:{_COURSE_NAMES})[ \t]*(?::|$)", re.IGNORECASE | re.MULTILINE)
_LATER = re.compile(rf"^[ \t]*(?:{_LATER_NAMES})[ \t]*(?::|$)", re.IGNORECASE | re.MULTILINE)
_DIAGNOSIS = re.compile(r"^[ \t]*discharge[ \t]+diagnos[ie]s[ \t]*(?::|$)", re.IGNORECASE | re.MULTILINE)


def hospital_course(text: str) -> str | None:
    """The brief hospital course: from its heading to the first later heading; None without a heading.

    Text on the heading's own line is kept. Source of the headings: MIMIC-IV-Note 2.2.

    >>> hospital_course("Results:\\n___\\nBrief Hospital Course: Stable.\\nHome today.\\nDischarge Condition:\\nGood")
    'Stable.\\nHome today.'
    >>> hospital_course("Discharge Diagnosis:\\nPneumonia") is None
    True
    """
    return _section(text, _COURSE)


def discharge_diagnosis(text: str) -> str | None:
    """The discharge diagnosis, as the physician wrote it; None without a heading.

    >>> discharge_diagnosis("Discharge Diagnosis:\\nPneumonia\\n\\nDischarge Condition:\\nGood")
    'Pneumonia'
    """
    return _section(text, _DIAGNOSIS)


def _section(text: str, heading: re.Pattern[str]) -> str | None:
    start = heading.search(text)
    if start is None:
        return None
    end = _LATER.search(text, start.end())
    return text[start.end() : end.start() if end else len(text)].strip()
