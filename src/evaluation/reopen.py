"""A finished run is taken up again with its record and what it worked with."""

from pathlib import Path

from src.cli.compose import to_schema
from src.cli.errors import UserError
from src.config.train import TrainConfig
from src.runs.record import RunRecord, read_cohort_of, read_record
from src.training.context import Session, open_session


def config_of(record: RunRecord, device: str, data_dir: str | None, run: Path) -> TrainConfig:
    """Makes the configuration of a finished run for one process on `device`, however many trained it.

    Raises:
        UserError: its cohort is neither in `data_dir` nor where the record names it, or an earlier version trained it
            on the first notes of each split.
    """
    if (limit := record.config["data"].get("limit")) and record.sample is None:
        raise UserError(
            f"{run}: data.limit={limit}: an earlier version trained this run on the first notes of each split, and now "
            "a sample is taken; train it again"
        )
    cohort = read_cohort_of(record, run, Path(data_dir) if data_dir else None)
    config = {**record.config, "device": device, "devices": 1, "nodes": 1, "shard": False}
    config["data"] = {**config["data"], "dir": str(cohort.folder)}
    return to_schema(TrainConfig, config)


def reopen(run: Path, device: str, data_dir: str | None) -> tuple[RunRecord, Session]:
    """Reads the record of a finished run, and opens its session on `device` with the cohort in `data_dir` or its own.

    Raises:
        UserError: there is no record, or the cohort is another one.
    """
    record = read_record(run)
    return record, open_session(config_of(record, device, data_dir, run))
