"""Foreign text on a terminal: what would move the cursor, change colours or turn letters round is spelled out."""

import unicodedata

KEPT = "\n\t"


def visible(text: object) -> str:
    r"""The text with every control and direction character written as its number.

    >>> visible("one\x1b[2Jtwo\u202e"), visible("a line\n")
    ('one\\x1b[2Jtwo\\u202e', 'a line\n')
    """
    foreign = str(text)
    if foreign.isprintable():
        return foreign
    return "".join(letter if letter in KEPT or not _hidden(letter) else _number(letter) for letter in foreign)


def one_line(text: object) -> str:
    r"""The visible text on one line.

    >>> one_line("two\r\nlines")
    'two lines'
    """
    return visible(" ".join(str(text).replace("\t", "\n").splitlines())) if str(text) else ""


def _hidden(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _number(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
