from random import Random

import polars as pl
import pytest

from src.cohort.codes import apart, digits_of, too_long
from src.cohort.labels import own_labels
from src.cohort.msdrg import VERSIONS, load_drgs
from src.cohort.titles import resolve
from src.config.prepare import LabelKind

SPELLINGS = (
    "{c}", "{n}", "0{c}", "00{c}", "{c}.0", "{n}.00", "{c},0", '="{c}"', "'{c}", " {c} ", "DRG {c}", "DRG{n}",
    "drg: {c}", "MS-DRG {c}",
    "MSDRG{c}", "MS DRG #{n}", "Ms-Drg no. {c}", "DRG_{c}", "DRG code {c}", "{c} {t}", "{c} - {t}",
    "{c} – {t}", "{c}: {t}", "{c}, {t}", "DRG {c} {t}", "MS-DRG {n} – {t}", "{c} ({t})", "{t} ({c})", "{t} [DRG {n}]",
    "{t} - DRG {c}", "{c}|{t}", "{c}.{t}", "{t}", "{w}",
)  # fmt: skip
WRITTEN = ("{s}", "{l}", "{a}", "{d}", "{g}")
"""Titles with the signs of hospitals, in small letters, abbreviated, without commas, and two words run together."""


def spelt(code: str, title: str, random: Random) -> str:
    short = title.replace(" WITHOUT ", " W/O ").replace(" WITH ", " W ").replace(" AND ", " & ")
    glued = short.split(" ")
    start = random.randrange(max(1, len(glued) - 1))
    ways = {
        "s": short,
        "l": short.lower(),
        "a": short.replace("PROCEDURES", "PROC").replace("DISORDERS", "DISORD").replace("MAJOR", "MAJ"),
        "d": short.replace(", ", ""),
        "g": " ".join([*glued[:start], "".join(glued[start : start + 2]), *glued[start + 2 :]]),
    }
    wide = code.translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    named = {"c": code, "n": str(int(code)), "w": wide, "t": random.choice(WRITTEN).format(**ways)}
    return random.choice(SPELLINGS).format(**named)


def test_a_spelling_gets_its_very_drg_or_none() -> None:
    random, decided, seen = Random(7), 0, 0
    for version in ("v34", "v41"):
        meant = {spelt(code, drg.title, random): code for code, drg in load_drgs(version).items() for _ in range(3)}
        rows = own_labels(pl.Series("label", list(meant)), LabelKind.DRG, "label", version).rows
        known = {label: drg for label, drg in rows.iter_rows() if drg is not None}
        assert {label: drg for label, drg in known.items() if drg != meant[label]} == {}
        seen, decided = seen + len(meant), decided + len(known)
    assert seen > 4000
    assert decided > 0.9 * seen, f"{decided} of {seen}"


@pytest.mark.parametrize(
    "written", ["291,000", "1,291", "29１", "CMS-DRG 291", "APR-DRG 291", "29 1", "291A", "-291", "²91"]
)
def test_what_may_be_another_number_is_no_code(written: str) -> None:
    assert digits_of(written) not in load_drgs()
    assert apart(written)[0] not in load_drgs()


@pytest.mark.parametrize("code", ["2031", "4401", "194-2", "APR-DRG 1942", "4401.0", "DRG 2031", "2039"])
def test_a_fourth_digit_makes_a_code_no_msdrgs_whatever_the_title_says(code: str) -> None:
    assert too_long(code)
    for version in VERSIONS:
        match = resolve(code, "CHEST PAIN", version)
        assert (match.drg, match.reason) == (None, too_long(code))


def test_a_leading_zero_is_no_fourth_digit_but_beside_severities() -> None:
    assert resolve("0313", "CHEST PAIN").drg == load_drgs()["313"]
    assert resolve("0203", "CHEST PAIN").drg is None
    alone = own_labels(pl.Series("label", ["0291", "0194"] * 9), LabelKind.AUTO, "label")
    beside = own_labels(pl.Series("label", ["0291", "0194", "1942"] * 9), LabelKind.AUTO, "label")
    assert alone.rows["drg"].to_list() == ["194", "291"]
    assert beside.rows["drg"].to_list() == ["0194", "0291", "1942"]
    assert any("looks like an APR-DRG, 194, with its severity 2" in remark for remark in beside.remarks)
