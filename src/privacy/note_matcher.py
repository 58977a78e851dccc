"""What W&B holds of runs is matched with the notes of their cohort: words in a row, identifiers, names, dates.

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

MAX_LOCATIONS = 20
"""Locations in one run that are named for one phrase."""

TITLES = ("Dr", "Mr", "Ms", "Miss", "Prof", "Name", "Attending", "Provider", "Physician", "PCP", "Surgeon", "Patient")
TITLED = re.compile(
    r"(?:\b(?:Drs?|Mrs?|Ms|Miss|Prof)\b\.?|\b(?:Name|Attending|Provider|Physician|PCP|Surgeon|Patient)\s*:)"
    r"\s{0,4}((?:[A-Z][\w'’-]+[, ]{1,2}){0,2}[A-Z][\w'’-]+)"
)
"""Who is named in a note, as `Dr. Jane Example` or `Attending: Example`; a struck-out `___` is nobody."""

Location = tuple[int, str]
"""Run, and where in it a text stands."""


@dataclass
class NoteMatcher:
    """Holds what several runs contain, as what is looked for in notes.

    Attributes:
        phrases: `WORDS` words in a row, and where they are.
        words: of which phrases are made.
        tokens: what may be an identifier, in canonical form.
        names: single words that may be a name.
        dates: as written.
    """

    phrases: dict[str, list[Location]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    tokens: dict[str, list[Location]] = field(default_factory=dict)
    names: dict[str, list[Location]] = field(default_factory=dict)
    dates: dict[str, list[Location]] = field(default_factory=dict)

    def add(self, run: int, strings: Iterable[LoggedString], own_words: set[str]) -> None:
        """Adds what a run holds; `own_words` are those of which its metrics and axes are named, which are no names."""
        all_words, value_words = list[str](), list[str]()
        for string in strings:
            location = (run, string.location)
            if string.number:
                _put(self.tokens, canonical(string.text), location)
                continue
            texts = list(dict.fromkeys(decodings(string.text)))
            for text in texts:
                self._phrases(words_of(text), location)
                self._singles(text, location, own_words, string.log)
            decoded = max(texts[1:], key=len, default=texts[0])
            for stream, text in ((all_words, texts[0]), (value_words, "" if string.key else decoded)):
                stream += words_of(text)
                self._phrases(stream[-2 * WORDS :], location)  # across the strings of a file
                del stream[: -WORDS + 1]

    def _phrases(self, words: list[str], location: Location) -> None:
        for start in range(len(words) - WORDS + 1):
            phrase = words[start : start + WORDS]
            if sum(word.isalpha() and len(word) > 1 for word in phrase) >= 2:  # not a row of numbers
                self.words.update(phrase)
                _put(self.phrases, " ".join(phrase), location)

    def _singles(self, text: str, location: Location, own_words: set[str], log: bool) -> None:
        for name in candidates(text):
            if name not in own_words and not (log and name.isalpha()):
                _put(self.tokens, name, location)
        for word in WORD.findall(text):
            folded = word.casefold()
            if len(word) > 2 and word.isalpha() and folded not in own_words and (not log or word[:1].isupper()):
                _put(self.names, folded, location)
        for date in DATE.finditer(text):
            _put(self.dates, date[0], location)

    def against(self, cohort: Cohort) -> Iterator[tuple[int, Finding]]:
        """Streams a cohort past the traces, and yields each finding with the number of its run."""
        seen: set[tuple[str, str]] = set()
        for kind, text in self._hits(cohort):
            if (kind, text) in seen:
                continue
            seen.add((kind, text))
            locations = {"note": self.phrases, "name": self.names, "date": self.dates}.get(kind, self.tokens)
            for run, location in locations[text]:
                yield run, Finding(location, KINDS[kind])

    def _hits(self, cohort: Cohort) -> Iterator[tuple[str, str]]:
        notes = pl.scan_parquet(cohort.folder / NOTES)
        count = notes.select(pl.len()).collect().item()
        for column, names in identifiers(cohort):
            yield from ((column, name) for name in names.filter(names.is_in(list(self.tokens))))
        for start in track(range(0, count, PIECE), total=-(-count // PIECE), what="notes matched", unit="10,000 notes"):
            for row in notes.select("text", "diagnosis").slice(start, PIECE).collect().iter_rows():
                for text in row:
                    yield from self._of_text(text or "")

    def _of_text(self, text: str) -> Iterator[tuple[str, str]]:
        words, consecutive = words_of(text), 0
        for index, word in enumerate(words):
            consecutive = consecutive + 1 if word in self.words else 0
            if consecutive >= WORDS and (phrase := " ".join(words[index - WORDS + 1 : index + 1])) in self.phrases:
                yield "note", phrase
        for person in people(text):
            for name in words_of(person):
                if name in self.names and len(name) > 2:
                    yield "name", name
        if self.dates:
            yield from (("date", match[0]) for match in DATE.finditer(text) if match[0] in self.dates)


KINDS = {
    "note": f"{WORDS} words in a row of a note",
    "name": "the name of a person in a note",
    "date": "a date in a note",
    **{column: f"the id of a {noun}".replace("a a", "an a") for column, noun in COLUMNS.items()},
}
"""What findings are called."""


def words_of(text: str) -> list[str]:
    """Splits a text into words, without case and punctuation.

    >>> words_of("Pt was ___ admitted,\\nw/ CHF;")
    ['pt', 'was', 'admitted', 'w', 'chf']
    """
    if text.isascii():  # several times faster
        return text.encode().translate(LOWER).decode().split()
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def people(text: str) -> Iterator[str]:
    """Yields who is named in a text.

    >>> list(people("Seen by Dr. Jane Roe and Dr. ___. Attending: Poe, Ann"))
    ['Jane Roe', 'Poe, Ann']
    """
    for title in TITLES:  # one expression for all takes ten times as long
        start = text.find(title)
        while start >= 0:
            if match := TITLED.match(text, start):
                yield match[1]
            start = text.find(title, start + 1)


def _put(locations_of: dict[str, list[Location]], text: str, location: Location) -> None:
    locations = locations_of.setdefault(text, [])
    # Runs are added one after the other, so the last locations show how many the run has; none may hide another run's.
    recent = locations[-MAX_LOCATIONS:]
    if location not in recent and sum(run == location[0] for run, _ in recent) < MAX_LOCATIONS:
        locations.append(location)
