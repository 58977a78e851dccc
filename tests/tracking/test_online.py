"""Runs that are sent while they go on: undisturbed, resumed after a kill, and with a server that is lost."""

import gc
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import wandb
from wandb.sdk import wandb_setup

from src.config.choices import WandbMode
from src.config.train import WandbConfig
from src.runs.history import Curves, read_history
from src.runs.record import read_record
from src.testing.wandb_here import WandbHere
from src.tracking.flat import record_of
from src.tracking.guard import public_name
from src.tracking.policy import end_wandb
from src.tracking.recorder import Recorder, recording
from src.tracking.run_metadata import RunMetadata
from tests.forked import Forks

pytestmark = pytest.mark.filterwarnings("ignore:.*subprocess:pytest.PytestUnraisableExceptionWarning")

ROOT = Path(__file__).parents[2]

ABOUT = RunMetadata(
    {"model": "nano", "seed": 1}, job_type="train", tags=("two", "llama"), patients={"val": 50, "test": 9}
)

KILLED = """
import sys, time
from pathlib import Path
from src.config.choices import WandbMode
from src.config.train import WandbConfig
from src.tracking.recorder import recording
with recording(WandbConfig(WandbMode.ONLINE, "drg", "kills"), Path(sys.argv[1]), {"model": "nano"}) as log:
    for step in range(1, 8):
        log.log_metrics({"train/loss": 1 / step}, step)
    print("logged", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbHere]:
    """A server that this process is logged in to; time-outs are short."""
    wandb.teardown()  # W&B keeps the address of the first server that it sees
    with WandbHere() as here:
        for name, value in here.env().items():
            if name.startswith("WANDB_") or name == "NO_PROXY":
                monkeypatch.setenv(name, value)
        monkeypatch.setattr("src.tracking.policy.SECONDS_TO_START", 3.0)
        for module in ("policy", "wandb_run"):
            monkeypatch.setattr(f"src.tracking.{module}.SECONDS_TO_FINISH", 3.0)
        yield here
        wandb.teardown()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()  # W&B never waits for its own process


def record(run_dir: Path, mode: WandbMode = WandbMode.ONLINE) -> AbstractContextManager[Recorder]:
    return recording(WandbConfig(mode, "drg", "sweep"), run_dir, ABOUT)


def log(recorder: Recorder, *steps: int) -> None:
    for step in steps:
        recorder.log_metrics({"train/loss": 1 / step, "train/lr": 2e-5 * step}, step)


def sent(server: WandbHere, run_dir: Path) -> Curves:
    """What the server drew: of steps that repeat the last."""
    curves: Curves = {}
    for row in server.history(public_name(run_dir.name)):
        step = row["trainer/global_step"]
        for key in row.keys() - {"trainer/global_step", "_step", "_timestamp", "_runtime"}:
            curves.setdefault(key, {})[step] = row[key]
    return {key: dict(sorted(values.items())) for key, values in curves.items()}


def sync(server: WandbHere, run_dir: Path) -> None:
    """Sends what the run's folder holds."""
    folders = sorted(str(path.parent) for path in (run_dir / "wandb").glob("*run-*/*.wandb"))
    words = [sys.executable, "-m", "wandb", "sync", "--include-online", *folders]
    done = subprocess.run(words, cwd=run_dir, env=server.env(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_online_run_arrives_whole(server: WandbHere, tmp_path: Path) -> None:
    with record(tmp_path) as recorder:
        log(recorder, 1, 2, 3)
        recorder.log_metrics({"val/accuracy": 0.25, "test/accuracy": 0.5}, 3)
        recorder.log_summary({"test/accuracy": 0.5, "val/accuracy": 0.75, "counts/test": 9, "tokens_seen": 12})
    run = server.run(public_name(tmp_path.name))
    local = read_history(tmp_path)
    assert local.pop("test/accuracy") == {3: 0.5}, "of nine patients: kept here, not sent"
    assert sent(server, tmp_path) == local
    assert run.summary["val/accuracy"] == 0.75
    assert not [key for key in run.summary if key.startswith("test/")]
    assert (run.project, run.state, run.config) == ("drg", "finished", {"model": "nano", "seed": 1})
    assert [run.told[key] for key in ("groupName", "jobType", "tags")] == ["sweep", "train", ["two", "llama"]]
    assert not run.files
    assert server.hosts == {f"127.0.0.1:{server.port}"}
    assert not [request for request in server.requests if "otel" in request.head], "W&B measured us"


def test_a_server_that_is_lost_and_comes_back_has_every_row(server: WandbHere, tmp_path: Path) -> None:
    with record(tmp_path) as recorder:
        log(recorder, 1, 2)
        with server.away():
            log(recorder, 3, 4)
        log(recorder, 5)
    assert sent(server, tmp_path) == read_history(tmp_path)
    assert len(read_history(tmp_path)["train/loss"]) == 5


def test_a_server_that_is_lost_to_the_end_has_every_row_after_a_sync(
    server: WandbHere, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with record(tmp_path) as recorder:
        log(recorder, 1, 2)
        server.stop()
        log(recorder, 3)
        began = time.monotonic()
    assert time.monotonic() - began < 20, "a lost server must not hold a job"
    server.start()
    sync(server, tmp_path)
    assert sent(server, tmp_path) == read_history(tmp_path)
    assert len(read_history(tmp_path)["train/loss"]) == 3


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_as_the_same_run(server: WandbHere, tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, env=server.env(), stdout=pipe, text=True, start_new_session=True) as job:
        assert job.stdout
        assert job.stdout.readline() == "logged\n"
        time.sleep(1.5)
        os.killpg(job.pid, signal.SIGKILL)  # W&B's own process too, as when a node is lost
    (kept,) = (tmp_path / "wandb").glob("run-*/*.wandb")
    assert read_history(tmp_path)["train/loss"] == {step: 1 / step for step in range(1, 8)}
    if "x_transaction_log_flush_interval" in wandb.Settings.model_fields:
        assert kept.read_bytes().count(b"train/loss") >= 7, "what was logged a second before is on the disk"
    with record(tmp_path) as recorder:  # from a checkpoint after step 5
        log(recorder, 6, 7, 8)
    run = server.run(public_name(tmp_path.name))
    assert sent(server, tmp_path)["train/loss"] == {step: 1 / step for step in range(1, 9)}
    assert run.state == "finished"
    assert len(server.runs) == 1


def test_the_last_offline_file_of_a_run_holds_the_whole_of_it(server: WandbHere, tmp_path: Path) -> None:
    for steps in ((1, 2, 3), (3, 4)):
        with record(tmp_path, WandbMode.OFFLINE) as recorder:
            log(recorder, *steps)
    assert not server.requests
    first, second = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert first.name == second.name
    words = [sys.executable, "-m", "wandb", "sync", str(second.parent)]
    subprocess.run(words, cwd=tmp_path, env=server.env(), capture_output=True, timeout=60, check=True)
    assert sent(server, tmp_path) == read_history(tmp_path)


@pytest.mark.parametrize("trouble", ["refuses", "is gone", "is silent"])
def test_a_server_in_trouble_makes_the_run_an_offline_one(
    trouble: str, server: WandbHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if trouble == "refuses":
            server.refuses = 403
        elif trouble == "is gone":
            server.stop()
        else:
            monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with record(tmp_path) as recorder:
            log(recorder, 1, 2)
    assert time.monotonic() - began < 20
    assert capsys.readouterr().err.count("recording offline") == 1
    assert len(read_history(tmp_path)["train/loss"]) == 2
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


def test_a_w_and_b_that_dies_leaves_the_run_to_its_own_history(
    server: WandbHere, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with record(tmp_path) as recorder:
        log(recorder, 1)
        cores = subprocess.run(
            ["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True, text=True, check=True
        )
        for pid in cores.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        for step in range(2, 6):
            log(recorder, step)
            time.sleep(0.1)
    assert capsys.readouterr().err.count("goes on without W&B") == 1
    assert len(read_history(tmp_path)["train/loss"]) == 5
    with record(tmp_path) as recorder:
        log(recorder, 6)
    assert sent(server, tmp_path) == read_history(tmp_path), "the next start sends what the server missed"


def test_a_w_and_b_that_does_not_end_is_ended(server: WandbHere) -> None:
    assert wandb.Api().default_entity == server.entity
    process = wandb_setup.singleton()._connection._proc._process
    process.send_signal(signal.SIGSTOP)  # it takes no word to end, as after a question that nobody answered
    end_wandb(0.5)
    assert process.returncode == -signal.SIGKILL
    assert wandb.Api().default_entity == server.entity, "the next asks a process of its own"
    end_wandb()


def test_a_w_and_b_with_a_run_of_ours_is_not_ended(server: WandbHere, tmp_path: Path) -> None:
    with record(tmp_path) as recorder:
        log(recorder, 1)
        end_wandb(0.0)
        log(recorder, 2)
    assert sent(server, tmp_path)["train/loss"] == {1: 1.0, 2: 0.5}


def test_a_folder_in_which_w_and_b_cannot_write_leaves_the_run_to_its_own_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wandb").write_text("a file where a folder should be")
    with record(tmp_path, WandbMode.OFFLINE) as recorder:
        log(recorder, 1, 2)
    assert len(read_history(tmp_path)["train/loss"]) == 2
    assert capsys.readouterr().err.count("without W&B") == 1


@pytest.mark.slow
def test_a_trained_run_is_at_the_server_what_it_is_in_its_folder(
    server: WandbHere, cohort: Path, tmp_path: Path, forks: Forks
) -> None:
    words = [
        f"data.dir={cohort}",
        f"out={tmp_path}",
        "name=sent",
        "max_len=64",
        "epochs=2",
        "data.limit=48",
        "threads=1",
    ]
    words += ["device=cpu", "labels=two", "wandb.mode=online", "wandb.group=nano"]
    done = forks.run(["src.train", *words], env=server.env())
    assert done.returncode == 0, done.stderr
    (run,) = server.runs
    own, sent = read_record(tmp_path / "sent"), record_of(run.config, run.summary)
    assert sent.metrics == {name: value for name, value in own.metrics.items() if value is not None}
    for part in ("axes", "cohort", "code", "counts", "intervals", "tokens_seen", "seconds"):
        assert getattr(sent, part) == getattr(own, part), part
    assert [run.told[key] for key in ("groupName", "jobType", "tags")] == ["nano", "train", ["two", "llama", "clean"]]
    curves: Curves = {}
    for row in run.history:
        for key in row.keys() - {"trainer/global_step", "_step", "_timestamp", "_runtime"}:
            curves.setdefault(key, {})[row["trainer/global_step"]] = row[key]
    assert curves == read_history(tmp_path / "sent")
    drawn = ("loss", "lr", "grad_norm", "tokens_per_second", "padding", "memory_gib", "seconds_left")
    assert {f"train/{name}" for name in drawn} <= curves.keys()
    assert {"val/accuracy", "val/macro_f1", "val/micro_f1", "val/loss"} <= curves.keys()
