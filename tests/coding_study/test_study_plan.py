import json
from pathlib import Path

import polars as pl
import pytest

from src.cli.errors import UserError
from src.coding_study.power import power_table
from src.coding_study.study_plan import read_cases, read_plan, write_plan
from tests.coding_study.made_log import ASSUMED, made_allocation, write_rows


def written(folder: Path, seed: int = 0) -> Path:
    allocation = made_allocation(4, 8, seed=seed)
    write_plan(folder, allocation, power_table(allocation.readings(), ASSUMED, 100, seed), seed)
    return folder


def test_the_analysts_file_holds_letters_and_the_key_opens_them(tmp_path: Path) -> None:
    plan = written(tmp_path / "plan")
    assert sorted(path.name for path in plan.iterdir()) == ["allocation.csv", "analyst.csv", "key.json", "power.csv"]
    text = (plan / "analyst.csv").read_text("utf-8")
    assert "assisted" not in text
    assert "alone" not in text
    masked, opened = (read_plan(plan / "analyst.csv", key) for key in (None, plan / "key.json"))
    assert (masked.open, masked.arms) == (False, ("A", "B"))
    assert (opened.open, opened.arms) == (True, ("alone", "assisted"))
    assert opened.rows.equals(read_plan(plan / "allocation.csv", None).rows)


def test_which_letter_is_which_arm_is_drawn(tmp_path: Path) -> None:
    keys = [json.loads((written(tmp_path / str(seed), seed) / "key.json").read_text("utf-8")) for seed in range(8)]
    assert {key["arms"]["A"] for key in keys} == {"alone", "assisted"}


def test_a_plan_is_never_written_over(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the folder is not empty; name another"):
        written(written(tmp_path / "plan"))


def test_a_key_of_another_study_opens_nothing(tmp_path: Path) -> None:
    plan, foreign = written(tmp_path / "plan"), written(tmp_path / "foreign", seed=1)
    with pytest.raises(UserError, match=r"key=.*foreign.key.json: is of another study than .*analyst.csv"):
        read_plan(plan / "analyst.csv", foreign / "key.json")
    with pytest.raises(UserError, match=r"allocation.csv is open already; leave it out"):
        read_plan(plan / "allocation.csv", plan / "key.json")
    (plan / "key.json").write_text("{}", "utf-8")
    with pytest.raises(UserError, match=r"key.json: damaged \(no arms\); take the one that src.study plan wrote"):
        read_plan(plan / "analyst.csv", plan / "key.json")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (["ann", 1, 1, "", "A"], "row 2 has no case"),
        (["ann", 3, 1, "e2", "A"], "row 2: period is '3'; it must be 1 or 2"),
        (["ann", 1, "last", "e2", "A"], "row 2: order is 'last'; it must be a number"),
        (["ann", 1, 1, "e1", "A"], "row 2: ann reads case e1 a second time"),
        (["ann", 1, 1, "e2", "C"], "row 2: arm is 'C'; it must be assisted, alone, or A or B"),
        (["ann", 1, 1], "row 2"),
    ],
)
def test_a_damaged_plan_is_named_by_row(row: list[object], expected: str, tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "plan.csv", ["coder", "period", "order", "case", "arm"], [["ann", 1, 1, "e1", "A"], row]
    )
    with pytest.raises(UserError) as refusal:
        read_plan(path, None)
    assert str(refusal.value).startswith(f"{path}: ")
    assert expected in str(refusal.value)


def test_cases_come_from_csv_parquet_and_json_lines_alike(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"id": ["7", "8", "9"], "words": [300, 20, None], "mdc": ["05", "PRE", "05"], "drg": ["1"] * 3}
    )
    frame.write_csv(tmp_path / "cases.csv")
    frame.write_parquet(tmp_path / "cases.parquet")
    frame.write_ndjson(tmp_path / "cases.jsonl")
    for name in ("cases.csv", "cases.parquet", "cases.jsonl"):
        cases, left_out = read_cases(tmp_path / name)
        assert cases.rows() == [("7", 300, "05"), ("8", 20, "PRE")]
        assert left_out == 1


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (["", 3, "05"], "row 2 has no id; give each case one"),
        (["e1", 3, "05"], "row 2: case e1 comes twice, first in row 1"),
        (["e2", "many", "05"], "row 2: words is 'many'; it must be a whole number"),
        (["e2", 3], "row 2"),
    ],
)
def test_a_damaged_case_is_named_by_row(row: list[object], expected: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "cases.csv", ["id", "words", "mdc"], [["e1", 30, "05"], row])
    with pytest.raises(UserError) as refusal:
        read_cases(path)
    assert expected in str(refusal.value)


def test_more_coders_show_more() -> None:
    few, many = (power_table(made_allocation(count, 20).readings(), ASSUMED, 200, 0).rows for count in (4, 16))
    for first, second in zip(few, many, strict=True):
        assert second[2] > first[2]
        assert second[3] < first[3]
