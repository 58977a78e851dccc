"""Describes the form of a text file as its user does: its separator and its encoding."""

import codecs
from dataclasses import dataclass

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""What separates columns, by the names under which it is asked for."""


@dataclass(frozen=True)
class Dialect:
    """Holds what is said of a file's form; None leaves it to the file."""

    separator: str | None = None
    """One ASCII letter, or a name of `SEPARATORS`."""
    encoding: str | None = None
    """A name that Python knows, such as `cp1252`; `utf-8` leaves out rows that are none."""
    key: str = "data."
    """What stands before `separator=` and `encoding=` in messages."""

    def problems(self) -> list[str]:
        """Returns one line for each value that cannot be."""
        wrong = []
        if self.separator is not None and not is_separator(SEPARATORS.get(self.separator, self.separator)):
            names = ", ".join(SEPARATORS)
            wrong.append(f"{self.key}separator={self.separator}: must be one of {names}, or one other ASCII character")
        try:
            valid = self.encoding is None or codecs.lookup(self.encoding)._is_text_encoding
        except LookupError:
            valid = False
        if not valid:
            wrong.append(
                f"{self.key}encoding={self.encoding}: unknown; such as utf-8, cp1252, latin-1, utf-16, shift_jis"
            )
        return wrong


def is_separator(letter: str) -> bool:
    """Says whether the readers can divide columns by it."""
    return len(letter) == 1 and letter.isascii() and (letter == "\t" or letter.isprintable()) and letter not in '"\n\r'
