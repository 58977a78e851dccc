"""The configuration of `python -m src.dashboard`."""

import re
from dataclasses import dataclass

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
        """One line for each value that cannot be."""
        found = []
        if not is_wandb_name(self.wandb.project or "-"):
            found.append(f"wandb.project={self.wandb.project}: {WANDB_NAME}")
        if self.wandb.entity is not None and not ENTITY.fullmatch(self.wandb.entity):
            found.append(f"wandb.entity={self.wandb.entity}: must be a user or a team as W&B writes it")
        return found
