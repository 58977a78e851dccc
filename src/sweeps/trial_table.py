"""Shows the trials of a search: a row a trial, the command of the best, and what it cost."""

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import prod
from pathlib import Path
from typing import Any

from src.cli.compose import CONF
from src.cli.search_space import Dimension
from src.cli.typed_config import converted
from src.cli.typed_words import parsed
from src.config.sweeper import SearchConfig
from src.config.train import TrainConfig
from src.runs.identity import flat_keys
from src.runs.job import config_of
from src.runs.trial_record import TrialEnd, TrialRecord
from src.sweeps.status_table import columns


def best_of(records: Mapping[str, TrialRecord]) -> str | None:
    """Names the run of the best trial that was trained to its end, the earliest of equals; None where there is none."""
    values = {
        name: record.value
        for name, record in records.items()
        if record.end is TrialEnd.COMPLETE and record.value is not None
    }
    return max(values, key=lambda name: (values[name], -records[name].number)) if values else None


def closing_lines(
    settings: SearchConfig,
    space: Sequence[Dimension],
    records: Mapping[str, TrialRecord],
    typed: Sequence[str],
    cfg: TrainConfig,
) -> list[str]:
    """Writes the table of trials, how the best goes on to its test, and the steps that were taken.

    Args:
        settings: of the search.
        space: what was tried.
        records: of the trials that have ended, by their runs' names.
        typed: the words of the command.
        cfg: what every trial began as.
    """
    ranked = sorted(records.items(), key=lambda item: (item[1].end is not TrialEnd.COMPLETE, -(item[1].value or 0)))
    body = [
        [str(record.number), record.end, _value(record), str(record.steps), " ".join(record.words), record.reason or ""]
        for _, record in ranked
    ]
    lines = [columns(["trial", "end", f"val {settings.metric}", "steps", "words", "reason"], body)]
    counts = {end: sum(record.end is end for record in records.values()) for end in TrialEnd}
    lines.append(", ".join(f"{count} {end}" for end, count in counts.items()))
    if name := best_of(records):
        words = shlex.join(command_words(typed, config_of(Path(cfg.out) / name), name))
        lines += [f"the best is trial {records[name].number}; tested by", f"python -m src.train {words}"]
    taken, whole = (sum(getattr(record, key) for record in records.values()) for key in ("steps", "full_steps"))
    if whole:
        lines.append(f"{taken:,} steps; without stopping {whole:,} ({taken / whole:.0%})")
        if all(dimension.choices for dimension in space):
            cells = prod(len(dimension.choices) for dimension in space)
            lines.append(f"the full grid of {cells} cells: about {cells * whole // len(records):,} steps")
    return lines


def _value(record: TrialRecord) -> str:
    if record.value is None:
        return ""
    interval = f" [{record.low:.3f}, {record.high:.3f}]" if record.low is not None and record.high is not None else ""
    return f"{record.value:.3f}{interval}"


def command_words(typed: Sequence[str], cfg: TrainConfig, name: str) -> list[str]:
    """Writes the words with which `python -m src.train` finishes a trial's run: those typed, and what else differs."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    own, chosen = ("hydra.", "hydra/"), dict(flat_keys(dataclasses.asdict(cfg)))
    words = [word for word in typed if not word.startswith(own) and _stands(word, chosen)]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF.absolute()), version_base="1.3"):
        plain, _ = converted(TrainConfig, compose("train", words))  # not judged: the search's file makes them whole
    before = dict(flat_keys(dataclasses.asdict(plain))) if plain else {}
    left_out = ("name", "wandb.group")
    differing = {key: value for key, value in chosen.items() if before.get(key) != value and key not in left_out}
    return [*words, *(f"{key}={written(value)}" for key, value in differing.items()), f"name={name}"]


def _stands(word: str, chosen: Mapping[str, Any]) -> bool:
    """Says whether a typed word has the value that was chosen, and is no part of the space."""
    override, key = parsed(word), word.partition("=")[0]
    return key not in chosen or (not override.is_sweep_override() and bool(override.value() == chosen[key]))


def written(value: Any) -> str:
    """Writes a value in Hydra's grammar.

    >>> written(None), written(True), written(1e-05), written(["q_proj", "v_proj"])
    ('null', 'true', '1e-05', '[q_proj,v_proj]')
    """
    if isinstance(value, StrEnum | str):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(written(item) for item in value)}]"
    return json.dumps(value)
