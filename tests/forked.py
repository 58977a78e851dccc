"""Commands of `python -m` and `python -c`, each forked from a process that has the libraries, and nothing of `src`.

Importing them costs a start eight seconds of a core, and the tests start hundreds. A fork has its own process id,
folder, environment, outputs and exit status, gets real signals, runs the module as `__main__` and ends as Python ends,
but for taking the libraries apart, which costs a third of a second: its memory goes with it.
What a library reads from the environment when it is imported, it has read before: tests of that start Python itself.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

LIBRARIES = (
    "torch",
    "pytorch_lightning",
    "transformers.models.llama.modeling_llama",
    "peft.tuners.lora",
    "polars",
    "safetensors.numpy",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "sklearn.metrics",
    "scipy.optimize",
    "matplotlib.pyplot",
    "jinja2",
    "hydra.main",
    "hydra._internal.core_plugins",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher",
    "wandb.apis.public",
    "wandb.sdk.wandb_init",
)
"""Those that every command comes to import, also late: W&B's API alone takes half a second."""

ROOT = Path(__file__).parents[1]

PYTHON = """#!/bin/sh
'''exec' "{python}" -IS "$0" "$@"
' '''
import json, os, signal, socket, sys
words = sys.argv[1:]
while words and words[0] in ("-u", "-B"):
    del words[0]
if not words or words[0] not in ("-c", "-m"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
files = [int(name) for name in os.listdir("/dev/fd")]
files = [file for file in files if os.path.exists(f"/dev/fd/{{file}}") and os.get_inheritable(file)]
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
socket.send_fds(connection, [b"."], files)
args = words[1:] if words[0] == "-m" else words
process = {{"args": args, "cwd": os.getcwd(), "env": dict(os.environ), "files": files}}
connection.sendall(json.dumps(process).encode() + b"\\n")
for file in files:
    os.close(file)
lines = connection.makefile()
child = int(lines.readline())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, _: os.kill(child, number))
status = int(lines.readline())
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""
"""A program that takes `-m MODULE WORD ...` and `-c PROGRAM WORD ...` as Python does, and has them forked.

Forked commands start it where they would start Python. The shell starts it, for a path may have a space or be long.
"""

MOST_FILES = 64
"""Open files that a process is given."""

POLL_S, LIFE_S = 0.02, 0.5
"""How often it is looked whether a process has ended, or who started it has; and whether the session has."""


class Forked:
    """A process that was started here; it is killed where this is closed, or its starter ends, before it does.

    Raises:
        RuntimeError: the process that forks has ended.
    """

    def __init__(self, args: list[str], connection: socket.socket) -> None:
        self.args, self._connection, self._lines = args, connection, connection.makefile()
        self.returncode: int | None = None
        try:
            self.pid = int(self._lines.readline())
        except (ValueError, OSError):
            self.close()
            raise RuntimeError("the process that forks has ended; what it wrote to standard error says why") from None

    def poll(self) -> int | None:
        """The exit status, or nothing while the process runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.returncode = int(self._lines.readline())
            self.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status.

        Raises:
            subprocess.TimeoutExpired: the process runs on.
        """
        if self.returncode is None and not select.select([self._connection], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Sends a signal to a process that runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills the process."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Lets go of the process."""
        self._lines.close()
        self._connection.close()

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Forks:
    """Starts commands from a process that forks, which ends with the one that it was made for.

    Args:
        libraries: what it imports first.
        address: of its socket, by which others of the same session start commands from it too; None for one's own.
        session: number of the process that it ends with; None for this one.
    """

    def __init__(
        self, libraries: Sequence[str] = LIBRARIES, address: Path | None = None, session: int | None = None
    ) -> None:
        self._folder = None if address else tempfile.TemporaryDirectory(prefix="forks-")
        self._address = str(address or Path(self._folder.name if self._folder else "") / "socket")
        if address is None or not address.exists():
            program = Path(self.python)
            program.write_text(PYTHON.format(python=sys.executable, address=self._address))
            program.chmod(0o700)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(self._address)
                listener.listen(64)
                number = listener.fileno()
                words = [sys.executable, __file__, str(number), self._address, str(session or os.getpid()), *libraries]
                subprocess.run(words, pass_fds=[number], cwd=ROOT, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, check=True)  # fmt: skip

    @property
    def python(self) -> str:
        """A program to start in the place of Python; other words than `-m` and `-c` are for Python itself."""
        return str(Path(self._address).with_name("python"))

    def start(
        self,
        args: list[str],
        *,
        stdin: IO[Any],
        stdout: IO[Any],
        stderr: IO[Any],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Forked:
        """Starts `python -m ARGS`, or `python ARGS` where they begin with `-c`.

        Raises:
            RuntimeError: the process that forks has ended.
        """
        connection = socket.socket(socket.AF_UNIX)
        environment = dict(os.environ if env is None else env)
        process = {"args": args, "cwd": str(cwd or ROOT), "env": environment, "files": [0, 1, 2]}
        with contextlib.suppress(OSError):  # it is noticed where the number of the process is read
            connection.connect(self._address)
            socket.send_fds(connection, [b"."], [file.fileno() for file in (stdin, stdout, stderr)])
            connection.sendall(json.dumps(process).encode() + b"\n")
        return Forked(args, connection)

    def run(
        self,
        args: list[str],
        *,
        text: str = "",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 400,
    ) -> subprocess.CompletedProcess[str]:
        """Runs what `start` starts, with a text to read from its standard input, and reads what it wrote.

        Raises:
            RuntimeError: the process that forks has ended.
            subprocess.TimeoutExpired: it took too long, and was killed.
        """
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(text.encode())
            given.seek(0)
            with self.start(args, stdin=given, stdout=out, stderr=err, cwd=cwd, env=env) as process:
                status = process.wait(timeout)
            written = [(file.seek(0), file.read().decode().replace("\r\n", "\n"))[1] for file in (out, err)]
        return subprocess.CompletedProcess(args, status, *written)

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder:  # one that others share ends with their session
            self._folder.cleanup()


def serve(listener: socket.socket, address: Path, session: int) -> dict[str, Any] | None:
    """Forks a process for each request; returns in these with what each is to run, and in this one at its end."""
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not select.select([listener], [], [], LIFE_S)[0]:
            if not (address.exists() and psutil.pid_exists(session)):
                return None
            continue
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            message, files, *_ = socket.recv_fds(connection, 1, MOST_FILES)
            if not message:
                os._exit(0)
            with connection, connection.makefile() as lines:
                process: dict[str, Any] = json.loads(lines.readline())
                if (child := os.fork()) == 0:
                    process["received"] = files
                    return process
                for file in files:
                    os.close(file)
                attend(child, connection)
        connection.close()


def renumber(received: Sequence[int], numbers: Sequence[int]) -> None:
    """Gives files the numbers that they had in the process that sent them."""
    free = 1 + max(*received, *numbers)
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, free) for file in received]
    for file in received:
        os.close(file)
    for file, number in zip(moved, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)


def attend(child: int, connection: socket.socket) -> None:
    """Tells who started a process its number and its exit status, kills it where that one is gone, and ends."""
    with contextlib.suppress(OSError):
        connection.sendall(b"%d\n" % child)
    ended, status = 0, 0
    while not ended:
        if select.select([connection], [], [], POLL_S)[0]:
            os.kill(child, signal.SIGKILL)
            time.sleep(POLL_S)
        ended, status = os.waitpid(child, os.WNOHANG)
    with contextlib.suppress(OSError):
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


class End:
    """Ends this process with its status, after all that Python does at an end before it takes the modules apart."""

    def __init__(self) -> None:
        self.status = 0
        atexit.register(self._leave)  # what is registered first is called last

    @contextlib.contextmanager
    def of(self) -> Iterator[None]:
        """Notes the status that Python gives what runs here."""
        try:
            yield
        except SystemExit as end:
            self.status = end.code & 0xFF if isinstance(end.code, int) else int(end.code is not None)
            raise
        except KeyboardInterrupt:
            self.status = -signal.SIGINT
            raise
        except BaseException:
            self.status = 1
            raise

    def _leave(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                self.status = self.status or 120  # which Python gives where its output cannot be written
        if self.status < 0:
            signal.signal(-self.status, signal.SIG_DFL)
            os.kill(os.getpid(), -self.status)
        os._exit(self.status)


def main() -> None:
    """Imports the libraries, serves, and becomes what was asked for in each process that it forks."""
    end = End()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    del sys.path[0]
    if os.fork():  # nobody waits for it
        os._exit(0)
    for library in sys.argv[4:]:
        importlib.import_module(library)
    gc.freeze()
    process = serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]))
    if process is None:
        return
    renumber(process["received"], process["files"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.executable = str(Path(sys.argv[2]).with_name("python"))
    multiprocessing.set_executable(sys.executable)
    os.chdir(process["cwd"])
    os.environ.clear()
    os.environ.update(process["env"])
    sys.path[:0] = [process["cwd"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = process["args"]
    with end.of():
        if sys.argv[0] == "-c":
            exec(compile(sys.argv.pop(1), "<string>", "exec"), {"__name__": "__main__"})
        else:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
