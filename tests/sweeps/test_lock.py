import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from src.shell.errors import UserError
from src.sweeps.lock import FOLDER, LOST, Busy, alone, held_by, holding, remove, this_process

ROOT = Path(__file__).parents[2]

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom src.sweeps.lock import holding\n"
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
    folder = run_dir / FOLDER
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


def test_a_lock_that_was_given_back_is_free(tmp_path: Path) -> None:
    for _ in range(5):
        with holding(tmp_path):
            assert held_by(tmp_path)
        assert held_by(tmp_path) is None
    assert len(list((tmp_path / FOLDER).iterdir())) <= 6
    remove(tmp_path)
    assert not list(tmp_path.iterdir())


def test_of_many_that_start_together_one_holds(tmp_path: Path) -> None:
    elsewhere(tmp_path)  # dead: all watch it, and all find so at the same moment
    holds, busy, gate = [], [], threading.Barrier(8)

    def start() -> None:
        gate.wait()
        try:
            with holding(tmp_path, stale_s=0.5):
                holds.append(1)
                time.sleep(1.5)
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
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "1").write_text(json.dumps(asdict(replace(this_process(), born=1))))
    assert held_by(tmp_path) is None


def test_a_holder_that_was_taken_for_dead_stops(tmp_path: Path) -> None:
    job = holder(tmp_path)
    (tmp_path / FOLDER / "2").write_text(json.dumps(asdict(this_process())))
    assert job.wait(timeout=20) == LOST


def test_a_run_started_by_itself_is_refused_while_another_process_has_it(tmp_path: Path) -> None:
    job = holder(tmp_path)
    with pytest.raises(UserError, match=f"pid {job.pid} works on it"), alone(tmp_path):
        pass
    job.kill()
    job.wait()
    with alone(tmp_path):
        assert held_by(tmp_path)
    assert not list(tmp_path.iterdir())
