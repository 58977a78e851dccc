"""Reads the space of a search: each of its words gives a key an interval or several values, in Hydra's grammar."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, get_args

from src.cli.typed_words import parsed, unread

SEARCH = "search"
"""The kind of `hydra.sweeper` that is a search."""


@dataclass(frozen=True)
class Dimension:
    """Holds one key of a search and what it may be.

    Attributes:
        key: as it is typed.
        choices: values as Hydra's grammar writes them; empty for an interval.
        low: the interval's least value.
        high: its largest.
        log: whether its logarithm is drawn evenly.
        whole: whether only whole numbers are drawn.
    """

    key: str
    choices: list[str] = field(default_factory=list)
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> list[str]:
        """Lists the words that show whether the key may be what the space says."""
        return [self.word(value) for value in (self.choices or (self.low, self.high))]

    def word(self, value: Any) -> str:
        """Writes the word that sets the key; of a number it keeps four digits, within the interval.

        >>> Dimension("lr", low=1e-5, high=1e-3).word(0.000123456), Dimension("lora.r", ["4", "8"]).word("8")
        ('lr=0.0001235', 'lora.r=8')
        """
        if self.choices:
            return f"{self.key}={value}"
        if self.whole:
            return f"{self.key}={round(value)}"
        return f"{self.key}={min(max(float(f'{value:.4g}'), self.low), self.high)!r}"

    def __str__(self) -> str:
        if self.choices:
            return f"{self.key}: {', '.join(self.choices)}"
        return f"{self.key}: {self.ends[0].partition('=')[2]} to {self.ends[1].partition('=')[2]}" + (
            " (log)" if self.log else ""
        )


def is_interval(word: str) -> bool:
    """Says whether a word gives its key an interval.

    >>> is_interval("lr=tag(log,interval(1e-5,1e-3))"), is_interval("lr=1e-5,1e-3")
    (True, False)
    """
    override = parsed(word)
    return override is not None and bool(override.is_interval_sweep())


def space_of(
    words: Iterable[str], kinds: Mapping[str, Any], groups: Mapping[str, list[str]]
) -> tuple[list[Dimension], list[str]]:
    """Reads the words of a space, and lists what is wrong in them.

    >>> space_of(["lora.r=4,8", "lr=tag(log,interval(1e-5,0.1))"], {"lora.r": int, "lr": float}, {})[0][1]
    Dimension(key='lr', choices=[], low=1e-05, high=0.1, log=True, whole=False)
    """
    space: dict[str, Dimension] = {}
    problems = []
    for word in words:
        override, key = parsed(word), word.partition("=")[0]
        if key in groups:
            problems.append(f"{word}: names whole groups of keys; start a search for each {key}")
        elif key not in kinds:
            near = difflib.get_close_matches(key, kinds, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{word}: there is no key {key}{hint}")
        elif override is None:
            problems.append(unread(word, kinds, groups))
        elif key in ("name", "out", "data.dir", "dry_run"):
            problems.append(f"{word}: says where trials lie, not what they are; a search has one")
        elif key == "horizon":
            problems.append(f"{word}: names other notes, on which no two trials compare; start a search for each")
        elif not is_interval(word):
            strings = override.sweep_string_iterator() if override.is_sweep_override() else [word.partition("=")[2]]
            space[key] = Dimension(key, list(dict.fromkeys(strings)))
        else:
            interval, numbers = override.value(), {int, float} & {kinds[key], *get_args(kinds[key])} - {NoneType}
            dimension = Dimension(
                key, [], interval.start, interval.end, "log" in interval.tags, bool(numbers) and float not in numbers
            )
            problems += [f"{word}: {reason}" for reason in _wrong(dimension, bool(numbers))]
            space[key] = dimension
    return list(space.values()), problems


def _wrong(interval: Dimension, numeric: bool) -> list[str]:
    if not numeric:
        return [f"{interval.key} is no number; write its values, {interval.key}=A,B"]
    reasons = [] if interval.low < interval.high else ["the second bound must be above the first"]
    if interval.log and interval.low <= 0:
        reasons.append("a logarithmic interval begins above 0")
    if interval.whole and (interval.low % 1 or interval.high % 1):
        reasons.append("must have whole bounds")
    return reasons
