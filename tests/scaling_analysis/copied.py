"""Tells W&B of finished runs as their training would have.

`python -m tests.scaling_analysis.copied RUNS OUT offline|online`.
"""

import shutil
import sys
from pathlib import Path

from src.config.choices import WandbMode
from src.config.train import WandbConfig
from src.runs.folder import RunFolder
from src.runs.record import read_record
from src.tracking.flat import flat, flat_config
from src.tracking.recorder import recording
from src.tracking.run_metadata import RunMetadata


def copy(run: Path, place: Path, mode: WandbMode) -> None:
    """One run: its configuration, the history that its folder holds, and its summary."""
    place.mkdir(parents=True)
    shutil.copy(RunFolder(run).history, RunFolder(place).history)
    record = read_record(run)
    config = flat_config(record.axes, record.cohort, record.code)
    with recording(WandbConfig(mode, "drg", "grid"), place, RunMetadata(config, run.name)) as recorder:
        recorder.log_summary(flat(record))


if __name__ == "__main__":
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        copy(folder, Path(sys.argv[2]) / folder.name, WandbMode(sys.argv[3]))
