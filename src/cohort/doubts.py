"""Recognises labels that may be something else: texts, ids, several labels in a cell, small numbers."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from src.cohort.codes import apart, bare, names_its_kind

LONGEST = 300
"""Characters of the longest label that can be a class: its name goes into records, and a note's text must not."""

MOST_WORDS = 20
"""Words of a label on average, above which the column is one of texts; MS-DRGs' titles have up to 25, 9 on average."""

FEWEST_NOTES = 8
"""Notes below which as many classes as notes say nothing."""

_CODE = re.compile(r"[A-Za-z]?[0-9]{2}[0-9A-Za-z]?(?:\.?[0-9A-Za-z]{1,4})?")
_SURE, _UNSURE = (";", "|", "\n", "\t"), (",", "/", "+")
"""What stands between labels, and what stands in names as well."""


def why_texts(rows: Mapping[str, int]) -> str | None:
    """Says why labels, with their rows, are texts; None where they are not. It shows none of them."""
    longest = max(rows, key=len, default="")
    if len(longest) > LONGEST:
        return f"one of its labels has {len(longest):,} characters, and a class's name has at most {LONGEST}"
    words = sum(len(label.split()) * count for label, count in rows.items()) / max(1, sum(rows.values()))
    return f"its labels have {words:.0f} words on average" if words > MOST_WORDS else None


def is_a_class_a_note(rows: Mapping[str, int]) -> bool:
    """Says whether there are more than half as many labels as notes.

    >>> is_a_class_a_note({f"id {n}": 1 for n in range(60)}), is_a_class_a_note({"a": 30, "b": 30})
    (True, False)
    """
    notes = sum(rows.values())
    return notes >= FEWEST_NOTES and len(rows) > notes / 2


def with_several(labels: Sequence[str]) -> list[str]:
    """Picks the labels that are several labels in a cell.

    A sign such as `;` parts them where each part is a code, or comes again in another label; a comma, which stands in
    names too, only where each part is a code, or a whole label elsewhere. What brackets hold is a list.

    >>> with_several(["291;194", "194"]), with_several(["a, b", "a", "b"]), with_several(["stroke, left", "stroke"])
    (['291;194'], ['a, b'], [])
    """
    several: set[str] = set()
    whole = set(labels)
    for sign in (*_SURE, *_UNSURE):
        parts = {label: _parts(label, sign) for label in labels}
        often = Counter(part for label in labels for part in set(parts[label]))
        for label in labels:
            are_labels = [
                (_CODE.fullmatch(part) and (len(part) > 2 or sign in _SURE))
                or (part in whole if sign in _UNSURE else often[part] > 1)
                for part in parts[label]
            ]
            listed = label.startswith("[") and label.endswith("]")
            if len(are_labels) > 1 and (listed or all(are_labels)):
                several.add(label)
    return sorted(several)


def _parts(label: str, sign: str) -> list[str]:
    parts = (part.strip(" '\"") for part in label.strip("[](){} ").split(sign))
    return [part for part in parts if part]


def are_small_numbers(labels: Sequence[str]) -> bool:
    """Says whether labels are classes, scores or ages: few above 99, without an MS-DRG's leading zeros.

    >>> are_small_numbers(["1", "2", "3"]), are_small_numbers(["039", "291"]), are_small_numbers(["39", "291"])
    (True, False, False)
    """
    if any(names_its_kind(label) or apart(label)[1] for label in labels):
        return False
    written = [re.split("[.,]", bare(label))[0] for label in labels]
    numbers = sorted(map(int, written))
    if numbers in (list(range(len(numbers))), list(range(1, len(numbers) + 1))):
        return True
    if any(len(text) >= 3 and text.startswith("0") and int(text) for text in written):
        return False
    below = sum(number < 100 for number in numbers)
    tens = len(numbers) > 1 and all(number % 10 == 0 for number in numbers)
    return tens or below == len(numbers) or (2 * below >= len(numbers) and numbers[-1] < 150)


def alike(labels: Sequence[str]) -> list[str]:
    """Picks the first labels that differ in capitals, blanks or signs only; empty where none do.

    >>> alike(["Stroke", "sepsis", "stroke "])
    ['Stroke', 'stroke ']
    """
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(" ".join(re.findall(r"\w+", label.casefold())) or label, []).append(label)
    return next((group for group in groups.values() if len(group) > 1), [])


def shown(labels: Sequence[str], most: int = 3) -> str:
    """Writes the first labels as messages show them."""
    short = [label if len(label) <= 40 else f"{label[:37]}..." for label in labels[:most]]
    return ", ".join(short) + (", ..." if len(labels) > most else "")


def kept(label: str) -> str:
    """Writes a label as records keep it: what is too long for one may be a note.

    >>> kept("stroke"), kept("he came " * 60)
    ('stroke', '(a text of 120 words)')
    """
    return label if len(label) <= LONGEST else f"(a text of {len(label.split())} words)"
