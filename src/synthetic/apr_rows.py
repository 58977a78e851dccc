"""Writes rows of type APR as MIMIC-IV has them: a plain grouping by principal condition, of no proprietary grouper."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from random import Random

from src.synthetic.facts import Admission
from src.synthetic.grouper import level
from src.synthetic.knowledge import knowledge

LONGEST = 70
"""Characters that descriptions are cut at."""

SHORTENED, WITHOUT_SEVERITY, TWO = 0.15, 0.01, 0.01
"""Shares of rows with a shortened description, of rows without a severity, and of admissions with two rows."""


def apr_rows(stay: Admission) -> Iterator[tuple[str, str, int | str, int | str]]:
    """Yields code, description, severity and risk of mortality of each row of an admission.

    A code is a principal condition, with or without a procedure; conditions of the long tail share one by the letter
    of their ICD-10-CM code. Severity grows with MCC and CC, risk with MCC, age and death. What varies has a random
    source of the admission's own: hospitals of before have the same other rows.
    """
    random = Random(f"apr {stay.hadm_id}")
    names = _names()
    name = stay.principal.name if stay.principal.name in names else stay.code[0]
    code = f"{2 * names[name] + bool(stay.procedures):03d}"
    title = stay.principal.says[0] if name == stay.principal.name else f"other diagnoses of ICD-10-CM {name}"
    title = f"procedures for {title}" if stay.procedures else title
    levels = Counter(map(level, stay.coded))
    severity = 1 + bool(levels["CC"] or levels["MCC"]) + bool(levels["MCC"] or levels["CC"] > 2) + (levels["MCC"] > 1)
    mortality = min(4, 1 + min(2, levels["MCC"]) + (stay.age >= 75) + stay.died)
    for _ in range(2 if random.random() < TWO else 1):
        short = title.replace("procedures", "proc").replace("diagnoses", "diag").replace(" and ", " & ")
        described = (short if random.random() < SHORTENED else title).upper()[:LONGEST]
        known = random.random() >= WITHOUT_SEVERITY
        yield code, described, severity if known else random.choice(("", 0)), mortality
        severity = 1 + severity % 4


@cache
def _names() -> dict[str, int]:
    """Numbers the curated conditions, and behind them the letters of codes."""
    names = [condition.name for condition in knowledge().principals]
    return {name: number for number, name in enumerate([*names, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"], 1)}
