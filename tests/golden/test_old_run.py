"""Run folders of an earlier version are resumed, evaluated, exported, compared and reported by the code of today.

`old_run` was made by commit 6b0e23f from the cohort of conftest.py, in the folder that holds it, and is never made
again: `finished` by `python -m src.train data.dir=cohort out=runs name=finished` with the words of `WORDS`, and
`unfinished` by the same with its name and a SIGTERM after step 8 of 15. Left out are locks, checkpoints that nothing
reads again, and what names the machine.
"""

import csv
import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from tests.golden.doors import call

OLD = Path(__file__).parent / "old_run"
WORDS = [
    "model=femto", "labels=two", "max_len=48", "lora.r=2", "lora.targets=[q_proj,v_proj]", "epochs=3", "batch_size=4",
    "lr=0.01", "threads=1", "device=cpu", "wandb.mode=disabled", "checkpoint_minutes=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def old(few_notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an earlier sweep, where its cohort lies beside the runs as it did then."""
    folder = tmp_path_factory.mktemp("old")
    shutil.copytree(OLD, folder / "runs")
    shutil.copytree(few_notes, folder / "cohort")
    return folder / "runs"


@pytest.fixture(scope="module")
def resumed(old: Path) -> Path:
    """The unfinished run, after the command that had begun it."""
    with redirect_stdout(StringIO()) as output:
        call("train", *again(old, "unfinished"))
    assert "epoch 1," not in output.getvalue()  # it was validated before the stop
    return old / "unfinished"


def again(runs: Path, name: str) -> list[str]:
    return [f"data.dir={runs.parent / 'cohort'}", f"out={runs}", f"name={name}", *WORDS]


def weights(run: Path) -> dict[str, torch.Tensor]:
    files = sorted((run / "adapter").glob("*.safetensors"))
    assert len(files) == 2
    return {f"{path.stem}/{name}": value for path in files for name, value in load_file(path).items()}


def same_bits(run: Path, other: Path) -> bool:
    mine, theirs = weights(run), weights(other)
    assert mine.keys() == theirs.keys()
    tables = [pl.read_parquet(folder / "predictions.parquet") for folder in (run, other)]
    return all(torch.equal(mine[name], theirs[name]) for name in mine) and tables[0].equals(tables[1])


def curves(run: Path) -> list[dict[str, float]]:
    """What training measured by step, without its speed."""
    from src.display.catalog import TIMED

    lines = [json.loads(line) for line in (run / "history.jsonl").read_text("utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]


def test_an_old_unfinished_run_goes_on_to_the_bits_of_the_old_one_that_was_never_stopped(
    old: Path, resumed: Path
) -> None:
    """On a processor that adds up in another order, it comes as near to the old one as a run of today does."""
    before, after = (json.loads((run / "result.json").read_text("utf-8")) for run in (OLD / "finished", resumed))
    for part in ("counts", "axes", "cohort", "tokens_seen"):
        assert after[part] == before[part]
    if same_bits(resumed, OLD / "finished"):
        assert after["metrics"] == before["metrics"]
        assert curves(resumed) == curves(OLD / "finished")
        return
    call("train", *again(old, "today"))
    assert not same_bits(old / "today", OLD / "finished"), "only the resumed run has other weights"
    for name, value in weights(resumed).items():
        assert torch.allclose(value, weights(OLD / "finished")[name], atol=1e-4), name


def test_an_old_finished_run_is_left_as_it_is_by_the_command_that_made_it(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = (old / "finished" / "result.json").read_bytes()
    call("train", *again(old, "finished"))
    assert "finished already" in capsys.readouterr().out
    assert (old / "finished" / "result.json").read_bytes() == record


def test_an_old_finished_run_is_evaluated_to_the_numbers_that_it_recorded(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("evaluate", f"run={old / 'finished'}")
    assert float(capsys.readouterr().out.rsplit(": ", 1)[1]) <= 1e-6
    rows = csv.DictReader((old / "finished" / "evaluation" / "metrics.csv").read_text("utf-8").splitlines())
    values = {row["metric"]: float(row["value"]) for row in rows if row["value"]}
    recorded = json.loads((OLD / "finished" / "result.json").read_text("utf-8"))["metrics"]
    assert values["accuracy"] == pytest.approx(recorded["test/accuracy"], abs=1e-6)


def test_an_old_finished_run_is_exported(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("export", f"run={old / 'finished'}", f"out={tmp_path / 'exported'}")
    assert "plain transformers gives the run's logits" in capsys.readouterr().out
    assert (tmp_path / "exported" / "config.json").is_file()


def test_both_old_runs_stand_in_status_comparison_scaling_and_report(
    old: Path, resumed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("status", str(old), f"csv={tmp_path / 'table.csv'}")
    rows = {row["cell"]: row for row in csv.DictReader((tmp_path / "table.csv").read_text("utf-8").splitlines())}
    assert rows["finished"]["state"] == rows["unfinished"]["state"] == "finished"
    assert rows["finished"]["test/top5"] == rows["unfinished"]["test/top5"]
    capsys.readouterr()
    call("compare", str(old / "finished"), str(resumed))
    assert "unfinished - finished" in capsys.readouterr().out
    for command, record in (("scaling", "scaling.json"), ("report", "report.html")):
        call(command, str(old), f"to={tmp_path / command}")
        assert "femto" in (tmp_path / command / record).read_text("utf-8")
