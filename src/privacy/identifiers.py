"""Identifiers are compared without separators, leading zeros and case, for people write them in many forms."""

import re
import unicodedata
from collections.abc import Iterator

import polars as pl

from src.cohort.prepared import NOTES, SOURCE_IDS, Cohort
from src.privacy.decodings import WORD

PIECES = 6
"""Parts of an identifier that separators may part."""

SHORTEST, SHORTEST_NUMBER = 5, 6
"""Characters of an identifier, and digits of one of digits alone, below which it is not told from words and counts."""

GAP = re.compile(r"[-_./ :#]{0,2}")
"""What may part an identifier."""

NO_ID = re.compile(
    r"(?<![\w.])(?:0|[1-9]\d*)\.\d+(?:[eE][+-]?\d+)?(?![\w.])|(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)|(?<!\d)\d{1,2}:\d{2}(?::\d{2})?(?!\d)"
)
"""Decimal numbers, days and times of day."""

ZEROS = re.compile(r"^([^\W\d_]*)0+(?=\d)")
COLUMNS = {"subject_id": "patient", "hadm_id": "admission", "note_id": "note"}


def canonical(text: str) -> str:
    """Strips an identifier of separators, leading zeros and case.

    >>> canonical("MR-0012345"), canonical("mr12345"), canonical("00345617"), canonical("734-56-1017")
    ('mr12345', 'mr12345', '345617', '734561017')
    """
    joined = "".join(WORD.findall(unicodedata.normalize("NFKC", text).lower()))
    return ZEROS.sub(r"\1", joined)


def candidates(text: str) -> Iterator[str]:
    """Yields what in a text may be an identifier, in canonical form.

    >>> sorted(set(candidates("group MR 001-2345 at 0.1234567")))
    ['12345at', '2345at', 'group', 'groupmr1', 'groupmr12345', 'groupmr12345at', 'mr12345', 'mr12345at']
    """
    plain = NO_ID.sub("\n", unicodedata.normalize("NFKC", text))
    pieces = [(word[0], *word.span()) for word in WORD.finditer(plain)]
    for first, (word, _, end) in enumerate(pieces):
        joined = word
        yield from _long_enough(joined, single=True)
        for following, start, stop in pieces[first + 1 : first + PIECES]:
            if not GAP.fullmatch(plain, end, start):
                break
            joined, end = joined + following, stop
            yield from _long_enough(joined, single=False)


def _long_enough(joined: str, single: bool) -> Iterator[str]:
    name = canonical(joined)
    fewest = SHORTEST_NUMBER if name.isdigit() and not single else SHORTEST
    if len(name) >= fewest and (single or any(map(str.isdigit, name))):
        yield name


def identifiers(cohort: Cohort) -> Iterator[tuple[str, pl.Series]]:
    """Yields the canonical identifiers of a cohort's patients, admissions and notes, each once, by column.

    A cohort of a hospital's own file has those of its patients, as the file had them; its admissions and notes are
    rows of the file.
    """
    notes = pl.scan_parquet(cohort.folder / NOTES)
    columns = ["subject_id"] if cohort.protocol == "own" else list(COLUMNS)
    for column in columns:
        kept = notes if column == "note_id" else notes.filter(pl.col(column) > 0)
        yield column, _canonical(kept, column)
    if (cohort.folder / SOURCE_IDS).is_file():
        yield "subject_id", _canonical(pl.scan_parquet(cohort.folder / SOURCE_IDS), "subject_id")


def _canonical(table: pl.LazyFrame, column: str) -> pl.Series:
    text = pl.col(column).cast(pl.String).str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]", "")
    return table.select(text.str.replace(r"^(\p{L}*)0+(\p{N})", "${1}${2}").unique().alias(column)).collect()[column]


def short_ids(cohort: Cohort) -> int:
    """Counts the patients and admissions whose identifiers are too short to be told from words and counts."""
    digits, size = pl.col("name").str.contains(r"^\p{N}*$"), pl.col("name").str.len_chars()
    short = (size < SHORTEST) | (digits & (size < SHORTEST_NUMBER))
    return sum(
        names.to_frame("name").filter(short).height for column, names in identifiers(cohort) if column != "note_id"
    )
