"""Reads a DRG's code: bare, with the name of its kind, as spreadsheets leave it, or beside its title."""

import re

_KIND = r"(?:MS[\s_-]*)?DRG(?:[\s_-]*(?:CODE|NUMBER|NO|NR))?[\s_.:#-]*"
_NUMBER = r"(?:0*[0-9]{1,3})(?:[.,]0{1,2})?"
_CODE = re.compile(rf"({_KIND})?({_NUMBER})", re.IGNORECASE)
_BEFORE = re.compile(
    rf"(({_KIND})?{_NUMBER})\s*(?:[-–—:;,.|/]\s*|\s|(?=\())(?=\W*[^\W\d_])(.*)", re.IGNORECASE | re.DOTALL
)
_BEHIND = re.compile(
    rf"(\W*[^\W\d_].*?)\s*(?:[(\[]\s*(({_KIND})?{_NUMBER})\s*[)\]]|[-–—:|,]\s+(({_KIND})?{_NUMBER}))",
    re.IGNORECASE | re.DOTALL,
)
_WIDE = str.maketrans("０１２３４５６７８９", "0123456789")


def bare(written: str) -> str:
    """Strips a code of the signs that keep a spreadsheet from reading a number.

    >>> bare('="291"'), bare("'065"), bare(" ２９１ ")
    ('291', '065', '291')
    """
    text = written.strip().removeprefix("=").strip("\"'‘’“” ")
    return text if re.search("[0-9]", text) else text.translate(_WIDE)


def digits_of(code: str) -> str:
    """Writes a code in three digits, where it is an MS-DRG's; `291.0` is what spreadsheets make of 291.

    >>> digits_of(" 65 "), digits_of("291.0"), digits_of("MS-DRG 0291"), digits_of("2911"), digits_of("APR")
    ('065', '291', '291', '2911', 'APR')
    """
    text = bare(code)
    if (number := _CODE.fullmatch(text)) is None:
        return text
    digits = re.split("[.,]", number[2])[0]
    return digits[-3:].zfill(3)


def names_its_kind(label: str) -> bool:
    """Says whether the label states that it is a DRG, as `DRG 291` does."""
    return re.match(_KIND + "[0-9]", bare(label), re.IGNORECASE) is not None


def apart(label: str) -> tuple[str, str]:
    """Divides a label into its code and its title, each empty where it has none.

    >>> apart("291 – HEART FAILURE"), apart("HEART FAILURE (DRG 291)"), apart("DRG 291"), apart("CHEST PAIN")
    (('291', 'HEART FAILURE'), ('291', 'HEART FAILURE'), ('291', ''), ('', 'CHEST PAIN'))
    """
    text = bare(label)
    if _CODE.fullmatch(text):
        return digits_of(text), ""
    if before := _BEFORE.fullmatch(text):
        title = before[3].strip()
        return digits_of(before[1]), title[1:-1] if title[:1] + title[-1:] == "()" else title
    if behind := _BEHIND.fullmatch(text):
        return digits_of(behind[2] or behind[4]), behind[1]
    return "", text


def too_long(code: str) -> str | None:
    """Says why a number of four digits is no MS-DRG's code; None for any other code.

    >>> too_long("4401"), too_long("0440")
    ('4401 looks like an APR-DRG, 440, with its severity 1; an MS-DRG has three digits', None)
    """
    number = re.fullmatch(
        rf"(?:APR[\s_-]*)?(?:{_KIND})?([1-9][0-9]{{2}})[-.]?([0-9])(?:[.,]0{{1,2}})?", bare(code), re.IGNORECASE
    )
    if number is None or _CODE.fullmatch(bare(code)):
        return None
    if number[2] in "01234":
        base, severity = number.groups()
        return (
            f"{base}{severity} looks like an APR-DRG, {base}, with its severity {severity}; an MS-DRG has three digits"
        )
    return f"{number[1]}{number[2]} has four digits, and an MS-DRG has three"
