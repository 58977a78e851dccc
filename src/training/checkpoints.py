"""Checkpoints that are whole or absent, and where they lie in a run's folder."""

from pathlib import Path
from typing import Any

from lightning_fabric.utilities.types import _PATH
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from src.shell.files import replacing

FOLDER = "checkpoints"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it, so that a kill never leaves half of one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        with replacing(Path(path)) as beside:
            super().save_checkpoint(checkpoint, beside, storage_options)


def keep_best_and_last(run_dir: Path) -> ModelCheckpoint:
    """Keeps the epoch with the best accuracy on validation patients, and the last one to resume from."""
    return ModelCheckpoint(
        dirpath=run_dir / FOLDER,
        filename="best",
        monitor="val/accuracy",
        mode="max",
        save_top_k=1,
        save_last=True,
        enable_version_counter=False,
    )


def last_checkpoint(run_dir: Path) -> Path | None:
    """The checkpoint that an interrupted run goes on from, if there is one."""
    path = run_dir / FOLDER / "last.ckpt"
    return path if path.is_file() else None
