"""The files that W&B wrote of a run on this machine are read record by record, up to a tear.

A run that was started several times has a folder a start. `wandb.Api` reads servers only, and `wandb leet inspect`
prints one file at a time, neither its tear nor its damage.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.privacy.wandb_frames import read_frames
from src.tracking.policy import ENVIRONMENT


@dataclass(frozen=True)
class Journal:
    """Holds the records of one file, which is one start of a run.

    Attributes:
        records: place in the file, and `wandb_internal_pb2.Record`, in order.
        torn: whether its end is missing, as after a kill.
    """

    path: Path
    records: list[tuple[int, Any]]
    torn: bool


def journal_files(run_dir: Path) -> list[Path]:
    """Lists the files of a run's starts: below its `wandb`, or of `run_dir` itself where that is what W&B wrote."""
    for pattern in ("wandb/*run-*/*.wandb", "*run-*/*.wandb", "*.wandb"):
        if paths := sorted(path for path in run_dir.glob(pattern) if not path.parent.is_symlink()):
            return paths
    return []


def read_journal(path: Path) -> Journal:
    """Reads the records of one file, up to its tear.

    Raises:
        UserError: it is damaged, or not W&B's; the message says where.
    """
    frames, message, records = read_frames(path), record_type(), []
    for offset, body in frames.bodies:
        record = message()
        try:
            record.ParseFromString(body)
        except Exception as error:  # `DecodeError` of whichever implementation protobuf chose
            raise UserError(
                f"{path}: byte {offset}: no record of W&B's that this version knows ({type(error).__name__})"
            ) from None
        records.append((offset, record))
    return Journal(path, records, frames.torn is not None)


@cache
def record_type() -> Any:
    """Imports W&B's message class for one record, under the policy's environment."""
    os.environ.update(ENVIRONMENT)
    from wandb.proto import wandb_internal_pb2

    return wandb_internal_pb2.Record
