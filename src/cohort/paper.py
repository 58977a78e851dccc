"""The hospital course as the paper's code cuts it, defects included, in linear time.

Of its four patterns the first that fits decides. Two begin at `Brief Hospital Course`, drop the rest of that line, and
end at the last terminator of the note; the third demands two runs of 24 blanks in its text and never fits; the fourth
begins behind a masked heading and keeps its line. Blanks around the text stay. Source: the behaviour of
hanyin88/DRG-LLaMA.
"""

import re

import polars as pl

HEADING = "Brief Hospital Course"
MASKED = re.compile(r"(?:Mg-[12].|LACTATE-[12].|Epi-|Gap-|COUNT-|TRF-)___")
ON_ADMISSION = ("Medications on Admission", "___  on Admission", "___ on Admission")
DISCHARGE = ("Discharge Medications",)


def paper_course(texts: pl.Series) -> pl.Series:
    """The paper's hospital course of each note; null where no pattern fits.

    >>> note = "Brief Hospital Course: gone\\nkept\\nMedications on Admission:\\nDischarge\\nMedications on Admission"
    >>> paper_course(pl.Series([note, "BRIEF HOSPITAL COURSE:\\nlost\\nDischarge Medications"])).to_list()
    ['\\nkept\\nMedications on Admission:\\nDischarge\\n', None]
    """
    return pl.Series([None if text is None else _course(text) for text in texts], dtype=pl.String)


def _course(text: str) -> str | None:
    """The patterns p1, p2 and p4 in turn."""
    heading = text.find(HEADING)
    if heading >= 0 and (start := _last_newline(text, heading)) >= 0:
        for terminators in (ON_ADMISSION, DISCHARGE):
            if (end := _last(text, terminators, start + 1)) >= 0:
                return text[start:end]
    if (end := text.rfind(ON_ADMISSION[0])) >= 0 and (masked := MASKED.search(text, 0, end)):
        line = text.find("\n", masked.end(), end)
        return text[masked.end() : end] if line >= 0 else None
    return None


def _last_newline(text: str, start: int) -> int:
    """The last of the line ends that follow the line at `start`; -1 without one."""
    line = text.find("\n", start)
    while 0 <= line < len(text) - 1 and text[line + 1] == "\n":
        line += 1
    return line


def _last(text: str, terminators: tuple[str, ...], start: int) -> int:
    return max(text.rfind(terminator, start) for terminator in terminators)
