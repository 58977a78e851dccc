"""Allocates cases to coders and arms: a crossover in which each coder reads half of their cases with assistance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl

from src.coding_study.simulated_coders import Readings


class Arm(StrEnum):
    """Names how a case is read."""

    ASSISTED = "assisted"
    ALONE = "alone"


PERIODS = (1, 2)


@dataclass(frozen=True)
class Allocation:
    """Holds who reads what, in which period and order.

    Attributes:
        rows: `coder`, `period`, `order` in the coder's whole work, `case`, `arm`, `mdc` and `words`.
    """

    rows: pl.DataFrame

    def readings(self) -> Readings:
        """Returns the rows as indices."""
        index = {
            name: np.unique(self.rows[name].to_numpy().astype(str), return_inverse=True)[1]
            for name in ("coder", "case")
        }
        assisted = (self.rows["arm"] == Arm.ASSISTED).to_numpy().astype(float)
        return Readings(index["coder"], index["case"], assisted, (self.rows["period"] == 2).to_numpy().astype(float))


def pair_up(cases: pl.DataFrame) -> list[list[int]]:
    """Pairs cases of one MDC that are alike in words; what is left over in an MDC is paired by words alone.

    Args:
        cases: `id`, `words` and `mdc`.

    Returns:
        Pairs of row numbers; the last has one where the number of cases is odd.
    """
    pairs, left = [], []
    ranked = cases.with_row_index("row").sort("mdc", "words", "id")
    for _, alike in ranked.group_by("mdc", maintain_order=True):
        rows = alike["row"].to_list()
        pairs += [rows[start : start + 2] for start in range(0, len(rows) - 1, 2)]
        left += rows[len(rows) // 2 * 2 :]
    left.sort(key=lambda row: (cases["words"][row], cases["id"][row]))
    return pairs + [left[start : start + 2] for start in range(0, len(left), 2)]


def allocate(cases: pl.DataFrame, coders: Sequence[str], cases_each: int | None, seed: int) -> Allocation:
    """Draws an allocation.

    Of each pair of cases that are alike a coder reads one with assistance and one without; which one is turned from
    coder to coder. Half of the coders begin with assistance. Within a period the order is drawn for each coder.

    Args:
        cases: `id`, `words` and `mdc`.
        coders: their names.
        cases_each: cases that each coder reads, an even number; None for all.
        seed: of all draws.
    """
    draw = np.random.default_rng(seed)
    pairs = pair_up(cases)
    pairs = [pairs[index] for index in draw.permutation(len(pairs))]
    names = [coders[index] for index in draw.permutation(len(coders))]
    count = len(pairs) if cases_each is None else cases_each // 2
    if cases_each is not None:
        pairs = [pair for pair in pairs if len(pair) == 2]  # a case alone would unbalance arms
    begins = int(draw.integers(2))
    readers: dict[int, list[int]] = {index: [] for index in range(len(pairs))}
    for number in range(len(names)):
        for step in range(count):
            readers[(number * count + step) % len(pairs)].append(number)
    read: dict[int, list[tuple[int, Arm]]] = {number: [] for number in range(len(names))}
    for index, pair in enumerate(pairs):
        turn = draw.integers(2)
        for number in sorted(readers[index], key=lambda number: ((number + begins) % 2, draw.random())):
            read[number] += [(row, list(Arm)[(turn + side) % 2]) for side, row in enumerate(pair)]
            turn += 1
    rows = [(names[number], *entry) for number in read for entry in _ordered(read[number], (number + begins) % 2, draw)]
    table = pl.DataFrame(rows, schema=["coder", "period", "order", "row", "arm"], orient="row")
    described = cases.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    joined = table.join(described, "row", how="left", maintain_order="left").rename({"id": "case"})
    return Allocation(joined.select("coder", "period", "order", "case", "arm", "mdc", "words").sort("coder", "order"))


def _ordered(
    entries: Sequence[tuple[int, Arm]], begins: int, draw: np.random.Generator
) -> Iterator[tuple[int, int, int, str]]:
    order = 0
    for period in PERIODS:
        arm = list(Arm)[(period - 1 + begins) % 2]
        rows = [row for row, read_in in entries if read_in is arm]
        for row in draw.permutation(rows):
            order += 1
            yield period, order, int(row), str(arm)
