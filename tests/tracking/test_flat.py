import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from src.runs.record import RunRecord
from src.tracking.flat import flat, flat_config, is_finished, record_of

PARTS = ("axes", "cohort", "code", "counts", "metrics", "intervals", "tokens_seen", "seconds")


def back(values: dict[str, Any]) -> dict[str, Any]:
    record = RunRecord.of(values)
    config = flat_config(record.axes, record.cohort, record.code)
    sent = {**flat(record), "train/loss": 0.5, "val/loss": 0.25, "trainer/global_step": 9, "_step": 3, "_runtime": 1.5}
    held = record_of({**json.loads(json.dumps(config)), "_wandb": {"t": 1}}, json.loads(json.dumps(sent)))
    return {name: getattr(held, name) for name in PARTS}


@pytest.mark.parametrize("scheme", ["single", "two", "joint"])
def test_a_run_s_record_comes_back_from_what_w_and_b_holds(runs: dict[str, Path], scheme: str) -> None:
    record = json.loads((runs[scheme] / "result.json").read_text())
    record["metrics"] = {name: value for name, value in record["metrics"].items() if value is not None}
    assert back(record) == {name: record[name] for name in PARTS}


def test_any_record_comes_back() -> None:
    dice = random.Random(0)
    for _ in range(200):
        names = [f"{dice.choice(['val', 'test'])}/{head}{name}" for head in ("", "base_", "rule_") for name in "abc"]
        names = dice.sample(names, dice.randint(0, len(names)))
        record: dict[str, Any] = {
            "axes": {"model": "nano", "lr": dice.random() * 1e-4, "seed": dice.randint(0, 9), "labels": "two"},
            "cohort": f"{dice.getrandbits(64):x}",
            "code": {"commit": dice.choice([None, "0123456789ab"]), "source": f"{dice.getrandbits(48):012x}"},
            "counts": {name: dice.randint(0, 10**12) for name in ("train", "test_drgs")},
            "metrics": {name: dice.choice([dice.random(), 0.0, 1.0, 5e-324]) for name in names},
            "intervals": {name: [dice.random(), dice.random()] for name in names if name.startswith("test")},
            "tokens_seen": dice.randint(0, 10**15),
            "seconds": {"starting": dice.random(), "total": 3.0},
        }
        assert back(record) == record


def test_metrics_that_are_not_defined_are_not_sent() -> None:
    record = RunRecord(axes={}, cohort="3f2a", metrics={"test/a": None, "test/b": math.nan})
    assert flat(record) == {"tokens_seen": 0}


def test_a_run_that_goes_on_is_told_from_a_finished_one() -> None:
    assert not is_finished({"val/accuracy": 0.5, "train/loss": 1.0})
    assert record_of({"model": "nano"}, {"val/accuracy": 0.5}).metrics == {"val/accuracy": 0.5}
    assert is_finished({"tokens_seen": 0})
