import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from src.tracking.guard import LeakError, guarded
from src.tracking.policy import logged_in, settings


def recorded(run_dir: Path) -> bytes:
    files = list((run_dir / "wandb").rglob("*.wandb"))
    assert len(files) == 1
    return b"".join(path.read_bytes() for path in (run_dir / "wandb").rglob("*") if path.is_file())


def test_a_run_without_login_is_recorded_offline(runs: dict[str, Path]) -> None:
    for run in runs.values():
        assert list((run / "wandb").glob("offline-run-*"))


def test_no_words_of_a_note_and_nothing_of_the_machine_is_recorded(runs: dict[str, Path], cohort: Path) -> None:
    import getpass
    import platform

    notes = pl.read_parquet(cohort / "notes.parquet")
    for run in runs.values():
        held = recorded(run)
        for text in notes["text"]:
            words = text.split()
            for start in range(0, len(words) - 5, 25):
                assert " ".join(words[start : start + 5]).encode() not in held
        node = re.escape(platform.node().encode())  # as a word: a name of two letters is part of many a random id
        assert not re.search(rb"(?<![A-Za-z0-9])" + node + rb"(?![A-Za-z0-9])", held)
        assert str(cohort).encode() not in held
        assert getpass.getuser() == "root" or getpass.getuser().encode() not in held


def test_metrics_and_axes_are_recorded(runs: dict[str, Path]) -> None:
    record = json.loads((runs["two"] / "result.json").read_text())
    held = recorded(runs["two"])
    for key in [*record["metrics"], *record["axes"], "train/loss"]:
        assert key.encode() in held, key


def test_the_policy_names_only_settings_that_exist() -> None:
    import wandb

    assert wandb.Settings(**settings()).x_disable_meta is True


@pytest.mark.parametrize("values", [{"text": "Patient was admitted"}, {"a b": 1}, {"table": [1, 2]}, {"x": b"abc"}])
def test_whatever_is_not_a_number_or_a_short_name_is_stopped(values: dict[str, object]) -> None:
    with pytest.raises(LeakError) as told:
        guarded(values)
    assert "Patient" not in str(told.value)


def test_login_is_seen_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert not logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert logged_in()


@pytest.mark.slow
def test_an_unreachable_server_makes_the_run_an_offline_one(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom src.config.train import WandbConfig, WandbMode\n"
        "from src.tracking.logger import recording\n"
        "cfg = WandbConfig(WandbMode.ONLINE, 'drg-llama', None)\n"
        f"with recording(cfg, Path({str(tmp_path / 'run')!r}), {{'seed': 1}}) as log:\n"
        "    log.log_metrics({'test/accuracy': 0.5}, step=1)\n"
    )
    import os

    env = {**os.environ, "WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_INIT_TIMEOUT": "5"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "recording offline" in done.stderr
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))
