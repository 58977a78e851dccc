"""Strikes one run at its file operations and at every change of its stage, again and again, beside one left in peace.

`python -m src.benchmarks.strikes COHORT OUT [plan=random] [strikes=300] [seed=0] [minutes=600] [KEY=VALUE ...]`;
further words are the run's. A trial is a run in a folder of its own: it is started, struck and started again up to four
times, then left to end. One trial in six freezes the process instead: another takes the run over from a machine of
another name and ends it, and the frozen one wakes then. `plan=owed`, `killed`, `terminated` or `frozen` strikes as
written below instead of by chance.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from runpy import run_module
from typing import Any

from src.benchmarks.settings import own_settings
from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.display.catalog import TIMED
from src.runs.folder import RunFolder
from src.runs.history import read_history
from src.runs.lock import LOST

SEAMS = {
    "load": "src.training.run_data:RunData.base",
    "restore": "src.training.learner:Learner.restore",
    "step": "src.training.learner:Learner.update",
    "validation": "src.training.module:DrgModule.on_validation_epoch_end",
    "checkpoint": "src.training.learner:Learner.save",
    "batch": "src.models.classifier:Classifier.forward",
    "adapters": "src.training.llama:Llama.save",
    "scoring": "src.training.llama:Llama.scores",
    "scored": "src.training.learner:Learner.scored",
    "record": "src.training.outcome:write_record",
}
"""Where a run is struck, before and after the call: `batch` is one of a validation or of scoring."""

OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod")
"""File operations as Python's audit events name them, each right before the system is asked."""

SIGNALS = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGINT", "SIGUSR1")

STRUCK = "struck here"
"""What a log says of a strike that was reached."""

BEAT_S, STALE_S = 0.1, 1.0
"""Of the locks here: a frozen process is taken for dead soon."""


@dataclass(frozen=True)
class Strike:
    """Is a signal that a process sends itself.

    Attributes:
        signal: its name.
        seam: one of `SEAMS`, or `file` for an operation on a file in the run's folder.
        nth: which of them, counted from 1.
        after: whether the call has returned.
    """

    signal: str
    seam: str
    nth: int
    after: bool = False

    def __str__(self) -> str:
        return f"{self.signal} {'after' if self.after else 'before'} {self.seam} {self.nth}"

    def plan(self, run_dir: Path) -> None:
        """Lets this process strike itself."""
        left = [self.nth]

        def strike() -> None:
            left[0] -= 1
            if left[0] == 0:
                print(f"{STRUCK}: {self}", flush=True)
                os.kill(os.getpid(), signal.Signals[self.signal])

        if self.seam == "file":
            sys.addaudithook(partial(_on_operation, str(run_dir), strike))
        else:
            _wrap(SEAMS[self.seam], strike, self.after)


def _on_operation(folder: str, strike: Callable[[], None], event: str, words: tuple[Any, ...]) -> None:
    if event in OPERATIONS and isinstance(words[0], str | os.PathLike) and os.fspath(words[0]).startswith(folder):
        strike()


def _wrap(seam: str, strike: Callable[[], None], after: bool) -> None:
    module, _, path = seam.partition(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    inner = getattr(owner, name)

    @wraps(inner)
    def struck(*words: Any, **named: Any) -> Any:
        if not after:
            strike()
        value = inner(*words, **named)
        if after:
            strike()
        return value

    setattr(owner, name, struck)


class Runs:
    """Starts one command, each time in a process forked from this one, which has imported all and run nothing."""

    def __init__(self, words: Sequence[str], out: Path) -> None:
        self.words, self.out = list(words), out
        for seam in SEAMS.values():
            import_module(seam.partition(":")[0])

    def start(self, name: str, strike: Strike | None = None, host: str | None = None) -> int:
        """Starts a run and returns the process; `host` is the name of the machine that it believes to be on."""
        sys.stdout.flush()  # or the child would print what is still in the buffer once more
        process = os.fork()
        if process == 0:
            self._child(name, strike, host)
        return process

    def _child(self, name: str, strike: Strike | None, host: str | None) -> None:
        status = 1
        try:
            run_dir = self.out / name
            log = os.open(self.out / f"{name}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            from src.runs import lock

            lock.holding = partial(lock.holding, beat_s=BEAT_S, stale_s=STALE_S)
            if host:
                socket.gethostname = lambda: host
            if strike:
                strike.plan(run_dir)
            sys.argv = ["src.train", *self.words, f"out={self.out}", f"name={name}"]
            run_module("src.train", run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)  # the fork has copied the parent's exit handlers too

    def finish(self, process: int) -> int:
        """Waits for a process, and returns its exit status, less than 0 where a signal killed or stopped it."""
        _, code = os.waitpid(process, os.WUNTRACED)
        return -os.WSTOPSIG(code) if os.WIFSTOPPED(code) else os.waitstatus_to_exitcode(code)

    def run(self, name: str, strike: Strike | None = None, host: str | None = None) -> int:
        """Starts a run and waits for it."""
        return self.finish(self.start(name, strike, host))

    def freeze(self, name: str, strike: Strike) -> tuple[int, int]:
        """Freezes a run, lets another machine end it, and wakes the first; returns second's and first's exit status."""
        frozen = self.start(name, strike, "asleep")
        status = self.finish(frozen)
        if status != -signal.SIGSTOP:
            return status, LOST  # it was not struck before it ended
        second = self.run(name, None, "awake")
        before = contents(self.out / name)
        os.kill(frozen, signal.SIGCONT)
        first = self.finish(frozen)
        return (second if undisturbed(before, contents(self.out / name)) else 1), first


def undisturbed(before: dict[str, str], after: dict[str, str]) -> bool:
    """Says whether a woken process changed nothing of a finished run.

    The one operation in front of which it was stopped still happens: it may rename the last checkpoint to the one
    before, and a finished run reads neither.
    """
    checkpoints = RunFolder(Path()).checkpoints.name
    lasting = [
        {name: sha for name, sha in files.items() if Path(name).parts[0] != checkpoints} for files in (before, after)
    ]
    return lasting[0] == lasting[1] and set(after.values()) <= set(before.values())


def contents(folder: Path) -> dict[str, str]:
    """Hashes all files of a run but its lock and its history, in which a repeated step may stand twice."""
    files = [path for path in folder.rglob("*") if path.is_file() and RunFolder(folder).lock not in path.parents]
    kept = [path for path in files if path != RunFolder(folder).history]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def outcome(run_dir: Path) -> dict[str, Any]:
    """Collects what a finished run must have in common with one that was never struck."""
    record = json.loads(RunFolder(run_dir).record.read_text("utf-8"))
    curves = read_history(run_dir)
    return {
        **{name: record[name] for name in ("metrics", "intervals", "counts", "tokens_seen", "axes", "cohort")},
        "files": {name: sha for name, sha in contents(run_dir).items() if name.startswith(("adapter", "predictions"))},
        "curves": {name: values for name, values in curves.items() if name not in TIMED},
    }


def differences(run_dir: Path, calm: dict[str, Any]) -> list[str]:
    """Lists what a struck run has otherwise; nothing when all is well."""
    try:
        struck = outcome(run_dir)
    except (OSError, ValueError, KeyError) as error:
        return [f"no whole record ({type(error).__name__})"]
    wrong = [f"other {name}" for name in calm if struck[name] != calm[name]]
    log = run_dir.with_name(f"{run_dir.name}.log").read_text("utf-8", errors="replace")
    left = [path.name for path in run_dir.rglob("*") if ".by-" in path.name]
    if "SIGSTOP" not in log:  # one that wakes ends in the middle of what it writes
        wrong += [f"left over: {name}" for name in left]
    return wrong + ["a traceback"] * ("Traceback" in log)


def in_order(names: str, number: str) -> list[Strike]:
    """Reads strikes such as `step 1` or `after validation 2`, in words parted by commas, with one signal."""
    words = [name.split() for name in names.split(", ")]
    return [Strike(number, seam, int(nth), len(after) > 0) for *after, seam, nth in words]


TRANSITIONS = (
    "load 1, restore 1, after restore 1, after step 1, checkpoint 2, after checkpoint 2, validation 1, batch 3, "
    "after validation 1, after checkpoint 1, step 3, validation 2, after validation 1, adapters 1, after adapters 1, "
    "scoring 1, batch 2, after scoring 1, scoring 2, after scoring 2, scored 1, after scored 1, record 1, "
    "after record 1"
)
"""Before, in and after everything that a run does, in its order; counted in the start that is struck."""

PLANS = {
    "owed": [[Strike("SIGKILL", "batch", 2), Strike(number, "load", 1)] for number in ("SIGTERM", "SIGINT", "SIGUSR1")],
    "killed": [in_order(TRANSITIONS, "SIGKILL")],
    "terminated": [in_order(TRANSITIONS, "SIGTERM")],
    "frozen": [in_order(name, "SIGSTOP") for name in ("after step 2", "file 30", "scoring 2", "record 1", "file 75")],
}


def draw(seed: int) -> Iterator[list[Strike]]:
    """Draws strikes by chance, a list a run, without end; about half are at operations on files."""
    chance = random.Random(seed)
    while True:
        frozen, strikes = chance.randrange(6) == 0, []
        for _ in range(1 if frozen else chance.randint(1, 4)):
            seam = chance.choice([*SEAMS, *(["file"] * len(SEAMS))])
            most = {"file": 120, "step": 32, "batch": 12, "checkpoint": 9, "validation": 3, "scoring": 2}.get(seam, 1)
            number = "SIGSTOP" if frozen else chance.choice(SIGNALS)
            strikes.append(Strike(number, seam, chance.randint(1, most), chance.random() < 0.5))
        yield strikes


def trial(runs: Runs, name: str, strikes: Sequence[Strike], calm: dict[str, Any]) -> list[str]:
    """Strikes one run, a start after the other, lets it end, and lists what is wrong then."""
    wrong = []
    if strikes[0].signal == "SIGSTOP":
        second, first = runs.freeze(name, strikes[0])
        if second:
            wrong.append(f"the second ended with {second}")
        if first not in (0, LOST):  # 0 where it had not taken the lock yet, and found the run finished
            wrong.append(f"the first ended with {first}")
    else:
        for strike in strikes:
            runs.run(name, strike)
        if last := runs.run(name):
            wrong.append(f"the last start ended with {last}")
    return wrong + differences(runs.out / name, calm)


def attack(runs: Runs, plan: Iterator[list[Strike]], most: int, seconds: float) -> int:
    """Makes trials until so many strikes were made, or the time or the plan is over; counts those that went wrong."""
    shutil.rmtree(runs.out, ignore_errors=True)
    runs.out.mkdir(parents=True)
    if runs.run("calm"):
        raise UserError(f"{runs.out}/calm.log: the run left in peace did not end well")
    calm, start = outcome(runs.out / "calm"), time.monotonic()
    made, missed, wrong, trials = 0, 0, 0, 0
    for trials, strikes in enumerate(plan, 1):
        name = f"trial{trials}"
        faults = trial(runs, name, strikes, calm)
        log = runs.out / f"{name}.log"
        struck = log.read_text("utf-8", errors="replace").count(STRUCK)
        made, missed = made + struck, missed + len(strikes) - struck
        if faults:
            wrong += 1
            print(f"{name}: {', '.join(map(str, strikes))}: {'; '.join(faults)}", flush=True)
        else:
            shutil.rmtree(runs.out / name)
            log.unlink()
        if made >= most or time.monotonic() - start > seconds:
            break
    took = (time.monotonic() - start) / 60
    print(f"{made} strikes in {trials} runs, {missed} not reached, {took:.1f} minutes: {wrong} runs ended wrong")
    return wrong


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        if len(sys.argv) < 3:
            raise UserError("python -m src.benchmarks.strikes COHORT OUT [plan=random] [strikes=300] [KEY=VALUE ...]")
        own, given = own_settings(sys.argv[3:], {"plan": "random", "strikes": 300, "seed": 0, "minutes": 600.0})
        usual = {"max_len": "32", "data.limit": "60", "epochs": "3", "threads": "1", "device": "cpu"}
        usual |= {"checkpoint_minutes": "0", "wandb.mode": "disabled", "data.dir": sys.argv[1]}
        usual |= dict(word.split("=", 1) for word in given)
        runs = Runs([f"{key}={value}" for key, value in usual.items()], Path(sys.argv[2]).absolute())
        plan = iter(PLANS[own["plan"]]) if own["plan"] in PLANS else draw(own["seed"])
        sys.exit(bool(attack(runs, plan, own["strikes"], 60 * own["minutes"])))


if __name__ == "__main__":
    main()
