"""A finished run taken up again: its record, and what it worked with."""

from pathlib import Path
from typing import Any

from src.config.train import TrainConfig
from src.evaluation.record import read_record
from src.shell.errors import UserError
from src.shell.overrides import to_schema
from src.training.session import Session, open_session


def reopen(run: Path, device: str, data_dir: str | None) -> tuple[dict[str, Any], Session]:
    """The record of a finished run, and its session on `device` with the cohort in `data_dir`, or where it was.

    Raises:
        UserError: there is no record, or the cohort is another one.
    """
    record = read_record(run)
    config = record["config"]
    config["device"] = device
    config["data"]["dir"] = data_dir or config["data"]["dir"]
    session = open_session(to_schema(TrainConfig, config))
    if session.cohort.fingerprint != record["cohort"]:
        raise UserError(f"{session.cfg.data.dir}: not the cohort that {run} was trained on; write data_dir=COHORT")
    return record, session
