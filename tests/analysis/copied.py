"""Tells W&B of finished runs as their training would have: `python copied.py RUNS OUT offline|online`."""

import sys
from pathlib import Path

from src.evaluation.record import read_record
from src.tracking.flat import flat, flat_config
from src.tracking.history import read_history
from src.tracking.journal import STEP
from src.tracking.policy import set_environment, settings


def copy(run: Path, out: Path, mode: str) -> None:
    """One run: configuration, history and summary."""
    set_environment(out)
    import wandb

    record = read_record(run)
    held = wandb.init(
        project="drg",
        group="grid",
        id=run.name,
        config=flat_config(record["axes"], record["cohort"], record["code"]),
        dir=str(out),
        mode=mode,
        reinit="create_new",
        settings=wandb.Settings(**settings()),
    )
    rows: dict[int, dict[str, float]] = {}
    for name, values in read_history(run).items():
        for step, value in values.items():
            rows.setdefault(step, {})[name] = value
    for step, told in sorted(rows.items()):
        held.log({**told, STEP: step})
    held.summary.update(flat(record))
    held.finish()


if __name__ == "__main__":
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        place = Path(sys.argv[2]) / folder.name
        place.mkdir(parents=True)
        copy(folder, place, sys.argv[3])
