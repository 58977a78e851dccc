"""Runs a search: a slot a trial, each a cell on its launcher, until as many have ended as were asked for."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.cli.compose import Composed, to_schema
from src.cli.errors import UserError
from src.cli.search_space import Dimension
from src.cohort.prepared import read_cohort
from src.config.choices import Together
from src.config.sweeper import SearchConfig
from src.config.train import TrainConfig
from src.runs.identity import as_read, identity, unread
from src.runs.job import Job, read_job, write_job
from src.runs.state import RunStatus
from src.runs.status import read_status
from src.runs.trial_record import read_trial
from src.sweeps.manifest import write_sweep
from src.sweeps.study import Study
from src.sweeps.sweep import LAUNCHERS, Task, launcher_config, start_jobs, work_on
from src.sweeps.trial_table import closing_lines


@dataclass(frozen=True)
class Search:
    """Holds what a search is.

    Attributes:
        name: the file's that asks, the model's, and a hash of what decides the trials; more trials keep it.
        cfg: what every trial begins as.
        settings: of `hydra.sweeper`.
        space: what is tried.
        launcher: the values of `hydra.launcher`.
        fingerprint: of the cohort.
    """

    name: str
    cfg: TrainConfig
    settings: SearchConfig
    space: list[Dimension]
    launcher: dict[str, Any]
    fingerprint: str

    def jobs(self) -> list[Job]:
        """Lists the slots, with the words that are chosen so far."""
        out = Path(self.cfg.out)
        folders = [out / f"{self.name}-{slot:03d}" for slot in range(self.settings.trials)]
        return [
            Job(folder, dataclasses.replace(self.cfg, name=folder.name), words_of(folder), self.launcher)
            for folder in folders
        ]

    def study(self) -> Study:
        """Opens the journal of its trials."""
        return Study(Path(self.cfg.out), self.name, self.settings, self.cfg.seed)


def plan_search(name: str, composed: Composed[TrainConfig]) -> Search:
    """Plans a search, and leaves out of its space what the system does not read.

    Raises:
        UserError: naming all that a search cannot have.
    """
    point, settings = composed.points[0], to_schema(SearchConfig, composed.sweeper)
    cfg = dataclasses.replace(as_read(point.config), wandb=dataclasses.replace(point.config.wandb))
    refusals = [
        (cfg.together is not Together.NO, f"together={cfg.together}: trials of a search are chosen one by one"),
        (bool(cfg.callbacks), "callbacks: may end a trial behind the sampler's back"),
        (cfg.name is not None, f"name={cfg.name}: the runs of a search get names of their own"),
        (cfg.devices * cfg.nodes > 1, f"devices={cfg.devices}, nodes={cfg.nodes}: a trial runs on one device"),
    ]
    if problems := [f"{reason}; leave it out" for refused, reason in refusals if refused]:
        raise UserError("\n  ".join([f"{name}: a search cannot have", *problems]))
    needless = [dimension.key for dimension in composed.space if dimension.key in unread(cfg.model.kind)]
    space = [dimension for dimension in composed.space if dimension.key not in needless]
    if not space:
        raise UserError(f"model={cfg.model.name}: reads none of {', '.join(needless)}; write what it reads, "
                        "such as batch_size=16,32 for a network, or seed=0,1,2")  # fmt: skip
    if needless:
        print(f"model={cfg.model.name}: does not read {', '.join(needless)}; left out of the search", file=sys.stderr)
    fingerprint = read_cohort(cfg.cohort_dir).fingerprint
    deciding = [identity(cfg, fingerprint), str(settings.metric), settings.halving, list(map(str, space))]
    mark = hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:8]
    whole_name = f"{name}-{cfg.model.name}-{mark}"
    cfg.wandb.group = cfg.wandb.group or name
    return Search(whole_name, cfg, settings, space, point.launcher, fingerprint)


def words_of(folder: Path) -> list[str]:
    """Reads what was chosen for a slot; empty where nobody has begun it, or where its file cannot be read."""
    try:
        return list(read_job(folder)["words"])
    except UserError:
        return []


def run_search(search: Search, typed: Sequence[str], task: Task = work_on) -> None:
    """Runs the trials that have not ended, and shows all of them with the best and their cost.

    Raises:
        UserError: trials are unfinished at the end; the same command goes on with them.
    """
    jobs, out = search.jobs(), Path(search.cfg.out)
    launcher = LAUNCHERS[jobs[0].launcher["kind"]]
    launcher_values = launcher_config(jobs[0].launcher)
    tell_records(search)
    statuses = {job.folder: read_status(job.folder).standing for job in jobs}
    todo = [job for job in jobs if read_trial(job.folder) is None and statuses[job.folder] is not RunStatus.FINISHED]
    free = [job for job in todo if statuses[job.folder] is not RunStatus.RUNNING]
    print(f"{search.name}: {len(jobs)} trials: {len(jobs) - len(todo)} ended, {len(free)} to do", file=sys.stderr)
    for slot, job in enumerate(jobs):
        if job in free and not job.words:
            _write_slot(search, slot, job)
    write_sweep(out, search.name, jobs)
    start_jobs(search.name, launcher, launcher_values, (todo, free), task)
    tell_records(search)
    jobs = search.jobs()
    write_sweep(out, search.name, jobs)
    records = {job.folder.name: record for job in jobs if (record := read_trial(job.folder))}
    print("\n".join(closing_lines(search.settings, search.space, records, typed, search.cfg)), flush=True)
    if left := [job for job in jobs if job.folder.name not in records]:
        errors = [f"{job.name}: {state.error}" for job in left if (state := read_status(job.folder).state)]
        lines = "\n  ".join([f"{search.name}: {len(left)} of {len(jobs)} trials have not ended", *errors])
        if getattr(launcher_values, "wait", True):
            raise UserError(f"{lines}\nthe same command goes on with them")
        print(lines)


def _write_slot(search: Search, slot: int, job: Job) -> None:
    """Writes the `cell.json` of a trial that is not chosen yet."""
    asked = {
        "name": search.name,
        "slot": slot,
        "seed": search.cfg.seed,
        "settings": {**dataclasses.asdict(search.settings), "params": {}},
        "space": [dataclasses.asdict(dimension) for dimension in search.space],
    }
    write_job(job, search.fingerprint, asked)


def tell_records(search: Search) -> int:
    """Tells the journal of trials whose workers were killed between their record and telling; returns how many."""
    study, count = search.study(), 0
    for slot, trial in study.trials().items():
        record = read_trial(Path(search.cfg.out) / f"{search.name}-{slot:03d}")
        if record and not trial.state.is_finished():
            count += study.tell(slot, record)
    return count


def print_search(search: Search) -> None:
    """Says what a search would do; nothing is chosen, written or trained."""
    settings, ended = search.settings, [record for job in search.jobs() if (record := read_trial(job.folder))]
    stops = f"successive halving by {settings.halving}" if settings.halving else "none is stopped"
    print(f"{search.name}: {settings.trials} trials by TPE, {len(ended)} ended; {stops}; the largest "
          f"{settings.metric} of validation notes, the test is not scored")  # fmt: skip
    print("\n".join(f"  {dimension}" for dimension in search.space))
    print(f"python -m src.status {search.name} out={search.cfg.out}")
