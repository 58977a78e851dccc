"""One rule of what a missing value is, for every kind of file: nothing, blanks, null and NaN, and no word of itself."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence

import polars as pl

WORDS = {
    *("na", "n/a", "n.a.", "<na>", "nan", "-nan", "nat", "null", "(null)", "none", "nil", "missing", "undefined"),
    *(".", "-", "--", "?", "1.#ind", "1.#qnan"),
    *("#n/a", "#na", "#value!", "#ref!", "#name?", "#div/0!", "#null!", "#num!"),
}
"""Words, in small letters, that programs and people write where a value is missing; a class may be called so too."""


def tidied(rows: pl.DataFrame, columns: Iterable[str], missing: Sequence[str] = ()) -> pl.DataFrame:
    """The rows with texts of `columns` stripped of blanks, and null where nothing or a word of `missing` stands.

    >>> tidied(pl.DataFrame({"label": [" ards ", " ", "", None, "NA"]}), ["label"], ["NA"])["label"].to_list()
    ['ards', None, None, None, None]
    """
    stripped = {name: pl.col(name).str.strip_chars() for name in dict.fromkeys(columns)}
    empty = ["", *missing]
    return rows.with_columns(
        pl.when(~text.is_in(empty)).then(text).otherwise(None).alias(name) for name, text in stripped.items()
    )


def missing_words(values: pl.Series) -> Counter[str]:
    """How often each word for a missing value stands among stripped texts.

    >>> missing_words(pl.Series(["NA", "ards", None, "NA", "nan"], dtype=pl.String))
    Counter({'NA': 2, 'nan': 1})
    """
    counts = values.drop_nulls().value_counts(name="rows").rows()
    return Counter({word: int(rows) for word, rows in counts if word.lower() in WORDS})


def remark_on(role: str, words: Counter[str], listed: Iterable[str]) -> str:
    """A sentence on the words for missing values of a column, with what to type; `listed` are those of all columns."""
    names = ",".join(word if word.isalnum() else json.dumps(word) for word in sorted(listed))
    counted = ", ".join(f"{word!r} ({rows:,} rows)" for word, rows in words.most_common())
    return f"{role}: {counted} may mean a missing value; {shlex.quote(f'data.missing=[{names}]')} reads it so"
