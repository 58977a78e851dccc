import dataclasses
from pathlib import Path

import pytest

from src.cli.compose import compose, read_command_line
from src.config.train import TrainConfig
from src.runs.identity import SAMPLE, differences, identity, readable_name


def config(cohort: Path, *words: str) -> TrainConfig:
    return compose(TrainConfig, read_command_line([f"data.dir={cohort}", *words], "train"))[0]


def test_the_readable_name_shows_the_axes(cohort: Path) -> None:
    assert readable_name(config(cohort, "labels=two", "max_len=128", "seed=3")) == "nano-len128-r8-two-s3"


@pytest.mark.parametrize("word", ["lr=0.01", "seed=1", "prompt=none", "lora.alpha=32", "data.limit=5", "epochs=9"])
def test_what_changes_the_result_changes_the_identity(word: str, cohort: Path) -> None:
    assert identity(config(cohort, word), "x") != identity(config(cohort), "x")


@pytest.mark.parametrize(
    "word", ["out=elsewhere", "wandb.mode=disabled", "threads=2", "device=cpu", "deterministic=true"]
)
def test_where_a_run_happens_does_not_change_the_identity(word: str, cohort: Path) -> None:
    assert identity(config(cohort, word), "x") == identity(config(cohort), "x")


def test_another_cohort_changes_the_identity(cohort: Path) -> None:
    cfg = config(cohort)
    assert identity(cfg, "x") != identity(dataclasses.replace(cfg), "y")


def test_a_run_that_took_the_first_notes_is_another_than_one_that_takes_a_sample(cohort: Path) -> None:
    cfg = config(cohort, "data.limit=5")
    former = {"config": dataclasses.asdict(cfg), "cohort": "x"}
    assert differences(cfg, "x", former) == ["the notes of data.limit (by class, there the first)"]
    assert differences(cfg, "x", {**former, "sample": SAMPLE}) == []
    whole = config(cohort)
    assert differences(whole, "x", {"config": dataclasses.asdict(whole), "cohort": "x"}) == []
