"""Hostile text in every format that we write, and numbers that stay numbers."""

import csv
import io
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.cli.terminal import one_line, visible
from src.display import html as markup
from src.display import latex
from src.display import markdown as md
from src.display.spreadsheet import csv_text, neutral, original, write_frame
from src.display.tables import Column, Estimate, Table, table_of, to_csv, to_html, to_latex, to_markdown, to_text

HOSTILE = [
    "=cmd|'/C calc'!A0", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1", "\x1b[2J\x1b]0;owned\x07", "\u202egnp",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a|b", "`code`", "[x](javascript:alert(1))",
    "\\input{/etc/passwd}", "\\write18{x}", "^^5cinput", "[3pt]x", "*x", "one\ntwo", '"quoted"', "$\\input{x}$",
]  # fmt: skip


def test_a_cell_of_text_is_no_formula_and_a_number_is_one() -> None:
    for cell in next(csv.reader(io.StringIO(csv_text(HOSTILE, []), newline=""))):
        assert cell[0] not in "=+-@\t\r＝", cell
        assert not set(cell) & {"\x1b", "\x07", "\u202e"}
    assert csv_text(["n"], [[-0.5], ["-0.5"], ["+1e-05"], [-3], [None]]) == 'n\n-0.5\n-0.5\n+1e-05\n-3\n""\n'


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=12))
def test_what_our_own_commands_read_back_is_what_was_written(text: str) -> None:
    for begun in (text, f"={text}", f"'={text}", f"''-{text}x", f"'{text}"):
        assert original(neutral(begun)) == begun


def test_a_table_of_polars_is_neutral_and_keeps_its_numbers(tmp_path: Path) -> None:
    write_frame(tmp_path / "t.csv", pl.DataFrame({"=head": HOSTILE, "n": [-0.5] * len(HOSTILE)}))
    back = pl.read_csv(tmp_path / "t.csv")
    assert back.columns == ["'=head", "n"]
    assert back["n"].to_list() == [-0.5] * len(HOSTILE)
    assert not [cell for cell in back["'=head"] if cell[0] in "=+-@\t\r＝"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text_in_every_format(text: str) -> None:
    table = Table("t", text, [Column("c", text), Column("d", "d")], [[text, 1.5], [text, 2.5]])
    pages = {"csv": to_csv(table), "md": to_markdown(table), "tex": to_latex(table), "html": to_html(table)}
    frame = pl.DataFrame({text: [text]})
    pages["polars"] = to_markdown(table_of(frame.columns, frame.rows()))
    pages["text"] = to_text(table)
    for page in pages.values():
        assert not set(page) & {"\x1b", "\x07", "\u202e", "\r"}
    for name in ("md", "polars", "html"):
        assert "<script" not in pages[name]
        assert "<img" not in pages[name]
    for command in ("\\input", "\\write", "^^", "\\\\\n[", "\\\\\n*"):
        assert command not in pages["tex"]
    assert "](" not in pages["md"].replace("\\](", "")
    assert len(pages["text"].splitlines()) == 3
    rows = [line for line in pages["md"].splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {line.replace("\\|", "").count("|") for line in rows} == {3}


def test_each_writer_spells_out_what_moves_a_terminal() -> None:
    for text in HOSTILE:
        for shown in (visible(text), one_line(text), md.escaped(text), latex.escaped(text), markup.escaped(text)):
            assert not set(shown) & {"\x1b", "\x07", "\u202e", "\r"}
        assert "\n" not in one_line(text)


def test_every_form_of_a_table_shows_the_same_numbers() -> None:
    columns = [Column("system", "system"), Column("top1", "top-1"), Column("cut", "cut", 1, percent=True)]
    table = Table("t", "", columns, [["nano", Estimate(0.34567, 0.32, 0.37), 0.125], ["none", None, None]])
    shown = [["nano", "0.346 (0.320 to 0.370)", "12.5%"], ["none", "-", "-"]]
    assert [re.split(r" {2,}", line) for line in to_text(table).splitlines()[1:]] == shown
    assert [line.strip("| ").split(" | ") for line in to_markdown(table).splitlines()[2:]] == shown
    cells = re.findall(r"<td[^>]*>(.*?)</td>", to_html(table))
    assert [re.sub("<.*?>", "", cell) for cell in cells] == [text for row in shown for text in row]
    assert "nano & 0.346 (0.320--0.370) & 12.5\\%" in to_latex(table)
    assert to_csv(table).splitlines()[1:] == ["nano,0.34567,0.32,0.37,0.125", "none,,,,"]


def test_no_p_value_is_shown_as_zero() -> None:
    table = Table("t", "", [Column("p", "p", chance=True), Column("value", "value")], [[0.0, 0.0], [0.25, 1.0]])
    assert table.texts() == [["< 0.0001", "0.000"], ["0.25", "1.000"]]
