"""How Lightning's trainer is made for the devices that users have."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from src.cli.compose import compose, read_command_line
from src.config.train import TrainConfig
from src.training.fit import make_trainer
from src.training.run_data import pick_device


@pytest.mark.filterwarnings("ignore:The `srun` command is available")
@pytest.mark.parametrize(
    ("words", "rank", "device"),
    [
        (["device=cuda"], "0", "cuda:0"),
        (["device=cuda:1"], "0", "cuda:1"),
        (["device=cuda", "devices=2"], "0", "cuda:0"),
        (["device=cuda", "devices=2"], "1", "cuda:1"),
        (["device=cuda", "devices=2", "shard=true"], "1", "cuda:1"),
    ],
)
def test_lightning_trains_where_the_session_lies(
    words: list[str], rank: str, device: str, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    # A Trainer sets it for its process; the loggers of later tests here would write nothing as rank 1.
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cfg = compose(TrainConfig, read_command_line([f"data.dir={cohort}", *words], "train"))[0]
    session_device = pick_device(cfg)
    trainer = make_trainer(cfg, tmp_path, session_device, [pl.callbacks.Checkpoint()])
    strategy: Any = trainer.strategy
    assert session_device == device
    assert strategy.root_device == torch.device(device)
    assert trainer.world_size == cfg.devices
