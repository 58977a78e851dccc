import dataclasses
import os
from pathlib import Path

import pytest
import torch

from src.config.train import TrainConfig
from src.shell.overrides import compose, read_command_line, to_schema
from src.training.session import keep_order, open_session


def test_deterministic_operators_are_a_choice_of_the_run(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    free, held = (
        compose(TrainConfig, read_command_line([f"data.dir={cohort}", "device=cpu", word], "train"))[0]
        for word in ("deterministic=false", "deterministic=true")
    )
    try:
        open_session(held)
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        open_session(free)
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        keep_order(free)


def test_a_record_of_before_the_key_opens_again(cohort: Path) -> None:
    cfg = compose(TrainConfig, read_command_line([f"data.dir={cohort}"], "train"))[0]
    before = {name: value for name, value in dataclasses.asdict(cfg).items() if name != "deterministic"}
    assert to_schema(TrainConfig, before) == cfg
