"""Fills templates: `{a|b}` draws a choice, `{10-20}` a number, `{He}` and `{she}` the patient's pronoun."""

import re
from functools import cache
from random import Random

_SLOT = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+(?:\.(\d+))?)-(\d+(?:\.\d+)?)")
_PRONOUNS = {"he", "she", "He", "She"}
LABS = {
    "WBC": (12, 24),
    "Lactate": (3, 8),
    "TropnT": (1, 6),
    "Hct": (21, 27),
    "Creat": (3, 6),
    "TotBili": (3, 12),
}
"""Values of laboratory slots in abnormal states."""


@cache
def _parts(template: str) -> tuple[str, ...]:
    return tuple(_SLOT.split(template))


@cache
def _range(slot: str) -> tuple[int, int, int] | None:
    """Reads lower and upper bound in units of the last decimal, and the number of decimals."""
    match = _RANGE.fullmatch(slot)
    if not match:
        return None
    decimals = len(match.group(2) or "")
    low, high = (round(float(bound) * 10**decimals) for bound in (match.group(1), match.group(3)))
    return low, high, decimals


@cache
def _choices(slot: str) -> tuple[str, ...]:
    return tuple(slot.split("|"))


def fill(template: str, random: Random, sex: str) -> str:
    """Fills every slot of a template.

    >>> fill("{He} was given {2-2} units", Random(0), "F")
    'She was given 2 units'
    >>> fill("pH {7.14-7.14}", Random(0), "F")
    'pH 7.14'
    """
    parts = _parts(template)
    if len(parts) == 1:
        return template
    said = list(parts)
    for index in range(1, len(parts), 2):
        slot = parts[index]
        if slot in _PRONOUNS:
            word = "she" if sex == "F" else "he"
            said[index] = word.capitalize() if slot[0].isupper() else word
        elif slot in LABS:
            said[index] = str(random.randint(*LABS[slot]))
        elif bounds := _range(slot):
            low, high, decimals = bounds
            number = random.randint(low, high)
            said[index] = f"{number / 10**decimals:.{decimals}f}" if decimals else str(number)
        else:
            said[index] = random.choice(_choices(slot))
    return "".join(said)


def sentence(text: str) -> str:
    """Writes the first letter as a capital, and a full stop at the end.

    >>> sentence("improved with fluids")
    'Improved with fluids.'
    """
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
