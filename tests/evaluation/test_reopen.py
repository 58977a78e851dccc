import dataclasses
from pathlib import Path

import pytest

from src.config.train import TrainConfig
from src.evaluation.reopen import config_of
from src.shell.overrides import compose, read_command_line


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:1"])
def test_a_run_of_several_devices_is_taken_up_by_one(device: str, cohort: Path) -> None:
    words = [f"data.dir={cohort}", "device=cuda", "devices=2", "nodes=2", "shard=true"]
    trained = compose(TrainConfig, read_command_line(words, "train"))[0]
    record = {"config": dataclasses.asdict(trained)}
    taken_up = config_of(record, device, None)
    assert (taken_up.device, taken_up.devices, taken_up.nodes, taken_up.shard) == (device, 1, 1, False)
    changed = {"device": device, "devices": 1, "nodes": 1, "shard": False}
    assert taken_up == dataclasses.replace(trained, **changed)  # type: ignore[arg-type]
    assert record["config"]["devices"] == 2
