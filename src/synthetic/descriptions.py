"""Writes DRG rows as MIMIC-IV has them: abbreviated, cut, and of several MS-DRG versions in one table."""

from functools import cache
from random import Random

from src.cohort.crosswalk import counterpart
from src.cohort.msdrg import load_drgs, package_table

LONGEST = 80
"""Characters that MIMIC-IV's descriptions are cut at."""

_SHORT = (
    ("WITHOUT ", ("W/O ", "W/O ", "WO ")),
    ("WITH ", ("W ",)),
    (" AND ", (" & ",)),
    ("PROCEDURES", ("PROCEDURES", "PROC")),
    ("PROCEDURE", ("PROCEDURE", "PROC")),
    ("EXCEPT ", ("EXCEPT ", "EXC ")),
    ("CARDIAC CATHETERIZATION", ("CARDIAC CATH", "CARD CATH")),
    ("MAJOR ", ("MAJOR ", "MAJ ")),
    ("RESPIRATORY ", ("RESPIRATORY ", "RESP ")),
    ("DIAGNOSIS", ("DIAGNOSIS", "DIAG")),
    ("DISORDERS", ("DISORDERS", "DISORD")),
    ("MISCELLANEOUS", ("MISC",)),
    ("PERCUTANEOUS", ("PERC", "PERCUTANEOUS")),
)

LATER_VERSION = 0.25
"""Share of rows in a later version's numbering and wording, where that differs."""


def described(drg: str, random: Random) -> tuple[str, str]:
    """Draws code and description of one HCFA row."""
    code, title = drg, load_drgs()[drg].title
    if random.random() < LATER_VERSION:
        code = random.choice(_later_codes(drg))
        title = _later_titles().get(code, title)
    for word, choices in _SHORT:
        if word in title:
            title = title.replace(word, random.choice(choices))
    return code, title.replace(", ", random.choice((", ", " ", ",")))[:LONGEST].strip()


@cache
def _later_codes(drg: str) -> tuple[str, ...]:
    return tuple(later for later, ours in _regrouped().items() if ours == drg) or (drg,)


@cache
def _regrouped() -> dict[str, str | None]:
    """Maps the codes that v36 made of v34's obstetric DRGs back to v34's."""
    return {code: counterpart(code, "v34") for code in load_drgs("v36") if code not in load_drgs()}


@cache
def _later_titles() -> dict[str, str]:
    ours = load_drgs()
    rows = {f"{int(code):03d}": row["desc"] for code, row in package_table("v38").items()}
    return {code: title for code, title in rows.items() if code in ours or code in _regrouped()}
