"""Table 5 as CMS and spreadsheets write it: each form is read to the same weights or refused by name."""

import csv
import io
import itertools
import random
import zipfile
from pathlib import Path

import pytest

from src.cli.errors import UserError
from src.cohort.msdrg import VERSIONS, load_drgs
from src.cohort.weights import Weights, read_weights, weights_for

WEIGHTS = {"001": 28.1, "018": 43.1828, "064": 1.9189, "194": 0.8632, "795": 0.1998, "871": 1.8564}

SEPARATORS = ("\t", ",", ";")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252")
LINE_ENDS = ("\n", "\r\n", "\r")
SIGNS = (".", ",")
DRG_NAMES = ("MS-DRG", "MS-DRG ", "ms_drg", "MSDRG", "DRG", "MS-\nDRG", "drg", "MS\N{NO-BREAK SPACE}DRG")
WEIGHT_NAMES = (
    "Weights", "WEIGHTS", "Weight", "Relative Weights", "relative_weight", "FY 2025 Final Rule Weights",
    "Final Relative  Weights", "Weights -\n10% Cap Applied*", "FY 2025 Weights (10% cap applied)", "Weights1",
)  # fmt: skip
BESIDE = (
    "Percent change in weight", "Change", "Difference in weights", "Prior year's weight", "FY 2024 Weights",
    "% Change in Weight", "Weights - Before Cap", "Geometric mean LOS", "Weight change (%)",
)  # fmt: skip


def written(random_: random.Random, separator: str, sign: str, ends: str) -> str:
    """One table in a spelling drawn at random; every form of it says `WEIGHTS`."""
    names = [random_.choice(DRG_NAMES), "MDC", "TYPE", "MS-DRG Title", random_.choice(WEIGHT_NAMES)]
    places = [0, 1, 2, 3, 4]
    names += random_.sample(BESIDE, 3)
    if random_.random() < 0.5:  # the weights stand behind the columns that are none
        places, names = [0, 1, 2, 3, 7], [*names[:4], *names[5:], names[4]]
    code = random_.choice(("{}", "{}.0", '="{}"', "{}*", " {} "))
    width, mark = random_.choice((("03d", ""), ("d", "*"), ("d", ""), ("03d", "$")))
    rows: list[list[str]] = [names]
    for drg, weight in WEIGHTS.items():
        row = ["9.9".replace(".", sign)] * len(names)
        row[1:4] = ["05", "MED", 'TITLE, \N{EN DASH} W "MCC"']
        row[places[0]] = code.format(format(int(drg), width))
        number = f"{weight:.4f}".replace(".", sign)
        row[places[4]] = f"${number}" if mark == "$" else number + mark
        rows.append(row)
    for drg, nothing in (("998", "."), ("999", "0.0000".replace(".", sign))):
        rows.append([drg, "", "", "X", *[nothing] * (len(names) - 4)])
    titles = random_.choice(([], [["TABLE 5.\N{EM DASH}FY 2025 Final Rule"], []], [["TABLE 5.\nFY 2025, Weights"]]))
    text = io.StringIO()
    table = [[cell.replace("\n", ends) for cell in row] for row in [*titles, *rows, [], ["* a footnote"]]]
    csv.writer(text, delimiter=separator, lineterminator=ends).writerows(table)
    return text.getvalue()


def test_a_table_in_any_spelling_is_read_to_the_same_weights(tmp_path: Path) -> None:
    forms = list(itertools.product(SEPARATORS, ENCODINGS, LINE_ENDS, SIGNS))
    random_, seen = random.Random(5), 0
    for separator, encoding, ends, sign in forms * 5:
        text = written(random_, separator, sign, ends)
        path = tmp_path / f"{seen}.txt"
        path.write_bytes(text.encode(encoding))
        weights = read_weights(path)
        assert weights.of == WEIGHTS, (encoding, text)
        assert weights.gmlos == (dict.fromkeys(WEIGHTS, 9.9) if "Geometric mean LOS" in text else {}), (encoding, text)
        seen += 1
    assert seen == 360


def test_a_table_with_any_one_damage_is_refused_by_its_row(tmp_path: Path) -> None:
    random_, refused = random.Random(6), 0
    damages = (
        lambda cell: cell.replace(",", "").replace(".", ""),
        lambda cell: f"-{cell}",
        lambda cell: "99" + cell,
        lambda cell: cell + "%",
        lambda cell: "see note",
        lambda cell: f"{cell} 1",
    )
    for damage, separator, sign in itertools.product(damages, SEPARATORS, SIGNS):
        rows = [[drg, "TITLE", f"{weight:.4f}".replace(".", sign)] for drg, weight in WEIGHTS.items()]
        index = random_.randrange(len(rows))
        rows[index][2] = damage(rows[index][2])
        text = io.StringIO()
        csv.writer(text, delimiter=separator).writerows([["MS-DRG", "Title", "Weights"], *rows])
        path = tmp_path / "table.csv"
        path.write_text(text.getvalue(), "utf-8")
        with pytest.raises(UserError, match=rf"row {index + 2}: DRG {rows[index][0]} has the weight '.*'"):
            read_weights(path)
        refused += 1
    assert refused == 36


HEADER = "MS-DRG\tTitle\tWeights\n"


def workbook(name: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, "x")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (workbook("xl/workbook.xml"), r"is a workbook; save its sheet as CSV"),
        (workbook("Table 5.txt"), "is a zip archive; unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is a workbook of Excel"),
        (b"%PDF-1.7", "is a PDF"),
        (b"\n <!DOCTYPE html><table>", "is a page of HTML or XML"),
        (b"", "is empty"),
        (b"\xff\xfeM", "no header with MS-DRG and Weights"),
        (b"\x01\x02" * 9, "no header"),
        (b"a,b\n1,2\n", "no header"),
        (b"MS-DRG\tPercent change in weight\n001\t2.5\n", "'Percent change in weight' holds no relative weights"),
        (b"MS-DRG\tPrior year's weight\n001\t2.5\n", "call their column Weights"),
        (HEADER.encode() + b"998\tX\t.\n999\tX\t0.0000\n", "no DRG has a weight"),
        (HEADER.encode() + b"001\tX\t0.0000\n", r"row 2: DRG 001 has the weight '0.0000'"),
        (HEADER.encode() + b"1000\tX\t1.5\n", "row 2: '1000' is no MS-DRG"),
        (HEADER.encode() + b"000\tX\t1.5\n", "row 2: '000' is no MS-DRG"),
        (HEADER.encode() + b"1A\tX\t1.5\n", "row 2: '1A' is no MS-DRG"),
        (HEADER.encode() + b"1\tX\t1.5\n001\tX\t1.6\n", "DRG 001 has two weights, '1.5' in row 2 and '1.6' in row 3"),
        (HEADER.encode() + b"001\tX\t1.5\t7\n", "row 2 has 4 fields where the header has 3"),
        (HEADER.encode() + b"001\tX\n", "row 2 has 2 fields where the header has 3"),
        (b"DRG,Weights,LOS\n001,28,1000,3,9\n", "row 2 has 5 fields where the header has 3"),
        (b"DRG,Weights,Title\n1,1.5,\"X\n2,1.6,Y\n3,1.7,Z\n", "row 2 opens a quote that it does not close"),
    ],
)  # fmt: skip
def test_what_is_no_table_5_is_refused_for_its_true_reason(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "t")


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("Weights", "Weights - Before Cap"), 0),
        (("Weights - Before Cap", "Weights - 10% Cap Applied"), 1),
        (("Weights - 10% Cap Applied", "Weights - Before Cap"), 0),
        (("FY 2025 Weights", "FY 2024 Weights"), 0),
        (("FY24 Weights", "FY25 Weights"), 1),
        (("Weights", "FY 2024 Weights"), 0),
        (("Proposed Weights", "Final Weights"), 1),
    ],
)
def test_of_two_columns_of_weights_the_later_and_capped_counts(
    names: tuple[str, str], chosen: int, tmp_path: Path
) -> None:
    path = tmp_path / "Table 5.txt"
    path.write_text("DRG\t" + "\t".join(names) + "\n001\t1.5\t2.5\n", "utf-8")
    assert read_weights(path).of == {"001": (1.5, 2.5)[chosen]}


@pytest.mark.parametrize(
    ("version", "year", "few"),
    [
        ("v34", "FY 2017", {"001": (27.1011, 30.0), "291": (1.4796, 4.6), "470": (2.0671, 2.6), "795": (0.1771, 3.1)}),
        ("v36", "FY 2019", {"001": (26.4106, 29.1), "783": (1.7455, 4.6), "291": (1.3454, 4.1), "470": (1.9898, 2.2)}),
    ],
)
def test_a_version_is_paid_by_the_year_that_it_was_in_force(
    version: str, year: str, few: dict[str, tuple[float, float]]
) -> None:
    weights = weights_for(version)
    assert weights.year == year
    assert set(weights.of) == set(weights.gmlos) == set(load_drgs(version)) - {"998", "999"}
    assert {code: (weights.of[code], weights.gmlos[code]) for code in few} == few
    assert weights.remarks(list(load_drgs(version)), version) == []


def test_a_version_whose_year_is_not_at_hand_has_no_weights_and_the_key_that_names_some_is_said() -> None:
    weights = {version: weights_for(version) for version in VERSIONS}
    assert [version for version in VERSIONS if weights[version].of] == ["v34", "v36", "v43"]
    for version in VERSIONS:
        codes = [code for code in load_drgs(version) if code not in ("998", "999")]
        said = weights[version].remarks(codes, version)
        assert said == [] if weights[version].of else "table5= names a Table 5 of that year" in said[0], version
    assert weights_for(None) == Weights("", {})
    assert weights_for(None).remarks([], None) == []


def test_a_table_that_is_named_wins_over_the_one_at_hand_and_is_refused_for_other_classes(tmp_path: Path) -> None:
    path = tmp_path / "Table 5 FY 2019.txt"
    path.write_text("DRG\tWeights\n470\t1.9898\n", "utf-8")
    for version in ("v34", "v41", "v43"):
        assert weights_for(version, str(path)) == Weights("FY 2019", {"470": 1.9898})
    assert weights_for("v34", str(path)).remarks(["470"], "v34") == [
        "weights of FY 2019 for MS-DRG v34, which was FY 2017's; table5= names a Table 5 of that year"
    ]
    for version in (None, "apr"):
        with pytest.raises(UserError, match="the run's classes are no MS-DRGs"):
            weights_for(version, str(path))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("Geometric mean LOS", True),
        ("FY 2017 Final Geometric Mean LOS", True),
        ("GMLOS", True),
        ("GM LOS (days)", True),
        ("geometric_mean_length_of_stay", True),
        ("Arithmetic mean LOS", False),
        ("Change in geometric mean LOS", False),
        ("LOS", False),
    ],
)
def test_mean_stays_are_read_by_the_name_of_their_column(name: str, read: bool, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(f"DRG\tWeights\t{name}\n470\t2.0671\t2.4\n471\t4.8\t.\n472\t2.7\t0.0\n", "utf-8")
    assert read_weights(path).gmlos == ({"470": 2.4} if read else {})


@pytest.mark.parametrize("cell", ["two", "-2.4", "240", "2.4.1", "2,4"])
def test_a_mean_stay_that_is_no_number_of_days_is_refused_by_its_row(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(f"DRG\tWeights\tGMLOS\n470\t2.0671\t{cell}\n", "utf-8")
    with pytest.raises(UserError, match=r"row 2: DRG 470 has the mean stay '.*' under 'GMLOS'; stays are above 0"):
        read_weights(path)


def test_thousands_are_told_from_decimals_by_what_a_weight_can_be(tmp_path: Path) -> None:
    path = tmp_path / "FY 2017 Table 5.txt"
    path.write_text(f"{HEADER}001\tX\t28,100\n002\tX\t1,125\n", "utf-8")
    assert read_weights(path) == Weights("FY 2017", {"001": 28.1, "002": 1.125})
    path.write_text(f"{HEADER}001\tX\t1,025.5\n", "utf-8")
    with pytest.raises(UserError, match=r"relative weights lie between 0.1 and 60, here with a decimal point"):
        read_weights(path)
