"""A passage is a piece of a note that knows where in it which fact is mentioned, whatever is done to it."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate

from src.synthetic.wording import sentence


class Role(StrEnum):
    """Names what a fact is to its admission."""

    PRINCIPAL = "principal"
    SECONDARY = "secondary"
    PROCEDURE = "procedure"
    ABSENT = "absent"
    """The patient has not got it: it is denied, long past, or a relative's."""


class Manner(StrEnum):
    """Names how a fact is mentioned."""

    NAME = "name"
    FINDING = "finding"
    """A sentence of what was seen or measured, without the name."""
    TREATMENT = "treatment"
    """A sentence of what was done about it."""
    DENIED = "denied"
    HISTORY = "history"
    FAMILY = "family"


@dataclass(frozen=True)
class Fact:
    """Names a diagnosis or a procedure of an admission."""

    role: Role
    code: str
    """ICD-10-CM, or ICD-10-PCS with `+` between codes that are done together; empty for a relative's."""


@dataclass(frozen=True)
class Mention:
    """Holds where a fact is mentioned, in characters."""

    start: int
    end: int
    manner: Manner
    fact: Fact


@dataclass(frozen=True)
class Passage:
    """Holds a text with its mentions."""

    text: str
    mentions: tuple[Mention, ...] = ()

    def as_sentence(self) -> "Passage":
        """Writes the first letter as a capital, and a full stop at the end; no text of ours begins with a blank."""
        return replace(self, text=sentence(self.text))


def mentioned(text: str, manner: Manner, fact: Fact) -> Passage:
    """Makes a passage that mentions a fact from its first letter to its last."""
    return Passage(text, (Mention(0, len(text), manner, fact),))


def joined(separator: str, parts: Iterable[Passage | str]) -> Passage:
    """Joins passages as `str.join` joins texts.

    >>> gout = mentioned("gout", Manner.NAME, Fact(Role.SECONDARY, "M109"))
    >>> line = joined(", ", ["CAD", joined("", ["known ", gout])])
    >>> line.text, [(mention.start, mention.end) for mention in line.mentions]
    ('CAD, known gout', [(11, 15)])
    """
    whole = [Passage(part) if isinstance(part, str) else part for part in parts]
    starts = accumulate((len(part.text) + len(separator) for part in whole), initial=0)
    moved = [
        replace(mention, start=start + mention.start, end=start + mention.end)
        for start, part in zip(starts, whole, strict=False)
        for mention in part.mentions
    ]
    return Passage(separator.join(part.text for part in whole), tuple(moved))


def reworded(passage: Passage, words: Sequence[str]) -> Passage:
    """Puts a passage's words in the place of those that blanks divide it into, one for each.

    >>> gout = mentioned("acute gout", Manner.NAME, Fact(Role.SECONDARY, "M109"))
    >>> line = reworded(joined("", ["had ", gout, "."]), ["had", "___", "gout."])
    >>> line.text[line.mentions[0].start : line.mentions[0].end]
    '___ gout'
    """
    old = passage.text.split(" ")
    before = list(accumulate((len(word) + 1 for word in old), initial=0))
    after = list(accumulate((len(word) + 1 for word in words), initial=0))

    def moved(offset: int) -> int:
        index = bisect_right(before, offset) - 1
        inside, length = offset - before[index], len(words[index])
        return after[index] + (length if inside == len(old[index]) else min(inside, length))

    mentions = [replace(mention, start=moved(mention.start), end=moved(mention.end)) for mention in passage.mentions]
    return Passage(" ".join(words), tuple(mentions))
