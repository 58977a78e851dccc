"""Says what a coder is shown of a case: its note with evidence, the families of the likely DRGs, what decides there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from src.cohort.apr import AprDrg
from src.cohort.msdrg import Drg, Severity

COMPLETE = (
    "Check that what the record says of them agrees throughout: notes, results, treatment. Where it is unclear, "
    "conflicting or incomplete, ask the provider an open question that names what the record holds, and leaves the "
    "answer to them."
)
"""After the ACDIS and AHIMA brief on compliant queries: none leads to a diagnosis, or speaks of payment."""

DECIDING = {
    frozenset({Severity.WITH_MCC, Severity.WITH_CC}): "whether a secondary diagnosis is a major one (MCC) or not (CC)",
    frozenset({Severity.WITH_CC, Severity.WITHOUT_CC_MCC}): "whether any secondary diagnosis is a CC",
    frozenset(
        {Severity.WITH_MCC, Severity.WITHOUT_CC_MCC}
    ): "whether secondary diagnoses are MCC, or neither CC nor MCC",
    frozenset({Severity.WITH_MCC, Severity.WITHOUT_MCC}): "whether any secondary diagnosis is an MCC",
}


def families(
    proposal: Mapping[str, Any], drgs: Mapping[str, Drg | AprDrg]
) -> dict[str, tuple[list[Drg | AprDrg], str]]:
    """Lists by base DRG all DRGs of each likely one's family, the likeliest family first, and what decides within."""
    listed = {}
    for base in dict.fromkeys(drgs[code].base_drg for code in proposal["drgs"] or [] if code in drgs):
        members = sorted((drg for drg in drgs.values() if drg.base_drg == base), key=lambda drg: drg.code)
        listed[base] = members, documentation([drg.severity for drg in members])
    return listed


def documentation(severities: Sequence[Severity]) -> str:
    """Writes in non-leading words what kind of documentation decides between the DRGs of a family.

    >>> documentation([Severity.WITH_MCC, Severity.WITHOUT_MCC])[:66]
    'These differ by whether any secondary diagnosis is an MCC. Check t'
    >>> documentation([Severity.NONE])
    'No secondary diagnosis changes the DRG within this family; its principal diagnosis or procedure decides.'
    >>> documentation([Severity.ILLNESS_1, Severity.ILLNESS_2])[:72]
    'The severity of illness follows from all secondary diagnoses together. C'
    """
    if min(severities) > Severity.NONE:
        return f"The severity of illness follows from all secondary diagnoses together. {COMPLETE}"
    pairs = [words for pair, words in DECIDING.items() if pair <= set(severities)]
    if not pairs:
        return (
            "No secondary diagnosis changes the DRG within this family; its principal diagnosis or procedure decides."
        )
    if len(pairs) == 3:  # with, with and without
        pairs = ["whether secondary diagnoses are MCC, CC or neither"]
    return f"These differ by {'; '.join(pairs)}. {COMPLETE}"


def marked(note: str, sentences: Sequence[str]) -> Iterator[tuple[str, int | None]]:
    """Cuts a note into parts, each with the rank of the sentence that it is, from 1; None between them.

    >>> list(marked("Fever. Cough. Home.", ["Cough.", "gone"]))
    [('Fever. ', None), ('Cough.', 1), (' Home.', None)]
    """
    places = sorted(
        (note.find(sentence), rank) for rank, sentence in enumerate(sentences, 1) if sentence and sentence in note
    )
    end = 0
    for start, rank in places:
        if start < end:
            continue
        if start > end:
            yield note[end:start], None
        end = start + len(sentences[rank - 1])
        yield note[start:end], rank
    if end < len(note):
        yield note[end:], None
