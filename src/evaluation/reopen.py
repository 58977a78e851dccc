"""A finished run taken up again: its record, and what it worked with."""

from pathlib import Path
from typing import Any

from src.baselines.systems import build_predictor
from src.cli.compose import to_schema
from src.cli.errors import UserError
from src.config.train import TrainConfig
from src.runs.record import RunRecord, read_cohort_of
from src.training.predictor import Predictor
from src.training.run_data import open_data


def config_of(record: RunRecord, device: str, data_dir: str | None, run: Path) -> TrainConfig:
    """What a finished run was trained with, for one process on `device`, however many trained it.

    Raises:
        UserError: its cohort is neither in `data_dir` nor where the record names it, or an earlier version trained it
            on the first notes of each split.
    """
    if (limit := record.config["data"].get("limit")) and record.sample is None:
        raise UserError(
            f"{run}: data.limit={limit}: an earlier version trained this run on the first notes of each split, and now "
            "a sample is taken; train it again"
        )
    return config_in(record, device, read_cohort_of(record, run, Path(data_dir) if data_dir else None).folder)


def config_in(record: RunRecord, device: str, folder: Path, **changes: Any) -> TrainConfig:
    """What a finished run was trained with, for one process on `device`, with its cohort in a folder."""
    config = {**record.config, "device": device, "devices": 1, "nodes": 1, "shard": False, **changes}
    config["init_from"] = None  # its weights are its own now, wherever that run is
    return to_schema(TrainConfig, {**config, "data": {**config["data"], "dir": str(folder)}})


def reopen(record: RunRecord, run: Path, device: str, data_dir: str | None) -> Predictor:
    """Returns the system of a finished run on its data, on `device`, with nothing loaded yet.

    Its cohort is in `data_dir`, or where it was.

    Raises:
        UserError: the cohort is another one, or cannot be had.
    """
    return build_predictor(open_data(config_of(record, device, data_dir, run)))
