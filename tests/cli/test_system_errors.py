import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from src.cli.command import _pass_on, report_user_errors
from src.cli.errors import UserError
from src.cli.files import appending, atomic_folder, atomic_write, exchanging_folder, private_folder
from src.cli.json_files import write_json
from src.config.train import is_folder_name
from src.runs.history import History
from src.runs.state import error_line
from src.training.checkpoints import write_checkpoint
from tests.conftest import ROOT
from tests.forked import Forks


def said(work: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """The message with which work ends with status 2."""
    with pytest.raises(SystemExit) as ended, report_user_errors():
        work()
    assert ended.value.code == 2
    return capsys.readouterr().err


def through(path: Path, write: Callable[[Path], object]) -> None:
    with atomic_write(path) as tmp:
        write(tmp)


def in_folder(path: Path) -> None:
    with atomic_folder(path) as tmp:
        (tmp / "deep").mkdir()
        (tmp / "deep" / "a").write_bytes(b"a" * 20_000)


def in_report(path: Path) -> None:
    with exchanging_folder(path, lambda folder: True, "") as tmp:
        (tmp / "a").write_bytes(b"a" * 20_000)


def appended(path: Path) -> None:
    with appending(path) as file:
        file.write(b"a" * 20_000)


NOISE = np.random.default_rng(0).random(5_000)

WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: through(path, lambda tmp: tmp.write_text("a" * 20_000)),
    "parquet": lambda path: through(path, lambda tmp: pl.DataFrame({"a": NOISE}).write_parquet(tmp)),
    "sink": lambda path: through(path, lambda tmp: pl.LazyFrame({"a": NOISE}).sink_parquet(tmp)),
    "csv": lambda path: through(path, lambda tmp: pl.DataFrame({"a": NOISE}).write_csv(tmp)),
    "numpy": lambda path: through(path, lambda tmp: np.save(tmp.open("wb"), NOISE)),
    "safetensors": lambda path: through(path, lambda tmp: save_file({"a": torch.ones(5_000)}, tmp)),
    "checkpoint": lambda path: write_checkpoint(path.parent, {"a": torch.ones(5_000)}, {}),
    "record": lambda path: write_json(path, {"a": "b" * 20_000}),
    "folder": in_folder,
    "report": in_report,
    "appended": appended,
    "history": lambda path: History(path.parent).add(1, {f"metric/{number}": 0.5 for number in range(2_000)}),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_sentence_that_names_the_path_and_leaves_nothing(
    writer: str, tmp_path: Path, forks: Forks
) -> None:
    code = (
        "import os, resource, signal\nfrom pathlib import Path\nfrom tests.cli.test_system_errors import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))\n"
        f"with report_user_errors():\n    WRITERS[{writer!r}](Path({str(tmp_path)!r}) / 'new' / 'target')\n"
    )
    (tmp_path / "new").mkdir(mode=0o700)
    done = forks.run(["-c", code])
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {tmp_path / 'new'}/")
    assert "the disk is full" in line
    left = [path.name for path in tmp_path.rglob("*")]
    assert set(left) <= {"new", "target", "checkpoints", "history.jsonl"}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "the disk is full, or a limit on files is reached; free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "Read-only file system; allow it, or name another place"),
        (errno.EACCES, "Permission denied; allow it"),
        (errno.EIO, "is the disk sound and mounted?"),
        (errno.ESTALE, "is the disk sound and mounted?"),
        (errno.EMFILE, "raise ulimit -n"),
    ],
)
@pytest.mark.parametrize("function", ["replace", "fsync", "open"])
def test_whatever_the_system_refuses_is_told_with_its_path(
    function: str,
    number: int,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    private_folder(tmp_path)

    def refused(target: object, *more: object) -> None:
        raise OSError(number, os.strerror(number), *([] if function == "fsync" else [str(target)]))

    def work() -> None:
        monkeypatch.setattr(os, function, refused)
        with atomic_write(tmp_path / "target") as tmp:
            tmp.write_text("a")

    line = said(work, capsys)
    monkeypatch.undo()
    assert line.startswith(f"error: {tmp_path}")
    assert expected in line
    assert line.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_is_wanted_and_other_wrong_places_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "deep", Path("/proc/none"), tmp_path / ("a" * 300)):
        line = said(lambda path=path: private_folder(path), capsys)  # type: ignore[misc]
        assert line.startswith((f"error: {path}", f"error: {path.parent}"))
        assert "; " in line
    line = said(lambda: in_folder(tmp_path / "file"), capsys)
    assert line == f"error: {tmp_path / 'file'}: is a file; name a folder, or remove it first\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_memory_that_runs_out_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise MemoryError

    assert said(work, capsys) == "error: memory ran out; run it where more is free\n"


def test_our_own_faults_keep_their_traceback() -> None:
    with pytest.raises(KeyError), report_user_errors():
        raise KeyError("step")


def test_a_cell_that_the_system_stopped_says_why() -> None:
    assert error_line(OSError(errno.ENOSPC, "No space left on device", "runs/a")) == (
        "runs/a: the disk is full, or a limit on files is reached; free some space and run it again"
    )
    assert error_line(UserError("mine")) == "mine"


def test_a_reader_that_ends_early_is_no_traceback() -> None:
    code = "from src.cli.command import report_user_errors\nwith report_user_errors():\n    print('a' * 1_000_000)"
    done = subprocess.run(
        ["bash", "-c", '"$1" -c "$0" | head -c 5; exit ${PIPESTATUS[0]}', code, sys.executable],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_full_disk_behind_the_output_is_one_sentence() -> None:
    code = "from src.cli.command import report_user_errors\nwith report_user_errors():\n    print('a')"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the disk is full")
    assert done.stderr.count("\n") == 1


def test_an_ascii_terminal_is_shown_numbers_and_a_file_given_every_letter() -> None:
    code = "from src.cli.command import report_user_errors\nwith report_user_errors():\n    print('F\\xe4lle')"
    env = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, check=True)
    assert done.stdout.decode("utf-8") == "F\u00e4lle\n"
    primary, secondary = os.openpty()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=secondary, check=True)
    assert os.read(primary, 99).strip() == b"F\\xe4lle"
    os.close(primary)
    os.close(secondary)


@pytest.mark.parametrize("name", ["../../x", "a/b", ".", "..", "", "a\0b", "a\nb", "\udcff", "é" * 60])
def test_a_name_that_leaves_its_folder_is_none(name: str) -> None:
    assert not is_folder_name(name, 100)


@pytest.mark.parametrize(
    ("end", "status", "line"),
    [
        ("os.abort()", 2, "error: memory ran out (SIGABRT); run it where more is free"),
        ("os.kill(os.getpid(), 9)", 2, "error: memory ran out (SIGKILL); run it where more is free"),
        ("os.kill(os.getppid(), 15); time.sleep(9)", 143, ""),
        ("raise UserError('mine')", 2, "error: mine"),
        ("None", 0, ""),
    ],
)
def test_a_command_that_works_apart_tells_how_it_ended(end: str, status: int, line: str) -> None:
    code = (
        "import os, time\nfrom src.cli.command import *\n"
        f"def work(cfg):\n    {end}\n"
        "with report_user_errors():\n    apart(work)(None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (status, line)


def test_a_signal_that_is_looked_at_when_the_child_has_ended_is_no_error() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    assert child.wait() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, signal.SIGTERM)
    _pass_on(child.pid, signal.SIGTERM)
