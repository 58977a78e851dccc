import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from src.privacy.offline_runs import journal_files
from src.privacy.upload import SYNC, missing_rows
from src.testing.wandb_here import WandbHere

ROOT = Path(__file__).parents[2]

START = """
import os, signal, sys, time
from src.tracking.policy import ENVIRONMENT, settings
os.environ.update(ENVIRONMENT)
import wandb
folder, mode, first, last, end = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
run = wandb.init(project="drg", id="cell", name="cell", dir=folder, mode=mode, config={"model": "nano", "seed": 1},
                 resume="allow" if mode == "online" else None, settings=wandb.Settings(**settings()))
for step in range(first, last, 10):
    run.log({"train/loss": 100 / step, "trainer/global_step": step})
    if step % 20 == 0:
        run.log({"val/accuracy": step / 1000, "trainer/global_step": step})
if end == "killed":
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGKILL)
run.summary.update({"test/accuracy": 0.5})
run.finish()
"""


def start(folder: Path, env: Mapping[str, str], mode: str, first: int, last: int, end: str = "finished") -> None:
    """One start of a run that logs every ten steps from `first` to before `last`."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-c", START, str(folder), mode, str(first), str(last), end]
    done = subprocess.run(words, cwd=ROOT, env=dict(env), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (-signal.SIGKILL if end == "killed" else 0), done.stderr


def sync(server: WandbHere, *words: str, status: int = 0, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "src.sync", *words],
        cwd=ROOT, env=server.env(**more), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def told(server: WandbHere, name: str = "cell") -> list[dict[str, Any]]:
    """A run's history without W&B's own columns."""
    return [{key: value for key, value in row.items() if key[0] != "_"} for row in server.history(name)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The history at the server of a run that was online from beginning to end."""
    with WandbHere() as server:
        start(tmp_path_factory.mktemp("online") / "cell", server.env(), "online", 10, 70)
        return told(server)


@pytest.mark.slow
def test_an_offline_run_that_was_killed_and_went_on_is_sent_as_one_that_was_never_disturbed(
    tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    run = tmp_path / "cell"
    with WandbHere() as server:
        start(run, server.env(), "offline", 10, 50, "killed")
        start(run, server.env(), "offline", 30, 70)
        assert len(journal_files(run)) == 2
        assert "sent, " in sync(server, str(run), "notes=no")
        assert told(server) == undisturbed
        assert [row["_step"] for row in server.history("cell")] == list(range(len(undisturbed)))
        assert server.summary("cell")["test/accuracy"] == 0.5
        assert server.config("cell") == {"model": "nano", "seed": 1}
        assert "sent before" in sync(server, str(run), "notes=no")
        (run / SYNC).unlink()
        assert "the server has all of it" in sync(server, str(run), "notes=no")
        assert told(server) == undisturbed
        assert len(server.runs) == 1
        assert not server.files("cell")
        assert str(tmp_path).encode() not in server.sent()


@pytest.mark.slow
def test_a_run_whose_server_was_lost_while_it_was_online_is_completed(
    tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    run = tmp_path / "cell"
    with WandbHere() as server:
        start(run, server.env(), "online", 10, 30)
        start(run, server.env(), "offline", 30, 70)
        assert len(told(server)) < len(undisturbed)
        sync(server, str(run), "notes=no")
        assert told(server) == undisturbed


@pytest.mark.slow
def test_a_server_lost_on_the_way_loses_nothing(tmp_path: Path, undisturbed: list[dict[str, Any]]) -> None:
    class Lost(WandbHere):
        lost = True

        def reply(self, method: str, path: str, head: str, raw: bytes, encoding: str) -> tuple[int, bytes]:
            if self.lost and "file_stream" in path:
                return 503, b"{}"
            return super().reply(method, path, head, raw, encoding)

    run = tmp_path / "cell"
    with Lost() as server:
        start(run, server.env(), "offline", 10, 70)
        said = sync(server, str(run), "notes=no", status=2)
        assert "the same command sends what is left" in said
        assert not (run / SYNC).exists()
        server.lost = False
        assert "sent, " in sync(server, str(run), "notes=no")
        assert told(server) == undisturbed


def test_of_a_run_that_is_not_clean_not_one_byte_reaches_the_server(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "two"
    shutil.copytree(runs["two"], run, symlinks=True)
    with WandbHere() as server:
        (run / "wandb" / "more.txt").write_text("anything")
        said = sync(server, str(run), status=1)
        assert "1 finding" in said
        assert "not sent" in said
        assert server.sent() == b""


def test_a_folder_of_real_runs_arrives_with_all_that_their_records_say(runs: dict[str, Path], tmp_path: Path) -> None:
    for scheme, run in runs.items():
        shutil.copytree(run, tmp_path / "runs" / scheme, symlinks=True)
    with WandbHere() as server:
        said = sync(server, str(tmp_path / "runs"))
        assert said.count("sent, ") == len(runs)
        for scheme, run in runs.items():
            record = json.loads((run / "result.json").read_text())
            (sent,) = [each for each in server.runs if each.config["labels"] == scheme]
            assert sent.summary["test/accuracy"] == record["metrics"]["test/accuracy"]


def test_without_login_and_without_server_it_says_so(runs: dict[str, Path]) -> None:
    with WandbHere() as server:
        assert "wandb login" in sync(server, str(runs["two"]), status=2, WANDB_API_KEY="", NETRC="/nowhere")
    assert "does not answer" in sync(server, str(runs["two"]), status=2)


def test_only_what_the_server_lacks_is_missing() -> None:
    rows = [{"trainer/global_step": step, "train/loss": 1 / step, "_step": step} for step in (1, 2, 3)]
    assert missing_rows(rows, rows) == []
    assert missing_rows(rows, []) == rows
    assert missing_rows(rows, [*rows[:2], {**rows[1], "train/loss": 9.0}]) == rows[1:]
