"""One file of W&B's form from all starts of a run, as one start that was never disturbed would have written it.

`wandb sync` appends what a file holds to the history that the server has; so only what it lacks is written.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.privacy.offline_runs import Journal, OfflineRun, record_type
from src.privacy.wandb_frames import framed

KILLED = 1
"""Exit code of a run whose last start never said how it ended."""


def write_merged(journals: Sequence[Journal], told: OfflineRun, folder: Path, first_step: int = 0) -> Path:
    """Writes a run's starts, first to last, as one file below `folder`.

    Args:
        told: what the starts tell together, with the rows of the history that are to be written.
        first_step: W&B's step of the first row.

    Returns:
        The file, in a folder of its own with a name that `wandb sync` takes.
    """
    begun = journals[0].run.start_time
    home = folder / f"offline-run-{begun.ToDatetime():%Y%m%d_%H%M%S}-{told.id}"
    home.mkdir(parents=True)
    path = home / f"run-{told.id}.wandb"
    path.write_bytes(framed(_numbered(_records(journals, told, first_step))))
    return path


def _numbered(records: Iterable[Any]) -> Iterator[bytes]:
    for number, record in enumerate(records, start=1):
        record.num = number
        yield record.SerializeToString()


def _records(journals: Sequence[Journal], told: OfflineRun, first_step: int) -> Iterator[Any]:
    make = record_type()
    yield make(header=next(journals[-1].of("header")))
    yield _run(journals, told)
    for kind in ("telemetry", "metric"):
        for last in {each.SerializeToString(): each for journal in journals for each in journal.of(kind)}.values():
            yield make(**{kind: last})
    for journal in journals:
        for stats in journal.of("stats"):
            yield make(stats=stats)
    started = journals[0].run.start_time.ToNanoseconds() / 1e9
    for number, row in enumerate(told.rows, start=first_step):
        own = {"_step": number}
        if "_timestamp" in row:
            own["_runtime"] = row["_timestamp"] - started
        record = make()
        record.history.step.num = number
        _fill(record.history.item, {**row, **own})
        yield record
    record = make()
    _fill(record.summary.update, {**told.summary, "_step": max(0, first_step + len(told.rows) - 1)})
    yield record
    yield make(exit={"exit_code": KILLED if told.exit_code is None else told.exit_code, "runtime": _runtime(journals)})


def _run(journals: Sequence[Journal], told: OfflineRun) -> Any:
    """The last start's run, beginning with the first start, its configuration as all starts left it."""
    record = record_type()()
    record.run.CopyFrom(journals[-1].run)
    record.run.start_time.CopyFrom(journals[0].run.start_time)
    record.run.entity = told.entity
    for name in ("resume", "resumed", "starting_step", "runtime", "config", "summary"):
        record.run.ClearField(name)
    _fill(record.run.config.update, told.config, nested=False)
    return record


def _fill(items: Any, values: Mapping[str, Any], nested: bool = True) -> None:
    for key, value in values.items():
        item = items.add(value_json=json.dumps(value))
        if nested:
            item.nested_key.append(key)  # a name with a slash or a dot is one part
        else:
            item.key = key


def _runtime(journals: Sequence[Journal]) -> int:
    return sum(each.runtime for journal in journals for each in journal.of("exit"))
