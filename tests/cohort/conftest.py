from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.cli.compose import compose, read_command_line
from src.cohort.build import build
from src.config.prepare import PrepareConfig

Prepare = Callable[..., tuple[dict[str, Any], pl.DataFrame]]


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """Prepares a cohort from the words of a command; what `cohort.json` holds, and the notes."""
    done = 0

    def run(*words: str) -> tuple[dict[str, Any], pl.DataFrame]:
        nonlocal done
        done += 1
        out = tmp_path / f"cohort-{done}"
        (cfg,) = compose(PrepareConfig, read_command_line([*words, f"data.out={out}"], "prepare"))
        _, record = build(cfg)
        return record, pl.read_parquet(out / "notes.parquet")

    return run
