import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from src.cli.errors import UserError
from src.runs.folder import RunFolder
from src.runs.lock import LOST, Busy, exclusive, held_by, holding, this_process

ROOT = Path(__file__).parents[2]

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom src.runs.lock import holding\n"
    "with holding(Path(sys.argv[1]), beat_s=0.1):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


def holder(run_dir: Path) -> "subprocess.Popen[str]":
    """A process that holds the lock until it is killed."""
    job = subprocess.Popen([sys.executable, "-c", HOLD, str(run_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert job.stdout
    assert job.stdout.readline() == "held\n"
    job.stdout.close()
    return job


def elsewhere(run_dir: Path) -> Path:
    """A lock that a process of another machine took; returns the file in which it beats."""
    folder = RunFolder(run_dir).lock
    folder.mkdir()
    other = replace(this_process(), host="node7", machine="another boot", pid=1)
    (folder / "1").write_text(json.dumps(asdict(other)))
    (folder / "1.beat").write_text("1")
    return folder / "1.beat"


def test_a_living_holder_is_left_alone_and_a_killed_one_is_known_at_once(tmp_path: Path) -> None:
    job = holder(tmp_path)
    with pytest.raises(Busy) as told, holding(tmp_path):
        pass
    assert told.value.holder
    assert told.value.holder.pid == job.pid == held_by(tmp_path).pid  # type: ignore[union-attr]
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert held_by(tmp_path) is None
    start = time.monotonic()
    with holding(tmp_path):
        assert held_by(tmp_path).pid == os.getpid()  # type: ignore[union-attr]
    assert time.monotonic() - start < 5


def test_a_run_that_wrote_nothing_leaves_no_folder(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "refused"
    for _ in range(2):
        with pytest.raises(UserError, match="refused"), exclusive(run):
            raise UserError("refused")
        assert list(tmp_path.iterdir()) == [run.parent]
        assert not any(run.parent.iterdir())
    # Another process takes the lock while the first gives it back: its file and the folder stay.
    with holding(run, beat_s=600):  # a beat meanwhile would find the lock lost, and end this process
        (run / ".lock" / "2").write_text(json.dumps(asdict(this_process())))
        (run / ".lock" / "1.released").touch()
    assert (run / ".lock" / "2").exists()


def test_a_lock_that_was_given_back_is_free(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").touch()
    for _ in range(5):
        with holding(tmp_path):
            assert held_by(tmp_path)
        assert held_by(tmp_path) is None
    assert {path.name for path in RunFolder(tmp_path).lock.iterdir()} == {"5", "5.beat", "5.released"}


def test_of_many_that_start_together_one_holds(tmp_path: Path) -> None:
    elsewhere(tmp_path)  # dead: all watch it, and all find so at the same moment
    holds, busy, gate = [], [], threading.Barrier(8)

    def start() -> None:
        gate.wait()
        try:
            with holding(tmp_path, beat_s=0.1, stale_s=2):  # one that reads a lock half written watches its beats
                holds.append(1)
                time.sleep(3)
        except Busy:
            busy.append(1)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (len(holds), len(busy)) == (1, 7)


def test_a_holder_on_another_machine_lives_as_long_as_it_beats(tmp_path: Path) -> None:
    beat, done = elsewhere(tmp_path), threading.Event()

    def beating() -> None:
        count = 1
        while not done.wait(0.05):
            count += 1
            beat.write_text(str(count))

    heart = threading.Thread(target=beating)
    heart.start()
    with pytest.raises(Busy), holding(tmp_path, stale_s=2):
        pass
    done.set()
    heart.join()
    start = time.monotonic()
    with holding(tmp_path, stale_s=0.4):
        assert 0.4 <= time.monotonic() - start < 5
    assert held_by(tmp_path) is None


def test_one_look_tells_the_age_of_another_machines_beat(tmp_path: Path) -> None:
    beat = elsewhere(tmp_path)
    assert held_by(tmp_path).host == "node7"  # type: ignore[union-attr]
    os.utime(beat, (time.time() - 100, time.time() - 100))
    assert held_by(tmp_path) is None


def test_a_process_id_that_is_used_again_holds_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).lock
    folder.mkdir()
    (folder / "1").write_text(json.dumps(asdict(replace(this_process(), born=1))))
    assert held_by(tmp_path) is None


@pytest.mark.parametrize("newer", [(2,), (2, 3, 4), (3,)], ids=str)
def test_a_holder_that_was_taken_for_dead_stops(tmp_path: Path, newer: tuple[int, ...]) -> None:
    job = holder(tmp_path)
    job.send_signal(signal.SIGSTOP)
    for number in newer:
        (RunFolder(tmp_path).lock / str(number)).write_text(json.dumps(asdict(this_process())))
    for forgotten in ("1", "1.beat"):  # as every later holder removes them
        (RunFolder(tmp_path).lock / forgotten).unlink(missing_ok=True)
    job.send_signal(signal.SIGCONT)
    assert job.wait(timeout=20) == LOST
    assert not (RunFolder(tmp_path).lock / "1.beat").exists()


def test_a_beat_that_was_under_way_when_a_holder_was_overtaken_leaves_nothing(tmp_path: Path) -> None:
    job = holder(tmp_path)
    job.send_signal(signal.SIGSTOP)
    (RunFolder(tmp_path).lock / "2").write_text(json.dumps(asdict(this_process())))
    (RunFolder(tmp_path).lock / "1").unlink()
    (RunFolder(tmp_path).lock / "1.beat").write_text("7")  # as the stopped process still writes it
    job.send_signal(signal.SIGCONT)
    assert job.wait(timeout=20) == LOST
    assert not (RunFolder(tmp_path).lock / "1.beat").exists()


def test_a_holder_whose_lock_was_removed_stops(tmp_path: Path) -> None:
    job = holder(tmp_path)
    job.send_signal(signal.SIGSTOP)  # else it may beat into the folder while that is removed
    shutil.rmtree(RunFolder(tmp_path).lock)
    job.send_signal(signal.SIGCONT)
    assert job.wait(timeout=20) == LOST
    assert not list(tmp_path.iterdir())


def test_a_number_that_another_process_took_again_is_not_ours(tmp_path: Path) -> None:
    job = holder(tmp_path)
    (RunFolder(tmp_path).lock / "1").write_text(json.dumps(asdict(this_process())))
    assert job.wait(timeout=20) == LOST


WRITE = (
    "import os, signal, sys\nfrom pathlib import Path\nfrom src.cli.files import atomic_folder, atomic_write\n"
    "from src.runs.lock import holding\n"
    "out = Path(sys.argv[1])\n"
    "def sleep(event, words, left=[1]):\n"
    "    if event == sys.argv[2] and sys.argv[3] in str(words[0]) and left:\n"
    "        left.pop()\n"
    "        os.kill(os.getpid(), signal.SIGSTOP)\n"
    "with holding(out, beat_s=60):\n"
    "    sys.addaudithook(sleep)\n"
    "    with atomic_write(out / 'result.json') as tmp:\n        tmp.write_text('stale')\n"
)


@pytest.mark.parametrize(("event", "name"), [("open", ".result.json."), ("os.rename", ".result.json.")])
def test_a_frozen_holder_puts_no_file_in_place_after_it_was_overtaken(tmp_path: Path, event: str, name: str) -> None:
    words = [sys.executable, "-c", WRITE, str(tmp_path), event, name]
    job = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert os.WIFSTOPPED(os.waitpid(job.pid, os.WUNTRACED)[1])
    lock = RunFolder(tmp_path).lock / "1"
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "machine": "another boot"}))
    with holding(tmp_path, stale_s=0.3):
        (tmp_path / "result.json").write_text("new")
    job.send_signal(signal.SIGCONT)
    said = job.communicate(timeout=20)[1]
    assert job.returncode == LOST, said
    assert "another process took this run over" in said
    assert (tmp_path / "result.json").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "result.json"}


@pytest.mark.parametrize("days", [-1, 1])
@pytest.mark.parametrize("which", ["this machine", "the writer"])
def test_a_clock_that_is_a_day_off_decides_nothing(
    tmp_path: Path, days: int, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat, ahead = elsewhere(tmp_path), 86400 * days
    if which == "this machine":
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + ahead)
        assert held_by(tmp_path)
        os.utime(beat, (now() - 100, now() - 100))
        assert held_by(tmp_path) is None
    else:
        os.utime(beat, (time.time() + ahead, time.time() + ahead))
        assert held_by(tmp_path, beat_s=0.05) is None  # it does not beat
    done = threading.Event()

    def beating() -> None:
        count = 1
        while not done.wait(0.02):
            count += 1
            beat.write_text(str(count))
            os.utime(beat, (time.time() + ahead, time.time() + ahead))

    heart = threading.Thread(target=beating)
    heart.start()
    with pytest.raises(Busy), holding(tmp_path, stale_s=2):
        pass
    if days > 0:
        assert held_by(tmp_path, beat_s=0.1)
    done.set()
    heart.join()
    with holding(tmp_path, stale_s=0.3):
        pass


@pytest.mark.parametrize("name", [".nfs0000000012", ".DS_Store", "1.tmp", "notes", "²", ".clock.abc"])
def test_a_stray_file_among_locks_blocks_nothing(tmp_path: Path, name: str) -> None:
    for _ in range(3):
        with holding(tmp_path):
            (RunFolder(tmp_path).lock / name).touch()
            assert held_by(tmp_path)
        assert held_by(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", '{"pid": "x"}', "[" * 100_000, '{"host": 1, "machine": 2, "pid": "1", "born": [], "job": 0}'],
)
def test_a_damaged_lock_is_watched_like_one_of_another_machine(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path).lock
    folder.mkdir()
    (folder / "1").write_text(text)
    assert held_by(tmp_path) is None
    with holding(tmp_path, stale_s=0.2):
        assert held_by(tmp_path)


def test_a_folder_that_vanishes_under_a_look_is_free(tmp_path: Path) -> None:
    done = threading.Event()

    def removing() -> None:
        while not done.is_set():
            shutil.rmtree(RunFolder(tmp_path).lock, ignore_errors=True)

    def making() -> None:
        while not done.is_set():
            with suppress(OSError):
                elsewhere(tmp_path)

    threads = [threading.Thread(target=task) for task in (removing, making)]
    for thread in threads:
        thread.start()
    seen = [held_by(tmp_path, beat_s=0.001) for _ in range(2000)]
    done.set()
    for thread in threads:
        thread.join()
    assert None in seen
    assert {holder.host for holder in seen if holder} <= {"node7"}


def test_a_run_started_by_itself_is_refused_while_another_process_has_it(tmp_path: Path) -> None:
    job = holder(tmp_path)
    with pytest.raises(UserError, match=f"pid {job.pid} works on it"), exclusive(tmp_path):
        pass
    job.kill()
    job.wait()
    with exclusive(tmp_path):
        assert held_by(tmp_path)
    assert held_by(tmp_path) is None
