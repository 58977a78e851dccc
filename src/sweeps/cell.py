"""A cell of a grid: one configuration, and the folder that follows from it."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.config.train import TrainConfig
from src.shell.code import code_version
from src.shell.errors import UserError
from src.shell.files import replacing
from src.shell.overrides import to_schema

CELL = "cell.json"
LOG = "log.txt"
"""What a cell printed, in its folder; it stays there."""


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        folder: where it lives; its name is the cell's.
        cfg: what it trains.
        words: the overrides in which it differs from other cells.
        launcher: the values of `hydra.launcher` for it.
    """

    folder: Path
    cfg: TrainConfig
    words: list[str]
    launcher: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's name, and the id of the W&B run."""
        return self.folder.name


def write_cell(cell: Cell, cohort_fingerprint: str) -> None:
    """Writes what a process needs to work on the cell, `cell.json`, unless it is there already."""
    told = {
        "config": dataclasses.asdict(cell.cfg),
        "words": cell.words,
        "cohort": cohort_fingerprint,
        "code": code_version(),
    }
    text = json.dumps(told, indent=1) + "\n"
    path = cell.folder / CELL
    if not path.is_file() or path.read_text("utf-8") != text:
        with replacing(path) as beside:
            beside.write_text(text, "utf-8")


def read_cell(folder: Path) -> dict[str, Any]:
    """What `cell.json` holds: `config`, `words`, `cohort`, `code`.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / CELL
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}); start the sweep again") from None


def config_of(folder: Path) -> TrainConfig:
    """The configuration of a cell's folder."""
    return to_schema(TrainConfig, read_cell(folder)["config"])
