"""Audits what W&B wrote of runs before anything leaves the machine: `python -m src.audit RUN [RUN ...]`."""

import sys
from dataclasses import dataclass
from pathlib import Path

from src.cli.command import command
from src.cli.errors import UserError
from src.cli.terminal import visible
from src.compare import with_runs_named


@dataclass
class AuditConfig:
    """Audits what W&B wrote of runs: its form, and every string of it against the notes; status 1 with findings."""

    runs: list[str]
    """Folders of runs, or folders that hold them; on the command line they may stand alone."""
    data_dir: str | None
    """Where the runs' cohort lies now; null takes the place that each run's record names."""
    notes: bool
    """Whether to match against the cohort's notes; without them the verdict says so."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        return run_problems(self.runs, "audit")


def run_problems(runs: list[str], command: str) -> list[str]:
    """Lists what is wrong with the runs that a command names."""
    if not runs:
        return [f"runs: none named; write python -m src.{command} RUN, a run's folder or a folder of runs"]
    return [f"runs={run}: no such folder" for run in runs if not Path(run).is_dir()]


def audit(cfg: AuditConfig) -> None:
    """Prints a verdict on each run, writes its `audit.json`, and exits with 1 where anything was found, or not audited.

    Raises:
        UserError: the only run or its cohort cannot be read.
    """
    from src.privacy.audit_runs import audit_runs, runs_in, unreadable

    runs, data_dir = runs_in(cfg.runs), Path(cfg.data_dir) if cfg.data_dir else None
    left_out = unreadable(runs, data_dir, cfg.notes)
    if left_out and len(runs) == 1:
        raise UserError(left_out[runs[0]])
    verdicts = audit_runs([run for run in runs if run not in left_out], data_dir, cfg.notes)
    for verdict in verdicts:
        print("\n".join(verdict.lines()))
    dirty = sum(not verdict.clean for verdict in verdicts)
    for reason in left_out.values():
        print(f"not audited: {visible(reason)}")
    if len(runs) > 1:
        print(f"{len(runs)} runs, {len(verdicts) - dirty} clean")
    if dirty or left_out:
        sys.exit(1)


def main() -> None:
    """Runs the command."""
    sys.argv[1:] = with_runs_named(sys.argv[1:])
    command(AuditConfig, "audit", audit)


if __name__ == "__main__":
    main()
