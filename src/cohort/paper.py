"""The hospital course as the paper's code cuts it, defects included, in linear time.

Of its four patterns the first that fits decides. Three begin at `Brief Hospital Course` or a masked heading,
drop the rest of that line, and end at the last terminator of the note; the third demands two runs of 24 blanks
in its text and never fits. Source: the behaviour of hanyin88/DRG-LLaMA.
"""

import polars as pl

from src.cohort.sections import from_byte, to_byte

HEADING = r"Brief Hospital Course[^\n]*\n"
MASKED = r"(?:Mg-[12]\.|LACTATE-[12]\.|Epi-|Gap-|COUNT-|TRF-)___[^\n]*\n"
ON_ADMISSION = r"Medications on Admission|___  on Admission|___ on Admission"

PATTERNS = (
    (HEADING, ON_ADMISSION),
    (HEADING, "Discharge Medications"),
    (MASKED, "Medications on Admission"),
)
"""Heading and terminator of the patterns p1, p2 and p4."""


def paper_course(texts: pl.Series) -> pl.Series:
    """The paper's hospital course of each note; null where no pattern fits.

    >>> note = "Brief Hospital Course: gone\\nkept\\nMedications on Admission:\\nDischarge\\nMedications on Admission"
    >>> paper_course(pl.Series([note, "BRIEF HOSPITAL COURSE:\\nlost\\nDischarge Medications"])).to_list()
    ['kept\\nMedications on Admission:\\nDischarge', None]
    """
    found = pl.Series([None] * len(texts), dtype=pl.String)
    for heading, terminator in PATTERNS:
        found = found.zip_with(found.is_not_null(), _between(texts, heading, terminator))
    return found


def _between(texts: pl.Series, heading: str, terminator: str) -> pl.Series:
    tail = from_byte(texts, texts.str.find(heading)).str.replace(rf"\A{heading}", "")
    # Greedy up to the last terminator: what stands before it is the text.
    last = tail.str.extract(rf"(?s)\A.*({terminator})", 0).str.len_bytes()
    end = last - tail.str.extract(rf"(?s)\A.*({terminator})", 1).str.len_bytes()
    body = to_byte(tail, end)
    frame = pl.DataFrame({"body": body, "fits": end.is_not_null()})
    return frame.select(pl.when("fits").then(pl.col("body").str.strip_chars())).to_series()
