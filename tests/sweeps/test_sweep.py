"""Whole sweeps in processes of this machine, and what is said of them."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from src.cli.compose import CONF, Composed, compose_points, read_command_line, to_schema
from src.cli.errors import UserError
from src.config.train import TrainConfig
from src.runs.state import JobState, RunStatus, read_state, write_state
from src.sweeps.manifest import write_sweep
from src.sweeps.start import launch
from src.sweeps.status_table import read_rows
from src.sweeps.sweep import launcher_config, plan_jobs, run_sweep
from src.train import train
from tests.conftest import whole_record
from tests.forked import Forks

ROOT = Path(__file__).parents[2]
SWEEPS = CONF.parent / "sweeps"
SHORT = ["max_len=64", "epochs=1", "data.limit=24", "threads=1", "device=cpu", "wandb.mode=disabled"]


def asked(*words: str) -> Composed[TrainConfig]:
    return compose_points(TrainConfig, read_command_line(list(words), "train"))


@pytest.mark.parametrize("name", sorted(path.stem for path in SWEEPS.glob("*.yaml")))
def test_composing_a_grid_at_once_equals_composing_each_cell(name: str, early_cohort: Path) -> None:
    from hydra import compose, initialize_config_dir

    grid = asked("--config-dir", str(SWEEPS), "--config-name", name, f"data.dir={early_cohort}", "lr=0.01")
    with initialize_config_dir(str(SWEEPS.absolute()), version_base="1.3"):
        for point in grid.points[:: max(1, len(grid.points) // 3)]:
            slow = compose(name, [f"hydra.searchpath=[file://{CONF}]", *point.words])
            assert to_schema(TrainConfig, slow) == point.config


def test_a_grid_can_be_narrowed_on_the_command_line(cohort: Path) -> None:
    words = ["--config-dir", str(SWEEPS), "--config-name", "full", f"data.dir={cohort}"]
    jobs = plan_jobs("full", asked(*words, "lora.r=4,8", "labels=two").points)
    assert len(jobs) == 8
    assert {(job.cfg.lora.r, str(job.cfg.labels)) for job in jobs} == {(4, "two"), (8, "two")}
    assert {job.cfg.wandb.group for job in jobs} == {"full"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model=tfidf", "lora.r=16"], "model=tfidf: does not read lora.r; it is left out\n"),
        (["model=tfidf", "lora.r=16", "epochs=3"], "model=tfidf: does not read lora.r, epochs; they are left out\n"),
        (["model=tfidf", "seed=3", "data.limit=90"], ""),
        (["model=nano", "lora.r=16"], ""),
    ],
)
def test_typed_words_that_the_system_of_a_run_does_not_read_are_named(
    words: list[str], expected: str, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = read_command_line([*words, f"data.dir={cohort}", "device=cpu", "dry_run=true"], "train")
    launch(line, compose_points(TrainConfig, line), train)
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("tfidf,fusion", ["model=tfidf,fusion: does not read lora.r; it is left out"]),
        ("tfidf,nano", []),
    ],
)
def test_of_a_grid_words_are_named_that_no_cell_reads(
    models: str, expected: list[str], cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", f"model={models}", "lora.r=16", f"data.dir={cohort}", "device=cpu", "dry_run=true"]
    line = read_command_line(words, "train")
    launch(line, compose_points(TrainConfig, line), train)
    assert [text for text in capsys.readouterr().err.splitlines() if "does not read" in text] == expected


def test_impossible_cells_are_left_out_with_a_message(cohort: Path) -> None:
    grid = asked("-m", "model=nano,llama7b", "max_len=256,512", f"data.dir={cohort}")
    assert len(grid.points) == 3
    assert len(grid.dropped) == 1
    assert "model=nano max_len=512" in grid.dropped[0]
    assert "above the context of model=nano" in grid.dropped[0]


def test_a_value_that_no_cell_can_have_fails_before_the_first_job(cohort: Path) -> None:
    for word, told in (("lora.r=0,8", "lora.r=0: must be at least 1"), ("max_len=512,9999", "above the context")):
        with pytest.raises(UserError, match=told):
            asked("-m", word, "model=nano", f"data.dir={cohort}")


@pytest.mark.parametrize("word", ["hydra/launcher=slrum", "hydra.launcher.partitoin=gpu"])
def test_a_wrong_launcher_or_key_of_it_is_one_clear_error(word: str, cohort: Path) -> None:
    with pytest.raises(UserError, match=word.split("=")[0]) as told:
        asked("-m", "hydra/launcher=slurm" if "." in word else "seed=1", word, f"data.dir={cohort}")
    assert "\n\n" not in str(told.value)


def test_cells_that_would_share_a_folder_are_refused(cohort: Path) -> None:
    with pytest.raises(UserError, match="name=x: 2 cells would share one folder"):
        plan_jobs("s", asked("-m", "seed=1,2", "name=x", f"data.dir={cohort}").points)


def test_every_launcher_composes_and_its_values_are_checked(cohort: Path) -> None:
    names = sorted(path.stem for path in (CONF / "hydra" / "launcher").glob("*.yaml"))
    assert names == ["in_turn", "processes", "ray", "slurm"]
    for name in names:
        (point,) = asked("-m", f"hydra/launcher={name}", f"data.dir={cohort}").points
        assert launcher_config(point.launcher).retries == 3
    wrong = ["hydra/launcher=slurm", "hydra.launcher.timeout_min=4", "hydra.launcher.retries=-1"]
    with pytest.raises(UserError, match="2 problems"):
        launcher_config(asked("-m", *wrong, f"data.dir={cohort}").points[0].launcher)


def test_changed_code_and_another_cohort_are_said_and_finished_cells_kept(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = plan_jobs("kept", asked("-m", "seed=1,2", f"data.dir={cohort}", f"out={tmp_path}").points)
    for job in jobs:
        write_state(job.folder, JobState(RunStatus.FINISHED, code=["0123456789ab"]))
        (job.folder / "result.json").write_text(whole_record(metrics={"test/accuracy": 0.5}))
    stranger = tmp_path / f"{jobs[0].name.rpartition('-')[0]}-c0000000"
    stranger.mkdir()
    (stranger / "result.json").write_text(whole_record(cohort="another"))
    run_sweep("kept", jobs, lambda folder: pytest.fail("trained again"))
    told = capsys.readouterr()
    assert "2 finished cells were trained by other code and are kept" in told.err
    assert "1 runs of the same names in this folder belong to another cohort" in told.err
    assert told.out.count("0.500") == 2


def test_a_cluster_is_asked_for_several_runs_only(
    cohort: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    told = command("src.train", f"data.dir={cohort}", "hydra/launcher=slurm", ok=False).stderr
    assert "hydra/launcher=slurm: is for multiruns; add -m" in told


def test_what_a_single_run_does_not_read_of_hydra_is_said(
    cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["model=majority", f"data.dir={cohort}", f"out={tmp_path}", "data.limit=24", "wandb.mode=disabled"]
    done = command("src.train", *words, "hydra.job.chdir=true", "hydra/launcher=processes")
    assert done.stderr.splitlines() == ["hydra.job.chdir=true: changes nothing of a single run"]
    assert list(tmp_path.glob("*/result.json"))


def test_cells_left_out_are_named_where_the_others_share_a_base(
    cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["-m", "model=femto", "together=auto", "max_len=32,9999", "max_steps=2", "data.limit=24", "threads=1"]
    done = command("src.train", *words, f"data.dir={cohort}", f"out={tmp_path}", "device=cpu", "wandb.mode=disabled")
    assert ": left out; max_len=9999: above the context of model=femto" in done.stderr
    assert len(list(tmp_path.glob("*/result.json"))) == 1


def test_five_hundred_cells_are_planned_and_reported_in_seconds(cohort: Path, tmp_path: Path) -> None:
    grid = asked("-m", "seed=range(250)", "labels=single,two", f"data.dir={cohort}", f"out={tmp_path}")
    jobs = plan_jobs("many", grid.points)
    assert len({job.folder for job in jobs}) == 500
    write_sweep(tmp_path, "many", jobs)
    for job in jobs[:100]:
        write_state(job.folder, JobState(RunStatus.FAILED, error="OSError"))
    standing = [row.look.standing for row in read_rows("many", tmp_path)]
    assert (standing.count(RunStatus.FAILED), standing.count(RunStatus.WAITING)) == (100, 400)


def test_the_status_needs_neither_torch_nor_polars(tmp_path: Path) -> None:
    write_state(tmp_path / "one", JobState(RunStatus.FAILED))
    code = f"import sys; sys.argv = ['x', {str(tmp_path)!r}]\nfrom src.status import main\nmain()\n"
    code += "print([name for name in ('torch', 'polars', 'wandb') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.slow
def test_a_sweep_outlives_killed_failed_and_stopped_cells(
    cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]], forks: Forks
) -> None:
    words = ["-m", f"data.dir={cohort}", f"out={tmp_path}", *SHORT, "epochs=2", "model.path=src/models/nano,x"]
    words += ["hydra/launcher=processes", "hydra.launcher.workers=1"]
    job = subprocess.Popen([forks.python, "-m", "src.train", *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    killed = ""
    while not killed and job.poll() is None:
        time.sleep(0.02)
        for path in tmp_path.glob("*/state.json"):
            state = read_state(path.parent)
            if state and state.done and state.state is RunStatus.RUNNING:
                os.kill(state.pid, signal.SIGKILL)
                killed = path.parent.name
                break
    told = job.communicate(timeout=300)[1]
    assert job.returncode == 2
    assert f"{killed}: killed by SIGKILL, as the system does when memory runs out; started again" in told
    assert "1 of 2 cells failed" in told
    assert len(list(tmp_path.glob("*/result.json"))) == 1
    assert read_state(tmp_path / killed).attempts == 2  # type: ignore[union-attr]
    table = tmp_path / "table.csv"
    shown = command("src.status", "multirun", f"out={tmp_path}", f"csv={table}", fresh=True).stdout
    assert "2 cells: 1 finished, 1 failed" in shown
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert sum(bool(row["test/accuracy"]) for row in rows) == 1
    assert sum("model.path=x" in row["remark"] for row in rows) == 1
    assert not [row for row in read_rows("multirun", tmp_path) if row.look.holder]


@pytest.mark.slow
def test_a_dry_run_of_a_sweep_prices_every_cell_and_starts_none(
    cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["--config-dir", "sweeps", "--config-name", "full", f"data.dir={cohort}", f"out={tmp_path}"]
    told = command("src.train", *words, "dry_run=true", "hydra.launcher.gpu=rtx4090").stdout
    assert told.count("llama7b-len") == told.count("llama13b-len") == 12
    assert "GPU-hours left on one rtx4090" in told
    assert "12 cells do not fit" in told
    assert "precision=int8 would take about" in told  # what a run of its own is advised first
    assert not list(tmp_path.iterdir())


def test_records_are_plain_values(tmp_path: Path) -> None:
    write_state(tmp_path, JobState(RunStatus.RUNNING, "vm", 1, metric=0.5))
    told = json.loads((tmp_path / "state.json").read_text())
    assert all(isinstance(value, str | int | float | list | dict) or value is None for value in told.values())
