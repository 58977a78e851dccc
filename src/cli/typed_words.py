"""Spells the words of a command line so that Hydra gives the text that was typed, and not 10 for `1_0`."""

import difflib
import os
import re
import shlex
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ITEM = re.compile(r"""\s*(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')\s*(?=,|$)|[^,]+""")
"""A value of several that commas part: in quotes, or without a comma."""

FUNCTION = re.compile(r"(choice|range|interval|glob|sort|shuffle|tag|str|int|float|bool)\s*\(.*\)", re.DOTALL)
"""A value that is a function of Hydra's grammar."""

OF_NUMBERS = ("range", "interval", "int", "float", "bool")


def spell(word: str, kinds: Mapping[str, Any], multirun: bool = False) -> str:
    """Spells one `key=value` so that a key of texts gets what was typed.

    Quotes, lists, functions, escapes, interpolations, `a,b` and a null that the key allows keep Hydra's meaning; so do
    the words of all other keys.

    >>> spell("name=1_0", {"name": str}), spell("lr=1_0", {"name": str}), spell("path=a (1).csv", {"path": str})
    ("name='1_0'", 'lr=1_0', "path='a (1).csv'")
    >>> spell("name=null", {"name": str}), spell("name=null", {"name": str | None})
    ("name='null'", 'name=null')
    """
    key, equals, value = word.partition("=")
    kind = kinds.get(key.lstrip("+"))
    if equals and key.lstrip("+").startswith("hydra.launcher."):
        return f"{key}={_with_texts(value, any_number=False)}" if parsed(word) else word
    if not equals or not (takes_text(kind) or takes_texts(kind)):
        return word
    override, null = parsed(word), types.NoneType in typing.get_args(kind)
    if takes_texts(kind):
        if override is None and value.startswith("[") and value.endswith("]"):
            return f"{key}=[{_items(value[1:-1], null=False)}]"
        return f"{key}={_with_texts(value)}" if override and value.startswith("[") else word
    if FUNCTION.fullmatch(value.strip()):
        return _choices(key, _with_texts(value, null)) if override else word
    if override is None and multirun and not _is_path(value):
        return f"{key}={_items(value, null)}"
    if override is not None and override.is_sweep_override() and (multirun or not _is_path(value)):
        return f"{key}={_with_texts(value, null)}"
    return f"{key}={_item(value, null)}"


def takes_text(kind: Any) -> bool:
    """Says whether the values of a type are texts, or texts and null."""
    return kind is str or (str in typing.get_args(kind) and typing.get_origin(kind) is not list)


def takes_texts(kind: Any) -> bool:
    """Says whether the values of a type are lists of texts."""
    members = typing.get_args(kind)
    return (typing.get_origin(kind) is list and str in members) or any(takes_texts(member) for member in members)


def parsed(word: str) -> Any:
    """Parses a word by Hydra's grammar; None where the grammar reads nothing."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(word)
    except (HydraException, ValueError, ArithmeticError):  # range(1,2,0), and numbers of too many digits
        return None


def quoted(text: str) -> str:
    """Puts a text in quotes of Hydra's grammar."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.double if "'" in text else Quote.single).with_quotes()


def for_the_shell(key: str, value: str) -> str:
    """Writes the word that a shell must be given for one text.

    >>> print(for_the_shell("data.path", "a,b.csv"))
    'data.path="a,b.csv"'
    """
    from hydra.core.override_parser.types import Quote, QuotedString

    return shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")


def unread(word: str, kinds: Mapping[str, Any], groups: Mapping[str, list[str]]) -> str:
    """Names the problem of a word in which Hydra's grammar reads nothing."""
    key, equals, value = word.partition("=")
    key = key.lstrip("+~")
    if not equals or not re.fullmatch(r"[\w$.@/-]+", key):
        return f"{word}: not of the form key=value"
    if key in groups:
        return f"{word}: unknown; choose {', '.join(groups[key])}"
    if key not in kinds:
        near = difflib.get_close_matches(key, [*kinds, *groups], n=1)
        return f"{word}: there is no key {key}" + (f"; did you mean {near[0]}?" if near else "")
    if FUNCTION.fullmatch(value.strip()):
        return f"{word}: no function that can be read; write the values themselves, as {key}=A,B with -m"
    if takes_texts(kinds[key]):
        item = quoted(value.strip("[]"))
        return f"{word}: not a list; write {shlex.quote(f'{key}=[{item}]')} for one text, commas between several"
    return f"{word}: {value or 'nothing'} is no value that {key} can have"


def _choices(key: str, value: str) -> str:
    """Writes the texts of a `choice()` or `range()` as `a,b`: Hydra forgets which of them stood in quotes."""
    override = parsed(f"{key}={value}")
    if not override.is_discrete_sweep() or not hasattr(override._value, "tags"):
        return f"{key}={value}"
    values = override.sweep_iterator(lambda value: getattr(value, "text", value))
    texts = ["null" if text is None else quoted(str(text)) for text in values]
    return f"{key}={','.join(texts)}"


def _is_path(value: str) -> bool:
    try:
        return os.path.lexists(Path(value).expanduser())
    except (OSError, RuntimeError, ValueError):
        return False


def _items(text: str, null: bool) -> str:
    return ",".join(_item(item.strip(), null) for item in ITEM.findall(text) if item.strip())


def _item(text: str, null: bool) -> str:
    """Spells one text so that Hydra's grammar gives what stands there."""
    from hydra.core.override_parser.types import QuotedString

    override = parsed(f"key={text}")
    if override is not None and not override.is_sweep_override():
        value = override._value
        escaped = isinstance(value, str) and re.search(r"\\[\\()\[\]{}:=, \t]|\$\{", text)
        if isinstance(value, QuotedString) or escaped or value == text or (value is None and null):
            return text
    return quoted(os.path.expanduser(text) if text.startswith("~/") else text)


def _with_texts(value: str, null: bool = False, any_number: bool = True) -> str:
    """Puts the bare numbers and truth values of a value in quotes, but for those in functions of numbers.

    Args:
        value: it can be read by Hydra's grammar.
        null: whether `null` keeps its meaning.
        any_number: also those that read and write the same, and truth values.
    """
    pieces: list[str] = []
    functions: list[str] = []
    run: list[Any] = []
    lexer = _lexer()
    parts_of_a_text = (
        lexer.ID, lexer.NULL, lexer.INT, lexer.FLOAT, lexer.BOOL, lexer.INTERPOLATION, lexer.UNQUOTED_CHAR,
        lexer.COLON, lexer.ESC, lexer.WS, lexer.QUOTED_VALUE,
    )  # fmt: skip
    for token in [*_tokens(value), None]:
        if token is not None and token.type in parts_of_a_text:
            run.append(token)
            continue
        named = run[0].text if run and token is not None and token.type == lexer.POPEN else ""
        argument = token is not None and token.type == lexer.EQUAL
        texts = not (named or argument or any(function in OF_NUMBERS for function in functions))
        pieces.append(_run(run, null, any_number) if texts else "".join(part.text for part in run))
        functions += [named] if named else []
        if token is not None:
            if token.type == lexer.PCLOSE:
                functions.pop()
            pieces.append(token.text)
        run = []
    return "".join(pieces)


def _run(run: list[Any], null: bool, any_number: bool) -> str:
    text, lexer = "".join(part.text for part in run), _lexer()
    bare = [part for part in run if part.type != lexer.WS]
    others = [lexer.BOOL, *([] if null else [lexer.NULL])] if any_number else []
    if len(bare) != 1 or bare[0].type not in (lexer.INT, lexer.FLOAT, *others):
        return text
    word = bare[0].text
    same = not any_number and str(parsed(f"key={word}").value()) == word
    return text if same else quoted(word)


def _tokens(value: str) -> list[Any]:
    from antlr4 import InputStream

    lexer = _lexer()(InputStream(value))
    lexer.removeErrorListeners()
    lexer.mode(lexer.VALUE_MODE)
    return list(lexer.getAllTokens())


def _lexer() -> Any:
    from hydra.grammar.gen.OverrideLexer import OverrideLexer

    return OverrideLexer
