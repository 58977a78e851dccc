"""Sends audited runs to a W&B server: `python -m src.sync RUN [RUN ...]`."""

import sys
from dataclasses import dataclass
from pathlib import Path

from src.audit import run_problems
from src.cli.command import command
from src.cli.errors import UserError
from src.cli.terminal import visible
from src.compare import with_runs_named


@dataclass
class SyncConfig:
    """Sends runs to the W&B server that this machine is logged in to, those only whose audit finds nothing."""

    runs: list[str]
    """Folders of runs, or folders that hold them; on the command line they may stand alone."""
    entity: str | None
    """User or team whose projects the runs go to; null takes the one that is logged in."""
    data_dir: str | None
    """Where the runs' cohort lies now; null takes the place that each run's record names."""
    notes: bool
    """Whether the audit must have matched against the cohort's notes."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        return run_problems(self.runs, "sync")


def sync(cfg: SyncConfig) -> None:
    """Audits each run, sends those that are clean, and exits with status 1 where one was not.

    What is sent is the run's own record and history, through the guard; nothing that W&B wrote is. The audit looks
    through both; where it holds for these very bytes it is not made again. A run that was sent is not sent again.

    Raises:
        UserError: a run or its cohort cannot be read, nobody is logged in, or the server is lost.
    """
    from src.privacy.audit_runs import audit_runs, read_clean, runs_in, unreadable
    from src.privacy.upload import connected, send
    from src.runs.lock import held_by
    from src.tracking.replay import read_replay

    named = runs_in(cfg.runs)
    busy = [run for run in named if held_by(run)]
    runs = [run for run in named if run not in busy]
    kept = {run: read_clean(run) for run in runs}
    unaudited = [run for run, (clean, cohort) in kept.items() if not clean or (cfg.notes and cohort is None)]
    data_dir = Path(cfg.data_dir) if cfg.data_dir else None
    left_out = unreadable(unaudited, data_dir, cfg.notes)
    if left_out and len(named) == 1:
        raise UserError(left_out[named[0]])
    verdicts = audit_runs([run for run in unaudited if run not in left_out], data_dir, cfg.notes)
    dirty = [verdict for verdict in verdicts if not verdict.clean]
    for verdict in dirty:
        print("\n".join(verdict.lines()))
    for reason in left_out.values():
        print(f"not audited, so not sent: {visible(reason)}")
    for run in busy:
        print(f"{run}: goes on, so it was left out; send it when it has ended")
    replays = []
    for run in [run for run in runs if run not in [*left_out, *(verdict.run for verdict in dirty)]]:
        try:
            replays.append(read_replay(run, data_dir))
        except UserError as error:
            if len(named) == 1:
                raise
            left_out[run] = str(error)
            print(f"not sent: {visible(str(error))}")
    if replays:
        with connected(cfg.entity) as server:
            for run, outcome in send(replays, server):
                print(f"{run}: {outcome}, {server.url}", flush=True)
    if dirty:
        print(f"{len(dirty)} of {len(runs)} runs were not sent: the audit found what must not leave the machine")
    if dirty or left_out:
        sys.exit(1)


def main() -> None:
    """Runs the command."""
    sys.argv[1:] = with_runs_named(sys.argv[1:])
    command(SyncConfig, "sync", sync)


if __name__ == "__main__":
    main()
