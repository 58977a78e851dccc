"""Cuts from a discharge summary the sections that an admission note has, and nothing of what came later."""

import polars as pl

from src.cohort.sections import HEADINGS, Sections

ADMISSION_SECTIONS = (
    "chief_complaint", "history_of_present_illness", "past_medical_history", "medications_on_admission", "allergies",
    "physical_exam", "family_history", "social_history",
)  # fmt: skip
"""As CORe cuts them (van Aken et al. 2021), in the order in which they are shown."""

LATER_SECTIONS = tuple(name for name in HEADINGS if name not in ADMISSION_SECTIONS)

# Summaries examine twice under one heading: "DISCHARGE PHYSICAL EXAM", "Exam on day of transfer", "At d/c:".
_OF_EXAM = (
    "physical|exam|examination|pe|vitals?|signs|vs|labs?|status|on|at|upon|prior|to|before|the|day|date|time|of|last"
)
LATER_EXAM = rf"(?im)^[\W_]*(?:(?:{_OF_EXAM})[\W_]+)*(?:discharge|transfer|d/?c)\b"


def admission_note(sections: Sections, texts: pl.Series) -> pl.Series:
    """Cuts the admission note from each summary: a title, and the section below it; null where there is none.

    Sections end at the heading of any later section, also in a summary that has them in an odd order.

    >>> summary = "Chief Complaint:\\ncough\\nPhysical Exam:\\nclear\\nDischarge exam: worse\\nHospital Course: long"
    >>> print(admission_note(Sections(), pl.Series([summary]))[0])
    Chief complaint:
    cough
    Physical exam:
    clear
    """
    # Medicines stand below the hospital course; what else stands there is of later days.
    head = sections.before(texts, [name for name in LATER_SECTIONS if name != "procedure"])
    columns = []
    for name in ADMISSION_SECTIONS:
        section = sections.find(texts if name == "medications_on_admission" else head, name)
        section = sections.before(section, LATER_SECTIONS)
        if name == "physical_exam":
            section = section.str.replace(f"{LATER_EXAM}(?s:.*)", "")
        columns.append(section.str.strip_chars().alias(name))
    titled = [
        pl.when(pl.col(name) != "").then(pl.lit(f"{name.replace('_', ' ').capitalize()}:\n") + pl.col(name))
        for name in ADMISSION_SECTIONS
    ]
    joined = pl.concat_str(titled, separator="\n", ignore_nulls=True)
    return pl.DataFrame(columns).select(pl.when(joined != "").then(joined).alias("text"))["text"]
