"""Runs over one base, and one run over several processes: the same results as each run alone in one process."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file

from src.estimates.memory import Setting, settings

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SHORT = ["max_len=64", "data.limit=41", "epochs=2", "threads=1", "device=cpu", "lr=0.005", "wandb.mode=disabled"]

STABLE = [*SHORT, "seed=2"]
"""Rounding grows at this learning rate: note by note, weights differ by 3e-5, 1e-4, 1e-5 and 1e-4 for seeds 0 to 3."""


def scores(run: Path) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return pl.read_parquet(run / "predictions.parquet")["scores"].to_numpy()


def weights(run: Path) -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]:
    return {
        name: value.numpy()
        for path in sorted((run / "adapter").glob("*.safetensors"))
        for name, value in load_file(path).items()
    }


@pytest.fixture(scope="module")
def alone(cohort: Path, tmp_path_factory: pytest.TempPathFactory, command: Run) -> Path:
    out = tmp_path_factory.mktemp("alone")
    command("src.train", f"data.dir={cohort}", f"out={out}", "name=run", *STABLE)
    return out / "run"


@pytest.mark.slow
def test_runs_over_one_base_leave_what_each_leaves_alone(cohort: Path, tmp_path: Path, command: Run) -> None:
    grid = ["lora.r=2,4", "labels=single,two", "batch_size=3", f"data.dir={cohort}", *SHORT]
    command("src.train", "-m", *grid, "together=no", f"out={tmp_path / 'no'}")
    told = command("src.train", "-m", *grid, "together=yes", "wandb.mode=offline", f"out={tmp_path / 'yes'}").stdout
    assert told.count("runs over one base") == 1
    assert len(list(tmp_path.glob("yes/*/wandb/offline-run-*"))) == 4
    names = sorted(path.parent.name for path in (tmp_path / "no").glob("*/result.json"))
    assert names == sorted(path.parent.name for path in (tmp_path / "yes").glob("*/result.json"))
    assert len(names) == 4
    for name in names:
        one, two = tmp_path / "no" / name, tmp_path / "yes" / name
        assert np.abs(scores(one) - scores(two)).max() <= 1e-3
        assert weights(one).keys() == weights(two).keys()
        records = [json.loads((run / "result.json").read_text()) for run in (one, two)]
        assert records[0]["counts"] == records[1]["counts"]
        assert records[0]["tokens_seen"] == records[1]["tokens_seen"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [["devices=2"], ["devices=2", "shard=true"], ["micro_batch=1", "checkpointing=true"]],
    ids=["two processes", "base spread over two processes", "note by note, recomputed"],
)
def test_how_a_step_is_taken_changes_no_result(
    how: list[str], cohort: Path, alone: Path, tmp_path: Path, command: Run
) -> None:
    command("src.train", f"data.dir={cohort}", f"out={tmp_path}", "name=run", *STABLE, *how)
    assert np.abs(scores(alone) - scores(tmp_path / "run")).max() <= 1e-3
    one, two = weights(alone), weights(tmp_path / "run")
    assert max(np.abs(one[name] - two[name]).max() for name in one) <= 1e-4
    records = [json.loads((run / "result.json").read_text()) for run in (alone, tmp_path / "run")]
    assert records[0]["counts"] == records[1]["counts"]
    assert set(records[1]["metrics"]) == set(records[0]["metrics"])


@pytest.mark.slow
def test_runs_that_start_from_another_are_the_same_over_one_base_and_spread(
    cohort: Path, alone: Path, tmp_path: Path, command: Run
) -> None:
    words = [f"data.dir={cohort}", f"init_from={alone}", *SHORT]
    command("src.train", *words, f"out={tmp_path}", "name=run", "seed=2")
    command("src.train", *words, f"out={tmp_path}", "name=spread", "seed=2", "devices=2", "shard=true")
    command("src.train", "-m", *words, f"out={tmp_path / 'together'}", "seed=2,3", "together=yes")
    (together,) = (tmp_path / "together").glob("*-s2-*")
    for run in (tmp_path / "spread", together):
        assert np.abs(scores(tmp_path / "run") - scores(run)).max() <= 1e-3
        assert (run / "head_rows.csv").read_bytes() == (tmp_path / "run" / "head_rows.csv").read_bytes()
    assert np.abs(scores(alone) - scores(tmp_path / "run")).max() > 0.1


def test_more_processes_than_notes_a_step_are_refused(cohort: Path, command: Run) -> None:
    told = command("src.train", f"data.dir={cohort}", "devices=8", "batch_size=4", ok=False).stderr
    assert "batch_size=4: must be at least devices x nodes, 8" in told


def test_settings_go_from_the_fastest_to_the_smallest() -> None:
    assert next(settings(4, None, None)) == Setting(4, False)
    assert list(settings(4, None, None))[-1] == Setting(1, True)
    assert list(settings(4, 2, True)) == [Setting(2, True)]
