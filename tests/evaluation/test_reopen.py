import dataclasses
from pathlib import Path

import pytest

from src.cli.compose import compose, read_command_line
from src.cli.errors import UserError
from src.cohort.prepared import read_cohort
from src.config.train import TrainConfig
from src.evaluation.reopen import config_of
from src.runs.record import RunRecord, read_cohort_of


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:1"])
def test_a_run_of_several_devices_is_taken_up_by_one(device: str, cohort: Path) -> None:
    words = [f"data.dir={cohort}", "device=cuda", "devices=2", "nodes=2", "shard=true"]
    trained = compose(TrainConfig, read_command_line(words, "train"))[0]
    record = RunRecord(config=dataclasses.asdict(trained), axes={}, cohort=read_cohort(cohort).fingerprint, metrics={})
    taken_up = config_of(record, device, None, Path("run"))
    assert (taken_up.device, taken_up.devices, taken_up.nodes, taken_up.shard) == (device, 1, 1, False)
    changed = {"device": device, "devices": 1, "nodes": 1, "shard": False}
    assert taken_up == dataclasses.replace(trained, **changed)  # type: ignore[arg-type]
    assert record.config["devices"] == 2


def test_a_cohort_is_found_as_seen_from_its_run(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home" / "runs" / "r").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home" / "coh").symlink_to(cohort)
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = Path("../home/runs/r")
    record = RunRecord(config={"data": {"dir": "coh"}}, axes={}, cohort=read_cohort(cohort).fingerprint, metrics={})
    assert read_cohort_of(record, run).folder.samefile(cohort)
    with pytest.raises(UserError, match=r"coh: not the cohort that \.\./home/runs/r was trained on; write data_dir="):
        read_cohort_of(dataclasses.replace(record, cohort="another"), run)
    (tmp_path / "home" / "coh").unlink()
    with pytest.raises(UserError, match=r"^\.\./home/runs/r: its cohort was at coh and is not there; write data_dir="):
        read_cohort_of(record, run)


def test_a_folder_that_is_no_cohort_is_named_as_it_was_typed(tmp_path: Path) -> None:
    record = RunRecord(config={"data": {"dir": "coh"}}, axes={}, cohort="c", metrics={})
    with pytest.raises(UserError, match=r"^data_dir=.*: holds no cohort.json; it is the folder that src.prepare wrote"):
        read_cohort_of(record, tmp_path, tmp_path)
