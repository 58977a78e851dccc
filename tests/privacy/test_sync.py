import json
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from src.cohort.split import Split
from src.privacy.offline_runs import journal_files
from src.privacy.upload import SYNC, missing_rows
from src.privacy.wandb_files import hashes_of
from src.runs.history import Curves, read_history
from src.runs.record import read_cohort_of, read_record
from src.testing.wandb_here import WandbHere
from src.testing.wandb_sent import EVENTS, SentRun
from src.tracking.run_metadata import TRACKING
from src.tracking.wandb_run import STEP
from tests.conftest import SHORT, whole_record
from tests.forked import Forks

ROOT = Path(__file__).parents[2]
NAME = "nano-len64-r8-two-s1-c0000000"

START = """
import os, signal, sys, time
from pathlib import Path
from src.config.choices import WandbMode
from src.config.train import WandbConfig
from src.runs.record import read_record
from src.tracking.flat import flat
from src.tracking.recorder import recording
from src.tracking.run_metadata import RunMetadata
folder, mode, first, last, record = Path(sys.argv[1]), WandbMode(sys.argv[2]), *map(int, sys.argv[3:5]), sys.argv[5]
metadata = RunMetadata({"model": "nano", "seed": 1}, tags=("two", "llama"), patients={"val": 50, "test": 50})
with recording(WandbConfig(mode, "drg", "sweep"), folder, metadata) as recorder:
    for step in range(first, last, 10):
        recorder.log_metrics({"train/loss": 100 / step}, step)
        if step % 20 == 0:
            recorder.log_metrics({"val/accuracy": step / 1000}, step)
    if not record:
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / "result.json").write_text(record)
    recorder.log_summary(flat(read_record(folder)))
"""

RECORD = whole_record(
    axes={"model": "nano", "params": 1, "max_len": 64, "lora_r": 8, "labels": "two", "seed": 1},
    metrics={"test/accuracy": 0.5, "test/macro_auc": None},
    intervals={"test/accuracy": [0.4, 0.6]},
)


def start(
    forks: Forks, folder: Path, env: Mapping[str, str], mode: str, first: int, last: int, record: str = RECORD
) -> None:
    """One start of a run that logs every ten steps from `first` to before `last`; without a record it is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    done = forks.run(["-c", START, str(folder), mode, str(first), str(last), record], env=env)
    assert done.returncode == (0 if record else -signal.SIGKILL), done.stderr


def sync(forks: Forks, server: WandbHere, *words: str, status: int = 0, **more: str) -> str:
    done = forks.run(["src.sync", *words], env=server.env(**more))
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def shown(run: SentRun) -> dict[str, Any]:
    """All that a server shows of a run but W&B's own counting and clock; of steps that repeat the last counts."""
    curves: Curves = {}
    for row in run.history:
        for key in [key for key in row if key != STEP and key[0] != "_"]:
            curves.setdefault(key, {})[row[STEP]] = row[key]
    labels = {key: run.told.get(key) for key in ("displayName", "groupName", "jobType", "tags", "program", "host")}
    summary = {key: value for key, value in run.summary.items() if key[0] != "_"}
    summary.pop("runtime", None)
    drawn = {key: dict(sorted(values.items())) for key, values in curves.items()}
    return {"curves": drawn, "summary": summary, "config": run.config, "state": run.state, **labels}


@pytest.fixture(scope="module")
def undisturbed(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a server shows of a run that was online from beginning to end."""
    with WandbHere() as server:
        start(forks, tmp_path_factory.mktemp("online") / NAME, server.env(), "online", 10, 70)
        return shown(server.run(NAME))


def test_an_offline_run_that_was_killed_and_went_on_is_sent_as_one_that_was_never_disturbed(
    forks: Forks, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    run = tmp_path / NAME
    with WandbHere() as server:
        start(forks, run, server.env(), "offline", 10, 50, record="")
        start(forks, run, server.env(), "offline", 30, 70)
        assert len(journal_files(run)) == 2
        before = hashes_of(run)
        assert "sent, " in sync(forks, server, str(run), "notes=no")
        assert shown(server.run(NAME)) == undisturbed
        assert undisturbed["summary"]["test/accuracy/high"] == 0.6
        assert hashes_of(run) == before, "sending a run leaves its folder as it was"
        requests = len(server.requests)
        assert "sent before" in sync(forks, server, str(run), "notes=no")
        assert all("file_stream" not in request.head for request in server.requests[requests:])
        (run / SYNC).unlink()
        assert "the server has all of it" in sync(forks, server, str(run), "notes=no")
        assert shown(server.run(NAME)) == undisturbed
        assert [row["_step"] for row in server.history(NAME)] == list(range(6))
        assert len(server.runs) == 1
        assert not server.files(NAME)
        assert not server.run(NAME).lines[EVENTS], "the machine that sends is not the one that trained"
        assert str(tmp_path).encode() not in server.sent()
        bodies = [file.read_bytes()[7:] for file in journal_files(run)]
        assert not [body for body in bodies if body and body in server.sent()]


def test_a_run_that_was_killed_is_sent_as_far_as_it_came_and_completed_later(
    forks: Forks, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    run = tmp_path / NAME
    with WandbHere() as server:
        start(forks, run, server.env(), "offline", 10, 40, record="")
        assert "sent, " in sync(forks, server, str(run), "notes=no")
        assert (shown(server.run(NAME))["state"], len(server.history(NAME))) == ("failed", 3)
        start(forks, run, server.env(), "offline", 30, 70)
        assert "sent, " in sync(forks, server, str(run), "notes=no")
        assert shown(server.run(NAME)) == undisturbed
        assert len(server.history(NAME)) == 6, "what the server has is not sent again"


def test_a_run_whose_server_was_lost_while_it_was_online_is_completed(
    forks: Forks, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    run = tmp_path / NAME
    with WandbHere() as server:
        start(forks, run, server.env(), "online", 10, 30)
        start(forks, run, server.env(), "offline", 30, 70)
        assert shown(server.run(NAME)) != undisturbed
        sync(forks, server, str(run), "notes=no")
        assert shown(server.run(NAME)) == undisturbed


@pytest.mark.slow
def test_a_server_lost_on_the_way_loses_nothing(forks: Forks, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    class Lost(WandbHere):
        lost = True

        def reply(self, method: str, path: str, head: str, raw: bytes, encoding: str) -> tuple[int, bytes]:
            if self.lost and "file_stream" in path:
                return 503, b"{}"
            return super().reply(method, path, head, raw, encoding)

    run = tmp_path / NAME
    with Lost() as server:
        start(forks, run, server.env(), "offline", 10, 70)
        said = sync(forks, server, str(run), "notes=no", status=2)
        assert "the same command sends what is left" in said
        assert not (run / SYNC).exists()
        server.lost = False
        assert "sent, " in sync(forks, server, str(run), "notes=no")
        assert shown(server.run(NAME)) == undisturbed


def test_a_404_of_something_between_is_no_word_of_the_server_and_nothing_is_sent(forks: Forks, tmp_path: Path) -> None:
    class Between(WandbHere):
        def reply(self, method: str, path: str, head: str, raw: bytes, encoding: str) -> tuple[int, bytes]:
            status, answer = super().reply(method, path, head, raw, encoding)
            return (404, b"404 page not found") if b"query Run(" in self.requests[-1].body else (status, answer)

    run = tmp_path / NAME
    with Between() as server:
        start(forks, run, server.env(), "offline", 10, 30)
        said = sync(forks, server, str(run), "notes=no", status=2)
        assert f"{server.url}: does not say what it has of drg/{NAME} (404 page not found); the same command" in said
        assert not (run / SYNC).exists()
        assert not server.runs
        assert all("file_stream" not in request.head for request in server.requests)


def test_a_run_of_an_earlier_version_is_found_by_what_its_record_and_its_cohort_say(
    forks: Forks, runs: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(runs["two"], tmp_path / "two", symlinks=True)
    with WandbHere() as server, WandbHere() as other:
        sync(forks, server, str(tmp_path / "two"))
        (tmp_path / "two" / TRACKING).unlink()
        assert "sent, " in sync(forks, other, str(tmp_path / "two"))
        (sent,), (again,) = server.runs, other.runs
        assert (sent.name, shown(sent)) == (again.name, shown(again))
        (tmp_path / "two" / "result.json").unlink()
        said = sync(forks, other, str(tmp_path / "two"), "notes=no", status=2)
        assert f"has neither result.json nor {TRACKING}" in said


@pytest.mark.slow
def test_a_trained_run_that_is_sent_is_at_the_server_what_it_was_while_it_was_online(
    forks: Forks, cohort: Path, tmp_path: Path
) -> None:
    words = [f"data.dir={cohort}", f"out={tmp_path}", "name=both", "labels=two", *SHORT, "wandb.mode=online"]
    with WandbHere() as online, WandbHere() as server:
        done = forks.run(["src.train", *words, "wandb.group=nano"], env=online.env())
        assert done.returncode == 0, done.stderr
        assert "sent, " in sync(forks, server, str(tmp_path / "both"))
        (first,), (replayed,) = online.runs, server.runs
        assert (replayed.project, replayed.name) == (first.project, first.name)
        assert shown(replayed) == shown(first)
        assert shown(first)["curves"] == read_history(tmp_path / "both")
        assert {"test/accuracy/low", "counts/train", "axes/params", "tokens_seen"} <= first.summary.keys()


def test_what_a_hand_wrote_into_what_is_sent_is_found_or_refused(
    forks: Forks, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "two"
    shutil.copytree(runs["two"], run, symlinks=True)
    kept = json.loads((run / TRACKING).read_text())
    patient = read_cohort_of(read_record(run), run).rows(Split.TRAIN)["subject_id"][0]
    with WandbHere() as server:
        (run / TRACKING).write_text(json.dumps({**kept, "group": f"case-{patient}"}))
        said = sync(forks, server, str(run), status=1)
        assert f"{TRACKING}: the id of a patient" in said
        assert str(patient) not in said
        (run / TRACKING).write_text(json.dumps({**kept, "config": {**kept["config"], "model": "Okonkwo"}}))
        said = sync(forks, server, str(run), status=2)
        assert "model: its value is not one that may be logged; it is not sent" in said
        assert "Okonkwo" not in said
        assert server.sent() == b""


def test_of_a_run_that_is_not_clean_not_one_byte_reaches_the_server(
    forks: Forks, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "two"
    shutil.copytree(runs["two"], run, symlinks=True)
    with WandbHere() as server:
        (run / "wandb" / "more.txt").write_text("anything")
        said = sync(forks, server, str(run), status=1)
        assert "1 finding" in said
        assert "not sent" in said
        assert server.sent() == b""


def test_a_folder_of_real_runs_arrives_with_all_that_their_records_say(
    forks: Forks, runs: dict[str, Path], tmp_path: Path
) -> None:
    for scheme, run in runs.items():
        shutil.copytree(run, tmp_path / "runs" / scheme, symlinks=True)
    with WandbHere() as server:
        said = sync(forks, server, str(tmp_path / "runs"))
        assert said.count("sent, ") == len(runs)
        for scheme, run in runs.items():
            record = json.loads((run / "result.json").read_text())
            (sent,) = [each for each in server.runs if each.config["labels"] == scheme]
            assert sent.summary["test/accuracy"] == record["metrics"]["test/accuracy"]


def test_without_login_and_without_server_it_says_so(forks: Forks, runs: dict[str, Path]) -> None:
    with WandbHere() as server:
        assert "wandb login" in sync(forks, server, str(runs["two"]), status=2, WANDB_API_KEY="", NETRC="/nowhere")
    assert "does not answer" in sync(forks, server, str(runs["two"]), status=2)


def test_only_what_the_server_lacks_is_missing() -> None:
    rows = {step: {"train/loss": 1 / step} for step in (1, 2, 3)}
    has = [{STEP: step, **row, "_step": step} for step, row in rows.items()]
    assert missing_rows(rows, has) == {}
    assert missing_rows(rows, []) == rows
    assert missing_rows(rows, [*has[:2], {**has[1], "train/loss": 9.0}]) == {2: {"train/loss": 0.5}, 3: rows[3]}
