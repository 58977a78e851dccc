"""Says what a missing value is, for every kind of file: nothing, blanks, null and NaN, and no word of itself."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence

import polars as pl

WORDS = {
    *("na", "n/a", "n.a.", "<na>", "nan", "-nan", "nat", "null", "(null)", "none", "nil", "missing", "undefined"),
    *(".", "-", "--", "?", "1.#ind", "1.#qnan", "\\n"),
    *("#n/a", "#na", "#value!", "#ref!", "#name?", "#div/0!", "#null!", "#num!"),
}
"""Words, in small letters, that programs and people write where a value is missing; a class may be called so too."""

BLANKS = "".join(chr(code) for code in range(0x3001) if chr(code).isspace()) + "\u200b\u2060\ufeff\0"
"""Blanks, those without width and the byte-order mark among them."""


def present(cells: pl.Expr, missing: Sequence[str] = ()) -> pl.Expr:
    """Strips texts of blanks; null where nothing or a word of `missing` stands.

    >>> pl.DataFrame({"drg": [" ards ", " ", "", None, "NA"]}).select(present(pl.col("drg"), ["NA"]))["drg"].to_list()
    ['ards', None, None, None, None]
    """
    stripped = cells.str.strip_chars(BLANKS)
    return pl.when(~stripped.is_in(["", *missing]) if missing else stripped != "").then(stripped)


def whole_number(cells: pl.Expr) -> pl.Expr:
    """Takes decimal places of zeros from texts: a program that met a missing id writes all ids as 20000001.0.

    >>> pl.DataFrame({"id": ["20000001.0", "20000002", "1.5"]}).select(whole_number(pl.col("id")))["id"].to_list()
    ['20000001', '20000002', '1.5']
    """
    return cells.str.replace(r"^(\d+)\.0+$", "$1")


def missing_words(values: pl.Series) -> Counter[str]:
    """Counts how often each word for a missing value stands among stripped texts.

    >>> missing_words(pl.Series(["NA", "ards", None, "NA", "nan"], dtype=pl.String))
    Counter({'NA': 2, 'nan': 1})
    """
    counts = values.drop_nulls().value_counts(name="rows").rows()
    return Counter({word: int(rows) for word, rows in counts if word.lower() in WORDS})


def remark_on(role: str, words: Counter[str], listed: Iterable[str]) -> str:
    """Remarks on the words for missing values of a column, and what to type; `listed` are those of all columns."""
    names = ",".join(word if word.isalnum() else json.dumps(word) for word in sorted(listed))
    counted = ", ".join(
        f"{word!r} ({rows:,} rows)" for word, rows in sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))
    )
    return f"{role}: {counted} may mean a missing value; {shlex.quote(f'data.missing=[{names}]')} reads it so"
