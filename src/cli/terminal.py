"""Shows foreign text on a terminal: what would move the cursor, change colours or turn letters is spelled out."""

import unicodedata

KEPT = "\n\t"

HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of controls, signs of format and direction, halves of letters, and separators of lines."""


def visible(text: object) -> str:
    r"""Writes every control and direction character of a text as its number.

    >>> visible("one\x1b[2Jtwo\u202e"), visible("a line\n")
    ('one\\x1b[2Jtwo\\u202e', 'a line\n')
    """
    foreign = str(text)
    if foreign.isprintable():
        return foreign
    return "".join(
        _number(letter) if letter not in KEPT and unicodedata.category(letter) in HIDDEN else letter
        for letter in foreign
    )


def one_line(text: object) -> str:
    r"""Writes the visible text on one line.

    >>> one_line("two\r\nlines")
    'two lines'
    """
    return visible(" ".join(str(text).replace("\t", "\n").splitlines())) if str(text) else ""


def _number(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
