"""A run that is stopped in any way and started again by the same command equals one that was never stopped."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from src.display.catalog import TIMED
from src.runs.folder import RunFolder
from src.runs.history import read_history
from src.training.checkpoints import BEFORE, LAST, read_checkpoint, write_checkpoint
from src.training.learner import Progress
from tests.forked import Forks

ROOT = Path(__file__).parents[2]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def words(cohort: Path, out: Path) -> list[str]:
    return [
        f"data.dir={cohort}",
        f"out={out}",
        "name=run",
        "max_len=64",
        "data.limit=120",
        "epochs=3",
        "threads=1",
        "device=cpu",
        "checkpoint_minutes=0",
        "wandb.mode=disabled",
    ]


def step_of(run: Path) -> int:
    try:
        with safe_open(RunFolder(run).checkpoints / LAST, "pt") as file:
            return int(json.loads(file.metadata()["told"])["progress"]["step"])
    except Exception:  # not there yet, or being renamed
        return -1


def stopped(forks: Forks, cohort: Path, out: Path, number: signal.Signals, after: int) -> int:
    """Starts the run, sends a signal when `after` steps are saved, and returns its exit status."""
    with Path(os.devnull).open("r+") as nowhere:
        job = forks.start(["src.train", *words(cohort, out)], stdin=nowhere, stdout=nowhere, stderr=nowhere)
    with job:
        while step_of(out / "run") < after and job.poll() is None:
            time.sleep(0.005)
        job.send_signal(number)
        return job.wait(60)


def left(run: Path) -> tuple[dict[str, object], dict[str, bytes], pl.DataFrame]:
    record = json.loads((run / "result.json").read_text())
    kept = {name: record[name] for name in ("metrics", "counts", "tokens_seen", "axes")}
    adapter = {path.name: path.read_bytes() for path in sorted((run / "adapter").glob("*.safetensors"))}
    return kept, adapter, pl.read_parquet(run / "predictions.parquet")


@pytest.fixture(scope="module")
def undisturbed(cohort: Path, tmp_path_factory: pytest.TempPathFactory, command: Run) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    command("src.train", *words(cohort, out))
    return out / "run"


@pytest.mark.slow
def test_a_run_killed_and_terminated_in_mid_epoch_ends_bit_equal(
    cohort: Path, undisturbed: Path, tmp_path: Path, command: Run, forks: Forks
) -> None:
    assert stopped(forks, cohort, tmp_path, signal.SIGKILL, 7) == -signal.SIGKILL
    killed_at = step_of(tmp_path / "run")
    assert 7 <= killed_at < 30
    assert stopped(forks, cohort, tmp_path, signal.SIGTERM, killed_at + 20) == 128 + signal.SIGTERM
    terminated_at = step_of(tmp_path / "run")
    assert killed_at + 20 <= terminated_at < 90
    assert not (tmp_path / "run" / "result.json").exists()
    command("src.train", *words(cohort, tmp_path))
    one, two = left(undisturbed), left(tmp_path / "run")
    assert one[0] == two[0]
    assert one[1] == two[1]
    assert one[2].equals(two[2])
    curves = [read_history(run) for run in (undisturbed, tmp_path / "run")]
    assert curves[0].keys() == curves[1].keys()
    for name in curves[0].keys() - set(TIMED):
        assert curves[0][name] == curves[1][name], name


@pytest.mark.slow
def test_a_truncated_checkpoint_is_noticed_and_the_one_before_is_used(
    cohort: Path, undisturbed: Path, tmp_path: Path, command: Run, forks: Forks
) -> None:
    assert stopped(forks, cohort, tmp_path, signal.SIGKILL, 40) == -signal.SIGKILL
    last = RunFolder(tmp_path / "run").checkpoints / LAST
    last.write_bytes(last.read_bytes()[:-1000])
    told = command("src.train", *words(cohort, tmp_path))
    assert "damaged" in told.stderr
    assert left(undisturbed)[1] == left(tmp_path / "run")[1]


def test_an_unfinished_run_of_another_configuration_is_left_alone(
    cohort: Path, undisturbed: Path, tmp_path: Path, command: Run
) -> None:
    shutil.copytree(RunFolder(undisturbed).checkpoints, RunFolder(tmp_path / "run").checkpoints)
    told = command("src.train", *words(cohort, tmp_path), "lora.r=4", ok=False)
    assert "holds another run, which differs in lora.r (4, there 8); give this one another name=" in told.stderr
    assert "Traceback" not in told.stderr


def test_checkpoints_hold_adapters_and_head_alone(undisturbed: Path) -> None:
    found = read_checkpoint(undisturbed)
    assert found is not None
    kinds = {name.split("/")[0] for name in found[0]}
    assert kinds == {"weights", "best", "exp_avg", "exp_avg_sq"}
    assert all("lora_" in name or name.endswith("/head.weight") for name in found[0])
    assert not [path for path in undisturbed.rglob("*") if path.suffix in (".ckpt", ".pt", ".pkl", ".bin")]


def standing(step: int) -> dict[str, Any]:
    return {"identity": "c1", "progress": {**dataclasses.asdict(Progress()), "stage": "train", "step": step}}


def flipped(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


STEP = rb"\"step\": %d,"
"""As the header of a checkpoint has it, JSON within JSON."""


def another_step(content: bytes) -> bytes:
    assert content.count(STEP % 2) == 1
    return content.replace(STEP % 2, STEP % 3)


@pytest.mark.parametrize("damage", [flipped, another_step, lambda content: content[:-9], lambda content: b""])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[bytes], bytes]
) -> None:
    for step in (1, 2):
        write_checkpoint(tmp_path, {"weights/a": torch.full((50,), float(step))}, standing(step))
    last = RunFolder(tmp_path).checkpoints / LAST
    damaged = damage(last.read_bytes())
    last.write_bytes(damaged)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint[1] == standing(1)
    assert "last.safetensors: damaged" in capsys.readouterr().err
    assert last.with_name(f"{LAST}.damaged").read_bytes() == damaged
    write_checkpoint(tmp_path, {"weights/a": torch.ones(50)}, standing(3))
    assert (RunFolder(tmp_path).checkpoints / BEFORE).is_file()  # what is damaged never takes its place
    for name in (LAST, BEFORE):
        (RunFolder(tmp_path).checkpoints / name).write_bytes(b"")
    assert read_checkpoint(tmp_path) is None


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = RunFolder(tmp_path).checkpoints / LAST
    path.parent.mkdir()
    weights = torch.arange(4.0)
    crc = zlib.crc32(weights.numpy().data, zlib.crc32(b"weights/a"))
    save_file({"weights/a": weights}, path, metadata={"told": json.dumps({**standing(1), "crc32": crc})})
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint[1] == standing(1)
    assert torch.equal(checkpoint[0]["weights/a"], weights)


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path: Path) -> None:
    code = (
        "import resource, sys, torch\nfrom pathlib import Path\n"
        "from src.training.checkpoints import write_checkpoint\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"run = Path({str(tmp_path)!r})\n"
        f"write_checkpoint(run, {{'a': torch.ones(10)}}, {standing(1)!r})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        f"try:\n    write_checkpoint(run, {{'a': torch.ones(10_000)}}, {standing(2)!r})\n"
        "except Exception as error:\n    print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("UserError", "OSError")
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert found[1] == standing(1)
    assert [path.name for path in RunFolder(tmp_path).checkpoints.iterdir()] == [LAST]


def test_the_order_of_notes_is_a_function_of_seed_and_epoch() -> None:
    from src.training.batches import Steps, TokenisedNotes

    notes = TokenisedNotes([[1] * (place + 1) for place in range(10)], [0] * 10)
    steps = Steps(notes, 4, 2, None, 3)
    assert len(steps) == 6
    for epoch in range(2):
        rows = [row for step in range(3 * epoch, 3 * epoch + 3) for row in steps.rows(step)]
        assert sorted(rows) == list(range(10))
    assert steps.rows(0) != steps.rows(3)
    assert steps.rows(4) == Steps(notes, 4, 2, None, 3).rows(4)
    most = max(notes.lengths[steps.rows(step)].sum() for step in range(6))
    assert notes.lengths[steps.longest(4)].sum() == most
    assert [step for step in range(8) if steps.is_validated(step)] == [3, 6]
    assert np.array_equal(notes.lengths, np.arange(1, 11))
