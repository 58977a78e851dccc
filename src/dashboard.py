"""Builds a W&B workspace and a W&B report of a sweep: `python -m src.dashboard SWEEP`."""

import sys
from pathlib import Path

from src.cli.command import command, with_first_named
from src.config.dashboard import DashboardConfig


def dashboard(cfg: DashboardConfig) -> None:
    """Writes both as JSON, or saves them to the server.

    Raises:
        UserError: there is no such sweep, the folder cannot be written, or the server does not take them.
    """
    from src.cli.files import check_folder
    from src.wandb_views.dashboard_source import dashboard_source

    beside = Path(cfg.source) if Path(cfg.source).is_dir() else Path(cfg.out)
    if not cfg.save:
        check_folder(Path(cfg.to) if cfg.to else beside, "name a folder with to=DIR")
    subject = dashboard_source(cfg.source, Path(cfg.out), cfg.wandb.project, cfg.wandb.entity)
    if cfg.save:
        from src.wandb_views.saved_views import save_views

        workspace, report = save_views(subject)
        print(f"workspace: {workspace}\nreport: {report}")
        return
    from src.wandb_views.views import write_views

    for path in write_views(subject, Path(cfg.to) if cfg.to else beside / f"dashboard-{subject.name}"):
        print(path)
    print("save=true saves them to W&B")


def main() -> None:
    """The command; its first word may be the source alone."""
    sys.argv[1:] = with_first_named(sys.argv[1:], "source")
    command(DashboardConfig, "dashboard", dashboard)


if __name__ == "__main__":
    main()
