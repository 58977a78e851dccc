"""Strikes a search in two processes with random kills, beside the same search left in peace, and counts its trials.

`python -m src.benchmarks.search COHORT OUT [trials=30] [kills=5] [seed=0] [KEY=VALUE ...]`; further words are the
search's. The space is a grid, so that what the whole grid costs in steps can stand beside what the search took.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from src.benchmarks.chaos import Submitter
from src.benchmarks.settings import own_settings
from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.cli.progress import minutes
from src.cli.search_space import Dimension
from src.config.sweeper import Aim, SearchConfig
from src.runs.find import run_folders
from src.runs.folder import RunFolder
from src.runs.lock import held_by
from src.runs.trial_record import TrialRecord, read_trial
from src.sweeps.study import STEPS, Study
from src.sweeps.trial_table import best_of

GRID = ["lr=1e-4,3e-4,1e-3,3e-3,1e-2", "lora.r=4,8,16", "batch_size=4,8,16"]
FIXED = ["head_lr=null", "lora.dropout=0.05", "weight_decay=0.01", "warmup=0"]
"""Keys that sweeps/search.yaml tries, and this search does not."""

SMALL = ["model=femto", "max_len=64", "data.limit=300", "epochs=2", "threads=1", "device=cpu", "wandb.mode=disabled"]
SECONDS_BETWEEN = (2.0, 6.0)


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        if len(sys.argv) < 3:
            raise UserError("python -m src.benchmarks.search COHORT OUT [trials=30] [kills=5] [seed=0] [KEY=VALUE ...]")
        own, given = own_settings(sys.argv[3:], {"trials": 30, "kills": 5, "seed": 0})
        out, trials = Path(sys.argv[2]).absolute(), own["trials"]
        words = [sys.executable, "-m", "src.train", "--config-dir", "sweeps", "--config-name", "search"]
        words += [f"data.dir={sys.argv[1]}", *SMALL, *FIXED, *GRID, *given, f"hydra.sweeper.trials={trials}"]
        words += ["hydra/launcher=processes", "hydra.launcher.workers=2", "hydra.launcher.retries=9"]
        wrong = []
        for name, kills in (("calm", 0), ("struck", own["kills"])):
            folder, start = out / name, time.monotonic()
            folder.mkdir(parents=True, exist_ok=True)
            strikes = search_under_kills([*words, f"out={folder}"], folder, trials, kills, own["seed"])
            closing = subprocess.run([*words, f"out={folder}"], capture_output=True, text=True, check=True).stdout
            (folder / "table.txt").write_text(closing, "utf-8")
            print(f"{name}: {minutes(time.monotonic() - start)}, {strikes}\n{brief(folder, closing)}\n", flush=True)
            wrong += [f"{name}: {problem}" for problem in unaccounted(folder, trials)]
        print("\n".join([*wrong, *apart(out)]) or f"{trials} trials accounted for in each, none twice, no lock held")
        sys.exit(bool(wrong))


def search_under_kills(words: list[str], out: Path, trials: int, kills: int, seed: int) -> str:
    """Runs a search to its end while its workers and its submitter are killed at random; says what was done to it."""
    chance, done = random.Random(seed), Counter[str]()
    submitter = Submitter(words, out)
    while len(records_of(out)) < trials:
        time.sleep(chance.uniform(*SECONDS_BETWEEN) if done.total() < kills else 0.5)
        submitter.keep()
        if done.total() >= kills:
            continue
        workers = [holder.pid for folder in run_folders(out) if (holder := held_by(folder))]
        kind = chance.choice(("worker", "worker", "worker", "submitter"))
        pids = workers if kind == "worker" else [submitter.process.pid]
        if workers and submitter.process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
                done[kind] += 1
    submitter.process.wait(timeout=120)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(done.items()))
    return f"{done.total()} kills{f' ({kinds})' if kinds else ''}, {submitter.starts} starts"


def records_of(out: Path) -> dict[str, TrialRecord]:
    """Reads the trials that have ended, by their runs' names."""
    return {folder.name: record for folder in run_folders(out) if (record := read_trial(folder))}


def unaccounted(out: Path, trials: int) -> list[str]:
    """Lists what of a search is lost, doubled, untold, told otherwise than recorded, or held still."""
    records = records_of(out)
    (journal,) = (out / ".sweeps").glob("*.journal")
    study = Study(out, journal.stem, SearchConfig("search", trials, Aim.ACCURACY, None), 0)
    slots, wrong = study.trials(), []
    created = sum(json.loads(line)["op_code"] == 4 for line in journal.read_text("utf-8").splitlines())
    if not (len(records) == len(slots) == created == trials):
        wrong.append(f"{len(records)} records, {len(slots)} slots and {created} trials in the journal of {trials}")
    for name, record in records.items():
        trial = slots.get(int(name.rpartition("-")[2]))
        if trial is None or trial.number != record.number or not trial.state.is_finished():
            wrong.append(f"{name}: its trial is not told")
            continue
        chosen = {key: Dimension(key, [str(value)]).word(value) for key, value in trial.params.items()}
        if list(chosen.values()) != record.words:
            wrong.append(f"{name}: trained {record.words}, chosen {list(chosen.values())}")
        steps = trial.user_attrs.get(STEPS, [])
        if steps != sorted(set(steps)) or record.steps < max(steps, default=0):
            wrong.append(f"{name}: validated at steps {steps}")
    held = [folder.name for folder in run_folders(out) if held_by(folder)]
    return wrong + [f"{name}: is held still" for name in held]


def brief(out: Path, closing: str) -> str:
    """Shows the best trial, how the trials ended, and their cost."""
    records = records_of(out)
    best = best_of(records)
    lines = [line for line in closing.splitlines() if " without stopping " in line or " full grid " in line]
    lines.insert(0, next(line for line in closing.splitlines() if " complete, " in line))
    if best:
        record = records[best]
        bounds = f" [{record.low or 0:.3f}, {record.high or 1:.3f}]"
        lines = [f"best {record.value:.3f}{bounds}: {' '.join(record.words)}", *lines]
    attempts = sum(json.loads(RunFolder(out / name).state.read_text("utf-8"))["attempts"] for name in records)
    return "\n".join([*(f"  {line}" for line in lines), f"  {attempts} attempts"])


def apart(out: Path) -> list[str]:
    """Says where the two best lie outside each other's interval."""
    best = []
    for name in ("calm", "struck"):
        records = records_of(out / name)
        best += [records[run] for run in [best_of(records)] if run]
    if len(best) < 2:
        return ["no trial was trained to its end in one of the two"]
    values = [(record.low or 0.0, record.value or 0.0, record.high or 1.0) for record in best]
    (low, value, high), (other_low, other_value, other_high) = values
    return [] if low <= other_value <= high or other_low <= value <= other_high else ["the best lie apart"]


if __name__ == "__main__":
    main()
