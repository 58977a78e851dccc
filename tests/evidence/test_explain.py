import stat
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from src.cli.errors import UserError
from src.config.choices import Method
from src.evidence.explanation import explain_note
from src.explain import ExplainConfig, explain
from src.inference.model import Model
from tests.evidence.conftest import planted_note

TEXTS = {"first": planted_note("469", 1), "=second": " ".join([planted_note("470", 2)] * 8)}


@pytest.fixture
def cfg(planted: Path, tmp_path: Path) -> ExplainConfig:
    rows = "\n".join(f'{key},"{text}"' for key, text in TEXTS.items())
    (tmp_path / "notes.csv").write_text(f"id,text\n{rows}\n", "utf-8")
    places = str(planted / "caml"), str(tmp_path / "notes.csv"), str(tmp_path / "new" / "out.parquet")
    return ExplainConfig(*places, None, None, Method.ATTINGRAD, "cpu", None, None, None, True)


def test_every_sentence_that_is_read_gets_a_row_of_a_private_file(
    cfg: ExplainConfig, opened: dict[str, Model], capsys: pytest.CaptureFixture[str]
) -> None:
    explain(cfg)
    path = Path(cfg.out)
    table = pl.read_parquet(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert table.columns == ["id", "drg", "against", "method", "start", "end", "score", "sentence", "drg_version"]
    assert table["drg_version"].unique().to_list() == ["v34"]
    for key, text in TEXTS.items():
        rows = table.filter(pl.col("id") == key)
        (drg,) = rows["drg"].unique()
        expected = explain_note(opened["caml"], text, drg, method=Method.ATTINGRAD)
        assert rows["start"].to_list() == [row.start for row in expected]
        assert rows["sentence"].to_list() == [text[row.start : row.end] for row in expected]
        assert rows["score"].to_list() == pytest.approx([row.score for row in expected])
    said = capsys.readouterr().out.splitlines()
    assert said[-2] == f"scores of {table.height} sentences in 2 notes: {cfg.out}"
    assert said[-1] == "not read to the end: 1 of them; what stands behind has no score"


def test_a_file_of_each_ending_holds_the_same_rows(cfg: ExplainConfig, tmp_path: Path) -> None:
    tables = []
    for name, read in (("a.csv", pl.read_csv), ("a.jsonl", pl.read_ndjson), ("a.parquet", pl.read_parquet)):
        explain(replace(cfg, out=str(tmp_path / name), drg="469", against="470"))
        tables.append(read(tmp_path / name).with_columns(pl.col("drg", "against").cast(pl.String)))
    assert tables[0]["id"].to_list()[-1] == "'=second"  # a spreadsheet would compute it
    for table in tables[:2]:
        assert table["start"].to_list() == tables[2]["start"].to_list()
        assert table["score"].to_list() == pytest.approx(tables[2]["score"].to_list())
        assert set(table["against"]) == {"470"}


@pytest.mark.parametrize(("key", "value"), [("drg", "abc"), ("method", Method.LINEAR), ("notes", "none.csv")])
def test_what_is_refused_leaves_no_file(key: str, value: str, cfg: ExplainConfig) -> None:
    with pytest.raises(UserError, match=value):
        explain(replace(cfg, **{key: value}))
    assert not Path(cfg.out).parent.exists()
