"""Audits what W&B wrote of runs before anything leaves the machine: `python -m src.audit RUN [RUN ...]`."""

import sys
from pathlib import Path

from src.compare import with_runs_named
from src.config.audit import AuditConfig
from src.shell.command import command


def audit(cfg: AuditConfig) -> None:
    """Prints a verdict on each run, writes its `audit.json`, and exits with status 1 where anything was found.

    Raises:
        UserError: a run or its cohort cannot be read.
    """
    from src.tracking.audit import audit_runs, runs_in

    verdicts = audit_runs(runs_in(cfg.runs), Path(cfg.data_dir) if cfg.data_dir else None, cfg.notes)
    for verdict in verdicts:
        print("\n".join(verdict.lines()))
    dirty = sum(not verdict.clean for verdict in verdicts)
    if len(verdicts) > 1:
        print(f"{len(verdicts)} runs, {len(verdicts) - dirty} clean")
    if dirty:
        sys.exit(1)


def main() -> None:
    """The command."""
    sys.argv[1:] = with_runs_named(sys.argv[1:])
    command(AuditConfig, "audit", audit)


if __name__ == "__main__":
    main()
