"""What W&B holds of runs, matched against the notes of their cohort: words in a row, identifiers, names, dates.

The traces are small and stay in memory; the notes are streamed past them once for all runs of a cohort.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import polars as pl

from src.cli.progress import track
from src.cohort.prepared import NOTES, Cohort
from src.privacy.allowed import DATE, Finding, LoggedString
from src.privacy.decodings import WORD, decodings
from src.privacy.identifiers import COLUMNS, candidates, canonical, identifiers

WORDS = 5
"""Words in a row that make a phrase a note's."""

PIECE = 10_000
"""Notes at a time: a row group of `notes.parquet`."""

LOWER = bytes(ord(chr(code).lower()) if chr(code).isalnum() and code < 128 else 32 for code in range(256))
"""From each byte of ASCII text to itself in lower case, or to a blank."""

PLACES = 20
"""Places of one run that are named for one phrase."""

TITLES = ("Dr", "Mr", "Ms", "Miss", "Prof", "Name", "Attending", "Provider", "Physician", "PCP", "Surgeon", "Patient")
TITLED = re.compile(
    r"(?:\b(?:Drs?|Mrs?|Ms|Miss|Prof)\b\.?|\b(?:Name|Attending|Provider|Physician|PCP|Surgeon|Patient)\s*:)"
    r"\s{0,4}((?:[A-Z][\w'’-]+[, ]{1,2}){0,2}[A-Z][\w'’-]+)"
)
"""Who is named in a note, as `Dr. Jane Example` or `Attending: Example`; a struck-out `___` is nobody."""

Place = tuple[int, str]
"""Run and place."""


@dataclass
class NoteMatcher:
    """What was found in several runs, as what is looked for in notes.

    Attributes:
        phrases: `WORDS` words in a row, and where they are.
        words: of which phrases are made.
        tokens: what may be an identifier, in canonical form.
        names: single words that may be a name.
        dates: as written.
    """

    phrases: dict[str, list[Place]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    tokens: dict[str, list[Place]] = field(default_factory=dict)
    names: dict[str, list[Place]] = field(default_factory=dict)
    dates: dict[str, list[Place]] = field(default_factory=dict)

    def add(self, run: int, held: Iterable[LoggedString], own_words: set[str]) -> None:
        """Adds what a run holds; `own_words` are those of which its metrics and axes are named, which are no names."""
        told, values = list[str](), list[str]()
        for each in held:
            place = (run, each.place)
            if each.number:
                _put(self.tokens, canonical(each.text), place)
                continue
            found = list(dict.fromkeys(decodings(each.text)))
            for text in found:
                self._phrases(words_of(text), place)
                self._singles(text, place, own_words, each.log)
            decoded = max(found[1:], key=len, default=found[0])
            for stream, text in ((told, found[0]), (values, "" if each.key else decoded)):
                stream += words_of(text)
                self._phrases(stream[-2 * WORDS :], place)  # across the strings of a file
                del stream[: -WORDS + 1]

    def _phrases(self, words: list[str], place: Place) -> None:
        for at in range(len(words) - WORDS + 1):
            phrase = words[at : at + WORDS]
            if sum(word.isalpha() and len(word) > 1 for word in phrase) >= 2:  # not a row of numbers
                self.words.update(phrase)
                _put(self.phrases, " ".join(phrase), place)

    def _singles(self, text: str, place: Place, own_words: set[str], log: bool) -> None:
        for name in candidates(text):
            if name not in own_words and not (log and name.isalpha()):
                _put(self.tokens, name, place)
        for word in WORD.findall(text):
            folded = word.casefold()
            if len(word) > 2 and word.isalpha() and folded not in own_words and (not log or word[:1].isupper()):
                _put(self.names, folded, place)
        for date in DATE.finditer(text):
            _put(self.dates, date[0], place)

    def against(self, cohort: Cohort) -> Iterator[tuple[int, Finding]]:
        """Streams a cohort past the traces: each finding with the run that it is of."""
        seen: set[tuple[str, str]] = set()
        for kind, text in self._hits(cohort):
            if (kind, text) in seen:
                continue
            seen.add((kind, text))
            held = {"note": self.phrases, "name": self.names, "date": self.dates}.get(kind, self.tokens)
            for run, place in held[text]:
                yield run, Finding(place, KINDS[kind])

    def _hits(self, cohort: Cohort) -> Iterator[tuple[str, str]]:
        notes = pl.scan_parquet(cohort.folder / NOTES)
        count = notes.select(pl.len()).collect().item()
        for column, names in identifiers(cohort):
            yield from ((column, name) for name in names.filter(names.is_in(list(self.tokens))))
        for at in track(range(0, count, PIECE), total=-(-count // PIECE), what="notes matched", unit="10,000 notes"):
            for row in notes.select("text", "diagnosis").slice(at, PIECE).collect().iter_rows():
                for text in row:
                    yield from self._of_text(text or "")

    def _of_text(self, text: str) -> Iterator[tuple[str, str]]:
        words, row = words_of(text), 0
        for at, word in enumerate(words):
            row = row + 1 if word in self.words else 0
            if row >= WORDS and (phrase := " ".join(words[at - WORDS + 1 : at + 1])) in self.phrases:
                yield "note", phrase
        for person in people(text):
            for name in words_of(person):
                if name in self.names and len(name) > 2:
                    yield "name", name
        if self.dates:
            yield from (("date", found[0]) for found in DATE.finditer(text) if found[0] in self.dates)


KINDS = {
    "note": f"{WORDS} words in a row of a note",
    "name": "the name of a person in a note",
    "date": "a date in a note",
    **{column: f"the id of a {what}".replace("a a", "an a") for column, what in COLUMNS.items()},
}
"""What findings are called."""


def words_of(text: str) -> list[str]:
    """The words of a text, case and punctuation left out.

    >>> words_of("Pt was ___ admitted,\\nw/ CHF;")
    ['pt', 'was', 'admitted', 'w', 'chf']
    """
    if text.isascii():  # several times faster
        return text.encode().translate(LOWER).decode().split()
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def people(text: str) -> Iterator[str]:
    """Who is named in a text.

    >>> list(people("Seen by Dr. Jane Roe and Dr. ___. Attending: Poe, Ann"))
    ['Jane Roe', 'Poe, Ann']
    """
    for title in TITLES:  # one expression for all takes ten times as long
        at = text.find(title)
        while at >= 0:
            if found := TITLED.match(text, at):
                yield found[1]
            at = text.find(title, at + 1)


def _put(held: dict[str, list[Place]], text: str, place: Place) -> None:
    places = held.setdefault(text, [])
    if place not in places and len(places) < PLACES * 50:
        places.append(place)
