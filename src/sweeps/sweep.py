"""Runs a sweep: its cells, what is left to do of them, where it is done, and what came out."""

import dataclasses
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from src.cli.compose import Point, to_schema
from src.cli.errors import UserError
from src.cohort.prepared import read_cohort
from src.config.launch import SCHEMAS, Kind, LauncherConfig
from src.config.train import TrainConfig
from src.runs.find import run_folders
from src.runs.identity import as_read, check_names, run_dir, unread
from src.runs.job import CELL, Job, write_job
from src.runs.provenance import code_version
from src.runs.record import finished, of_apr, read_record, record_of
from src.runs.state import RunStatus
from src.runs.status import StatusSnapshot, queued_jobs, read_status
from src.sweeps.manifest import write_sweep

Task = Callable[[Path], int]


@dataclass(frozen=True)
class Launcher:
    """Names a launcher's function, which takes a sweep's name, its jobs, the launcher's values and a task a job.

    Attributes:
        joins: whether it also takes jobs that are worked on, because it finds those of an earlier start again.
    """

    module: str
    function: str
    joins: bool = False


LAUNCHERS: dict[str, Launcher] = {
    Kind.PROCESSES: Launcher("src.sweeps.launchers.processes", "run_in_processes"),
    Kind.SLURM: Launcher("src.sweeps.launchers.slurm", "run_on_slurm", joins=True),
    Kind.RAY: Launcher("src.sweeps.launchers.ray", "run_on_ray"),
}
"""Every launcher by its kind; its module is imported when it is asked for."""


def work_on(folder: Path) -> int:
    """Works on a cell as `python -m src.cell FOLDER` does: commands are started, and never imported by what they use.

    Returns:
        Its exit status.
    """
    return int(import_module(CELL).work_on(folder))


def plan_jobs(name: str, points: Sequence[Point[TrainConfig]]) -> list[Job]:
    """Plans the cells of a sweep, each once, under the folder that follows from its configuration.

    Says which cells are one run, because they differ in what their system does not read.

    Raises:
        UserError: two different cells would share a folder, or they lie under several `out` folders.
    """
    common = set.intersection(*(set(point.words) for point in points))
    jobs: dict[Path, Job] = {}
    needless_of: dict[Path, list[list[str]]] = defaultdict(list)
    outs = {point.config.out for point in points}
    if len(outs) > 1:
        raise UserError(f"out={','.join(sorted(outs))}: a sweep has one folder; start it once for each")
    check_names([point.config for point in points])
    for point in points:
        cfg = dataclasses.replace(as_read(point.config), wandb=dataclasses.replace(point.config.wandb))
        cfg.wandb.group = cfg.wandb.group or name
        folder = run_dir(cfg)
        if cfg.name:
            record_of(cfg, folder)  # refuses another run's
        words = [word for word in point.words if word not in common]
        needless = [word for word in words if word.partition("=")[0] in unread(cfg.model.kind)]
        needless_of[folder].append(needless)
        jobs.setdefault(folder, Job(folder, cfg, [word for word in words if word not in needless], point.launcher))
    for folder, alike in needless_of.items():
        if any(words != alike[0] for words in alike):
            keys = ", ".join(dict.fromkeys(word.partition("=")[0] for words in alike for word in words))
            print(f"model={jobs[folder].cfg.model.name}: does not read {keys}; {len(alike)} cells are one run, "
                  f"{folder.name}", file=sys.stderr)  # fmt: skip
    return list(jobs.values())


def launcher_config(values: dict[str, Any]) -> LauncherConfig:
    """Returns the typed values of `hydra.launcher`.

    Raises:
        UserError: naming every one that cannot be, or the table that lacks the launcher.
    """
    kind = values["kind"]
    for table, where in ((SCHEMAS, "src/config/launch.py::SCHEMAS"), (LAUNCHERS, "src/sweeps/sweep.py::LAUNCHERS")):
        if kind not in table:
            raise UserError(f"hydra.launcher.kind={kind}: there is no such launcher; add it to {where}")
    return to_schema(SCHEMAS[kind], values)


def run_sweep(name: str, jobs: Sequence[Job], task: Task = work_on) -> None:
    """Runs what is left to do of a sweep's cells, and ends with what became of all of them.

    Finished cells are skipped, unfinished ones go on, failed ones run again, and those that another process works
    on are left alone.

    Raises:
        UserError: cells failed or are unfinished at the end; the others are done all the same.
    """
    cfg, launcher = launcher_config(jobs[0].launcher), LAUNCHERS[jobs[0].launcher["kind"]]
    out = Path(jobs[0].cfg.out)
    cohorts = {folder: read_cohort(folder).fingerprint for folder in {job.cfg.cohort_dir for job in jobs}}
    statuses = {job.folder: read_status(job.folder) for job in jobs}
    todo = [job for job in jobs if statuses[job.folder].standing is not RunStatus.FINISHED]
    free = [job for job in todo if statuses[job.folder].standing is not RunStatus.RUNNING]
    _announce(name, jobs, statuses, set(cohorts.values()))
    for job in free:
        write_job(job, cohorts[job.cfg.cohort_dir])
    write_sweep(out, name, jobs)
    start_jobs(name, launcher, cfg, (todo, free), task)
    _close(name, jobs, waits=getattr(cfg, "wait", True))


def start_jobs(
    name: str, launcher: Launcher, cfg: LauncherConfig, left: tuple[Sequence[Job], Sequence[Job]], task: Task
) -> None:
    """Gives a launcher the jobs that are left: all of them where it joins those that are worked on, else the free."""
    todo, free = left
    if asked_for := todo if launcher.joins else free:
        getattr(import_module(launcher.module), launcher.function)(name, asked_for, cfg, task)


def _announce(name: str, jobs: Sequence[Job], statuses: dict[Path, StatusSnapshot], fingerprints: set[str]) -> None:
    counts = Counter(status.standing for status in statuses.values())
    states = ", ".join(f"{count} {standing}" for standing, count in counts.most_common())
    print(f"{name}: {len(jobs)} cells: {states}", file=sys.stderr, flush=True)
    source = code_version()["source"]
    changed = [
        status for status in statuses.values() if status.state and status.state.code and status.state.code[-1] != source
    ]
    ended = sum(status.standing is RunStatus.FINISHED for status in changed)
    begun = len(changed) - ended
    if ended:
        print(f"{ended} finished cells were trained by other code and are kept; remove their folders to train them "
              f"again by this ({source})", file=sys.stderr)  # fmt: skip
    if begun:
        print(f"{begun} cells were begun by other code; they go on by this ({source}), and say so", file=sys.stderr)
    strangers = _of_another_cohort(jobs, fingerprints)
    if strangers:
        own = " and ".join(sorted(fingerprint[:12] for fingerprint in fingerprints))
        print(f"{strangers} runs of the same names in this folder belong to another cohort; this one's "
              f"fingerprint is {own}", file=sys.stderr)  # fmt: skip


def _of_another_cohort(jobs: Sequence[Job], fingerprints: set[str]) -> int:
    """Counts finished runs beside the cells that bear a cell's readable name and were trained on other notes."""
    readable = {job.name.rpartition("-")[0] for job in jobs}
    own = {job.name for job in jobs}
    count = 0
    for path in run_folders(Path(jobs[0].cfg.out)):
        if path.name.rpartition("-")[0] in readable and path.name not in own:
            count += finished(path) and read_record(path).cohort not in fingerprints
    return count


def _close(name: str, jobs: Sequence[Job], waits: bool) -> None:
    from src.evaluation.metrics_table import table

    records = {job.name: read_record(job.folder) for job in jobs if finished(job.folder)}
    if records:
        print(table({job: record.metrics for job, record in records.items()}, apr=of_apr(records.values())))
    queued = queued_jobs(Path(jobs[0].cfg.out))
    statuses = {job.name: read_status(job.folder, job.name in queued) for job in jobs}
    alive = sum(status.standing in (RunStatus.RUNNING, RunStatus.QUEUED) for status in statuses.values())
    failed = {job_name: status for job_name, status in statuses.items() if status.standing is RunStatus.FAILED}
    unfinished = len(jobs) - len(records) - alive - len(failed)
    if alive:
        print(f"{name}: {alive} cells are worked on or queued elsewhere; python -m src.status {name}", flush=True)
    problems = [f"{job_name}: {status.state.error if status.state else ''}" for job_name, status in failed.items()]
    problems += [f"{unfinished} cells are not finished"] if unfinished else []
    if problems and waits:
        lines = "\n  ".join(problems)
        raise UserError(f"{name}: {len(failed)} of {len(jobs)} cells failed\n  {lines}\n"
                        "the same command runs them again and keeps what is finished")  # fmt: skip
