"""Reads the finished runs of a W&B project by its API."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from src.cli.errors import UserError
from src.cli.progress import track
from src.display.catalog import NAMED, STEP, typed
from src.runs.finished import Run
from src.runs.history import Curves
from src.scaling_analysis.result import Missing
from src.tracking.flat import is_finished, record_of
from src.tracking.policy import ENVIRONMENT, end_wandb

AT_ONCE = 8
"""Histories that are asked for at a time; each is a request of a thousand rows or more."""

RunFields = tuple[str, Mapping[str, Any], Mapping[str, Any], str]
"""A run's id, configuration, summary, and state as W&B calls it."""


def curves_of(rows: Iterable[Mapping[str, Any]]) -> Curves:
    """Groups rows into curves by the trainer's step; of a step that a resumed run has repeated the last row counts.

    >>> curves_of([{"trainer/global_step": 5, "a": 1.0}, {"trainer/global_step": 5, "a": 2.0, "_step": 7}, {"b": 3.0}])
    {'a': {5: 2.0}}
    """
    curves: Curves = {}
    for row in rows:
        step = row.get(STEP)
        if not isinstance(step, int | float):
            continue
        for key, value in row.items():
            if key != STEP and not key.startswith("_") and _is_number(value):
                curves.setdefault(key, {})[int(step)] = value
    return {key: dict(sorted(values.items())) for key, values in curves.items()}


def split(runs: Iterable[RunFields]) -> tuple[list[RunFields], list[Missing]]:
    """Separates our finished runs from our unfinished ones; what is not of this project is left out."""
    finished, missing = [], []
    for name, config, summary, state in sorted(runs, key=lambda run: run[0]):
        if "cohort" not in config or "params" not in config:
            continue
        if is_finished(summary):
            finished.append((name, config, summary, state))
        else:
            words = typed((axis.key, config[axis.key]) for axis in NAMED if axis.key in config)
            missing.append(Missing(name, words, state))
    return finished, missing


def read_project(project: str, group: str | None) -> tuple[list[Run], list[Missing]]:
    """Reads the runs of a W&B project, `ENTITY/PROJECT`, or of one group of it.

    Raises:
        UserError: W&B does not answer, has no such project, or nobody is logged in.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import wandb

    filters = {"group": group} if group else {}
    try:
        api_runs = {run.id: run for run in wandb.Api().runs(project, filters=filters, lazy=False)}
        runs = [(run.id, dict(run.config), dict(run.summary_metrics), run.state) for run in api_runs.values()]
        finished, missing = split(runs)
        return list(_with_histories(finished, api_runs)), missing
    except (wandb.errors.Error, ValueError, OSError) as error:
        raise UserError(
            f"wandb:{project}: cannot be read ({type(error).__name__}); is the name right, the machine online, and "
            "somebody logged in (wandb login, or WANDB_API_KEY)?"
        ) from None
    finally:
        end_wandb()


def _with_histories(finished: list[RunFields], api_runs: Mapping[str, Any]) -> Iterator[Run]:
    def read(run: RunFields) -> Run:
        name, config, summary, _ = run
        return Run(name, record_of(config, summary), curves_of(api_runs[name].scan_history()))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from track(pool.map(read, finished), total=len(finished), what="reading runs", unit="run")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
