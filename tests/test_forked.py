"""Commands that are forked from a process with the libraries are processes as Python would have started them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forked import Forks

TELLS = """
import json, os, sys
json.dump({"argv": sys.argv, "pid": os.getpid(), "folder": os.getcwd(), "path": sys.path[:2], "given": sys.stdin.read(),
    "environment": dict(os.environ), "src": [name for name in sys.modules if name.split(".")[0] in ("src", "tests")],
    "name": __name__}, sys.stdout)
sys.stderr.write("to standard error")
sys.exit(3)
"""

STARTS = """
import sys
from tests.forked import Forks
nowhere = open("/dev/null", "r+")
job = Forks([]).start(["-c", "import time; time.sleep(600)"], stdin=nowhere, stdout=nowhere, stderr=nowhere)
print(job.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def bare() -> Iterator[Forks]:
    """It has no library, and is there at once."""
    with Forks([]) as server:
        yield server


def test_a_fork_has_its_own_words_folder_environment_streams_and_status(bare: Forks, tmp_path: Path) -> None:
    environment = {"A": "1", "PYTHONPATH": str(tmp_path / "more")}
    done = bare.run(["-c", TELLS, "x=1"], text="given", cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (3, "to standard error")
    seen = json.loads(done.stdout)
    assert seen.pop("pid") != os.getpid()
    assert seen == {
        "argv": ["-c", "x=1"],
        "folder": str(tmp_path),
        "path": [str(tmp_path), str(tmp_path / "more")],
        "given": "given",
        "environment": environment,
        "src": [],
        "name": "__main__",
    }


def test_a_module_is_run_as_main_from_the_folder_of_the_fork(bare: Forks, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import sys; print(__name__, __spec__.name, sys.modules['__main__'].__file__)")
    assert bare.run(["mine"], cwd=tmp_path).stdout == f"__main__ mine {tmp_path / 'mine.py'}\n"
    assert "ZeroDivisionError" in bare.run(["-c", "1 / 0"]).stderr
    assert bare.run(["-c", "1 / 0"]).returncode == 1
    ends = bare.run(["-c", "import atexit; atexit.register(print, 'at its end'); print('first')"])
    assert ends.stdout == "first\nat its end\n"


@pytest.mark.parametrize(
    ("program", "status", "written"),
    [
        (
            "import threading; threading.Timer(0.3, print, ['of a thread']).start(); print('first')",
            0,
            "first\nof a thread",
        ),
        ("print('first'); raise SystemExit", 0, "first"),
        ("print('first'); raise SystemExit('why')", 1, "first"),
        ("print('first'); raise SystemExit(-1)", 255, "first"),
        ("print('first'); raise KeyboardInterrupt", -signal.SIGINT, "first"),
        ("import tempfile; folder = tempfile.TemporaryDirectory(); print(folder.name)", 0, None),
        ("import sys; sys.stdout = open('/dev/full', 'w'); print('first')", 120, ""),
    ],
)
def test_a_fork_ends_as_python_ends(bare: Forks, program: str, status: int, written: str | None) -> None:
    begun = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    done = bare.run(["-c", program])
    assert (done.returncode, done.stderr.count("why")) == (status, begun.stderr.count("why"))
    assert begun.returncode == status
    if written is None:
        assert not Path(done.stdout.strip()).exists()
    else:
        assert done.stdout.strip() == begun.stdout.strip() == written


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_reaches_a_fork_and_is_its_status(bare: Forks, number: signal.Signals) -> None:
    with Path(os.devnull).open("r+") as nowhere:
        job = bare.start(["-c", "import time; time.sleep(600)"], stdin=nowhere, stdout=nowhere, stderr=nowhere)
    with job:
        assert job.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            job.wait(0.2)
        job.send_signal(number)
        assert job.wait(60) == -number


def test_a_program_stands_in_the_place_of_python(bare: Forks, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import sys; print(sys.argv[1], sys.stdin.read()); sys.exit(4)")
    environment = {"A": "1"}
    for words, said in [
        (["-m", "mine", "x=1"], "x=1 given\n"),
        (["-c", "import os, sys; print(os.environ['A'], os.getcwd()); sys.exit(4)"], f"1 {tmp_path}\n"),
        (["-I", "-c", "import sys; print(sys.flags.isolated); sys.exit(4)"], "1\n"),
    ]:
        done = subprocess.run(
            [bare.python, *words], input="given", capture_output=True, text=True, cwd=tmp_path, env=environment,
            check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (4, said, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_hands_a_signal_on_and_ends_as_it_did(bare: Forks, number: signal.Signals) -> None:
    code = "import time; print('begun', flush=True); time.sleep(600)"
    with subprocess.Popen([bare.python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == b"begun\n"
        job.send_signal(number)
        assert job.wait(60) == -number


def test_a_fork_that_takes_too_long_is_killed(bare: Forks) -> None:
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        bare.run(["-c", "import time; time.sleep(600)"], timeout=0.1)
    assert time.monotonic() - began < 60


def test_a_server_that_has_ended_is_an_error_and_no_wait() -> None:
    with Forks(["no_such_library"]) as server:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="the process that forks has ended"):
                server.run(["-c", ""])


def test_no_process_is_left_where_the_one_that_started_it_was_killed() -> None:
    words = [sys.executable, "-c", STARTS]
    with subprocess.Popen(
        words, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None
        fork = int(starter.stdout.readline())
        os.kill(fork, 0)
        starter.kill()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(fork, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("it was left")
