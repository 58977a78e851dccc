"""A run's record is flattened for W&B, and made again from there."""

import math
from collections.abc import Mapping
from typing import Any

from src.display.catalog import CURVES, GRID, label_number
from src.runs.record import RunRecord

LOW, HIGH = "low", "high"

SPLITS = ("val", "test")
"""First parts of the names of a record's metrics."""

CURVES_ALONE = tuple(curve.key for curve in CURVES if curve.loss)
"""Logged under the names of metrics, but no part of a record."""

GROUPS = ("counts", "seconds")
CODE = {"source": "code", "commit": "commit"}
"""What a record's code version is called in W&B's configuration."""


def flat(record: RunRecord) -> dict[str, float]:
    """Flattens a run's record into its W&B summary: metrics, intervals, counts, seconds and tokens seen, all numbers.

    What charts draw them against is there too, see `coordinates`.

    Metrics that are not defined are left out, for W&B keeps no null.

    >>> flat(RunRecord(axes={}, cohort="3f2a", metrics={"test/accuracy": 0.5}, intervals={"test/accuracy": [0.4, 0.6]},
    ...                counts={"test": 9}, seconds={"total": 2.5}, tokens_seen=80))
    ... # doctest: +NORMALIZE_WHITESPACE
    {'test/accuracy': 0.5, 'test/accuracy/low': 0.4, 'test/accuracy/high': 0.6, 'counts/test': 9, 'seconds/total': 2.5,
     'tokens_seen': 80}
    """
    summary: dict[str, float] = {
        name: value for name, value in record.metrics.items() if value is not None and math.isfinite(value)
    }
    for name, (low, high) in record.intervals.items():
        summary |= {f"{name}/{LOW}": low, f"{name}/{HIGH}": high}
    for group in GROUPS:
        summary |= {f"{group}/{name}": value for name, value in getattr(record, group).items()}
    return {**summary, **coordinates(record), "tokens_seen": record.tokens_seen}


def coordinates(record: RunRecord) -> dict[str, float]:
    """Gives what W&B's custom charts draw metrics against, as numbers, for those charts read the summary alone.

    >>> coordinates(RunRecord(axes={"params": 7, "max_len": 512, "lora_r": 8, "labels": "two"}, cohort="3f2a",
    ...                       metrics={}, config={"devices": 4, "nodes": 2}, seconds={"total": 900.0}))
    {'axes/params': 7, 'axes/max_len': 512, 'axes/lora_r': 8, 'axes/labels': 1, 'cost/device_hours': 2.0}
    """
    axes, config = record.axes, record.config
    if not axes or not config:
        return {}
    numbers = {f"axes/{axis.key}": axes[axis.key] for axis in GRID}
    hours = record.seconds["total"] * config.get("devices", 1) * config.get("nodes", 1) / 3600
    return {**numbers, "axes/labels": label_number(axes["labels"]), "cost/device_hours": hours}


def flat_config(axes: Mapping[str, Any], cohort: str, code: Mapping[str, str | None]) -> dict[str, Any]:
    """Joins a run's axes, the cohort's fingerprint and the version of the code into its configuration in W&B.

    >>> flat_config({"model": "nano"}, "3f2a", {"commit": None, "source": "77ab"})
    {'model': 'nano', 'cohort': '3f2a', 'code': '77ab', 'commit': None}
    """
    return {**axes, "cohort": cohort, **{key: code[name] for name, key in CODE.items()}}


def record_of(config: Mapping[str, Any], summary: Mapping[str, Any]) -> RunRecord:
    """Makes the record that W&B holds, with axes, cohort, code, counts, metrics, intervals, tokens seen and seconds.

    What W&B and the curves add to either is left out. Of a run that goes on, the parts that it has so far: see
    `is_finished`.
    """
    record = RunRecord(
        axes={name: value for name, value in config.items() if name not in ("cohort", *CODE.values(), "_wandb")},
        cohort=str(config.get("cohort", "")),
        code={name: config.get(key) for name, key in CODE.items()},
        metrics={},
        tokens_seen=summary.get("tokens_seen", 0),
    )
    for key, value in summary.items():
        first, _, rest = key.partition("/")
        name, _, end = key.rpartition("/")
        if first in GROUPS:
            getattr(record, first)[rest] = value
        elif first not in SPLITS or key in CURVES_ALONE:
            continue
        elif end == LOW:
            record.intervals[name] = [value, summary[f"{name}/{HIGH}"]]
        elif end != HIGH:
            record.metrics[key] = value
    return record


def is_finished(summary: Mapping[str, Any]) -> bool:
    """Says whether the run came to its record, which is the last that it sends."""
    return "tokens_seen" in summary
