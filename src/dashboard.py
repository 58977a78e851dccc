"""Builds a W&B workspace and a W&B report of a sweep: `python -m src.dashboard SWEEP`."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from src.cli.command import command, with_first_named
from src.config.train import WANDB_NAME, is_wandb_name

ENTITY = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass
class ServerConfig:
    """Where in W&B the runs are."""

    project: str | None
    entity: str | None


@dataclass
class DashboardConfig:
    """Builds a W&B workspace and a W&B report of a sweep, as files or on the server.

    Both hold names of axes and metrics, and the table of results; neither holds a word of a note.
    """

    wandb: ServerConfig
    source: str
    """A sweep's name, a folder of runs, or `wandb:ENTITY/PROJECT[/GROUP]`."""
    out: str
    """Folder that holds the runs of a named sweep."""
    to: str | None
    """Folder for the two as JSON; null stands for `dashboard-NAME` beside the runs."""
    save: bool
    """Save both to the W&B server of the login; a second time replaces them."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        problems = []
        if not is_wandb_name(self.wandb.project or "-"):
            problems.append(f"wandb.project={self.wandb.project}: {WANDB_NAME}")
        if self.wandb.entity is not None and not ENTITY.fullmatch(self.wandb.entity):
            problems.append(f"wandb.entity={self.wandb.entity}: must be a user or a team as W&B writes it")
        return problems


def dashboard(cfg: DashboardConfig) -> None:
    """Writes both as JSON, or saves them to the server.

    Raises:
        UserError: there is no such sweep, the folder cannot be written, or the server does not take them.
    """
    from src.cli.files import check_folder
    from src.wandb_views.dashboard_source import dashboard_source

    parent = Path(cfg.source) if Path(cfg.source).is_dir() else Path(cfg.out)
    if not cfg.save:
        check_folder(Path(cfg.to) if cfg.to else parent, "name a folder with to=DIR")
    subject = dashboard_source(cfg.source, Path(cfg.out), cfg.wandb.project, cfg.wandb.entity)
    if cfg.save:
        from src.wandb_views.saved_views import save_views

        workspace, report = save_views(subject)
        print(f"workspace: {workspace}\nreport: {report}")
        return
    from src.wandb_views.views import write_views

    for path in write_views(subject, Path(cfg.to) if cfg.to else parent / f"dashboard-{subject.name}"):
        print(path)
    print("save=true saves them to W&B")


def main() -> None:
    """Runs the command, whose first word may be the source alone."""
    sys.argv[1:] = with_first_named(sys.argv[1:], "source")
    command(DashboardConfig, "dashboard", dashboard)


if __name__ == "__main__":
    main()
