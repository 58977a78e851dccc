"""Callbacks of a configuration: Lightning's own and a user's, what is refused, and how they resume."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from src.cli.compose import compose, read_command_line
from src.cli.errors import UserError
from src.config.train import TrainConfig
from src.runs.history import read_history
from src.runs.identity import identity
from src.training.callback_states import callback_states, load_states
from src.training.checkpoints import read_checkpoint
from src.training.user_callbacks import load_callbacks
from tests.forked import Forks

ROOT = Path(__file__).parents[2]
STOP = "class:pytorch_lightning.callbacks.EarlyStopping,monitor:val/accuracy,patience:1,mode:max,min_delta:0.9"
"""Nothing improves by so much: the second epoch is the last."""

OWN = '''
import os, signal
import pytorch_lightning as pl

class Watcher(pl.Callback):
    """Writes the hooks down, and may end the process in one of them or stop the Trainer after some steps."""

    def __init__(self, path, kill="", steps=0):
        self.path, self.kill, self.steps, self.seen = path, kill, steps, 0

    def note(self, hook, trainer):
        with open(self.path, "a") as file:
            print(hook, trainer.current_epoch, trainer.global_step, self.seen, file=file)
        if hook == self.kill and not os.path.exists(self.path + ".killed"):
            open(self.path + ".killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_epoch_start(self, trainer, pl_module):
        self.note("epoch_start", trainer)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen += 1
        assert sum(len(part.notes) for part in batch) > 0
        if trainer.global_step == self.steps:
            trainer.should_stop = True
        if trainer.global_step == 13:
            self.note("batch_13", trainer)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.note("validating", trainer)

    def on_train_epoch_end(self, trainer, pl_module):
        self.note("epoch_end", trainer)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state_dict):
        self.seen = state_dict["seen"]
'''


def words(cohort: Path, out: Path, callbacks: str) -> list[str]:
    fast = ["model=femto", "max_len=32", "data.limit=40", "epochs=4", "threads=1", "device=cpu"]
    run = [f"data.dir={cohort}", f"out={out}", "name=run", "wandb.mode=disabled", "checkpoint_minutes=0"]
    return [*fast, *run, f"callbacks=[{callbacks}]"]


def trained(forks: Forks, cohort: Path, out: Path, callbacks: str) -> int:
    """Trains with the test's folder as the one that modules are found in, as a user's current folder is."""
    (out / "mine.py").write_text(OWN)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{out}"}
    done = forks.run(["src.train", *words(cohort, out, callbacks)], cwd=out, env=environment)
    assert done.returncode in (0, -9), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode


def record(out: Path) -> Any:
    return json.loads((out / "run" / "result.json").read_text())


def test_early_stopping_ends_a_run_which_is_scored_and_recorded_and_a_rate_monitor_logs(
    forks: Forks, cohort: Path, tmp_path: Path
) -> None:
    rates = "class:pytorch_lightning.callbacks.LearningRateMonitor"
    assert trained(forks, cohort, tmp_path, f"{{{STOP}}},{{{rates}}}") == 0
    counts, curves = record(tmp_path)["counts"], read_history(tmp_path / "run")
    assert counts["steps"] == 20, "two of four epochs of ten steps"
    assert list(curves["val/accuracy"]) == [10, 20]
    best = max(curves["val/accuracy"], key=lambda step: curves["val/accuracy"][step])
    assert counts["best_step"] == best
    assert record(tmp_path)["config"]["callbacks"][0]["monitor"] == "val/accuracy"
    assert "test/accuracy" in record(tmp_path)["metrics"]
    # The rate that a step is taken with is logged before it, at the number of steps done.
    assert curves["lr-AdamW"][9] == curves["train/lr"][10]
    checkpoint = read_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert checkpoint[1]["stopped"]


@pytest.mark.slow
@pytest.mark.parametrize("kill", ["validating", "epoch_end", "batch_13"])
def test_a_run_that_is_killed_goes_on_with_the_state_of_its_callbacks(
    forks: Forks, cohort: Path, tmp_path: Path, kill: str
) -> None:
    (tmp_path / "calm").mkdir()
    (tmp_path / "struck").mkdir()
    watch = "{{class:mine.Watcher,path:{}/log{}}}"
    assert trained(forks, cohort, tmp_path / "calm", f"{{{STOP}}},{watch.format(tmp_path / 'calm', '')}") == 0
    struck = f"{{{STOP}}},{watch.format(tmp_path / 'struck', f',kill:{kill}')}"
    assert trained(forks, cohort, tmp_path / "struck", struck) == -9
    assert trained(forks, cohort, tmp_path / "struck", struck) == 0
    records = [record(tmp_path / name) for name in ("calm", "struck")]
    assert records[0]["counts"] == records[1]["counts"]
    assert records[0]["metrics"] == records[1]["metrics"]
    ends = [[line for line in (tmp_path / name / "log").read_text().splitlines() if "end" in line] for name in
            ("calm", "struck")]  # fmt: skip
    assert ends[0] == ["epoch_end 0 10 10", "epoch_end 1 20 20"]
    assert sorted(set(ends[1])) == ends[0]
    assert trained(forks, cohort, tmp_path / "struck", struck) == 0, "finished, and left as it is"


@pytest.mark.slow
def test_a_callback_that_stops_in_mid_epoch_is_validated_there_and_stays_stopped(
    forks: Forks, cohort: Path, tmp_path: Path
) -> None:
    watch = f"{{class:mine.Watcher,path:{tmp_path}/log,steps:13,kill:validating}}"
    assert trained(forks, cohort, tmp_path, watch) == -9
    assert {file.suffix for file in (tmp_path / "run" / "checkpoints").iterdir()} == {".safetensors"}
    (tmp_path / "log.killed").unlink()
    assert trained(forks, cohort, tmp_path, watch) == -9, "in the first validation, at step 10, once more"
    assert trained(forks, cohort, tmp_path, watch) == 0
    assert record(tmp_path)["counts"]["steps"] == 13
    assert list(read_history(tmp_path / "run")["val/accuracy"]) == [10, 13]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"class": "nowhere.Nothing"}, "class=nowhere.Nothing: cannot be imported"),
        ({"class": "pytorch_lightning.callbacks.Early"}, "class=pytorch_lightning.callbacks.Early: cannot be imported"),
        ({"class": "EarlyStopping"}, "write MODULE.CLASS"),
        ({"class": "pathlib.Path"}, "class=pathlib.Path: is no pytorch_lightning.Callback"),
        ({"class": "pytorch_lightning.callbacks.ModelCheckpoint"}, "a run writes its own checkpoints"),
        ({"class": "pytorch_lightning.callbacks.EarlyStopping"}, "missing 1 required positional argument: 'monitor'"),
        ({"class": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "val/loss", "mode": "up"}, "`mode` can be"),
        ({"class": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "val_loss"}, "monitor=val_loss: must be"),
    ],
)
def test_a_callback_that_cannot_be_made_is_refused(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=r"^callbacks: class=") as refusal:
        load_callbacks([entry])
    assert words in str(refusal.value)


def test_two_callbacks_with_one_state_are_refused() -> None:
    entry = {"class": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "val/loss"}
    with pytest.raises(UserError, match="is there twice"):
        load_callbacks([entry, entry])
    assert len(load_callbacks([entry, {**entry, "monitor": "val/accuracy"}])) == 2


def test_states_of_callbacks_survive_a_checkpoint_as_they_were() -> None:
    stop = pl.callbacks.EarlyStopping(monitor="val/loss")
    stop.best_score, stop.wait_count = torch.tensor(0.1, dtype=torch.float64), 2
    states, tensors = callback_states([stop])
    fresh = pl.callbacks.EarlyStopping(monitor="val/loss")
    load_states([fresh], json.loads(json.dumps(states, allow_nan=False)), tensors)
    assert fresh.state_dict() == stop.state_dict()


class Kept(pl.Callback):
    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["state"]


def test_a_state_that_is_neither_json_nor_a_tensor_is_refused() -> None:
    kept = Kept([1, {"a": math.inf, "b": None}, "text"])
    states, tensors = callback_states([kept])
    fresh = Kept(None)
    load_states([fresh], json.loads(json.dumps(states, allow_nan=False)), tensors)
    assert fresh.state == kept.state
    with pytest.raises(UserError, match="callbacks/Kept/state: a callback's state holds a PosixPath"):
        callback_states([Kept(Path("a"))])


def configured(cohort: Path, *extra: str) -> TrainConfig:
    return compose(TrainConfig, read_command_line([f"data.dir={cohort}", *extra], "train"))[0]


def test_callbacks_are_part_of_the_identity_only_where_there_are_any(cohort: Path) -> None:
    plain, empty, stopping = (
        configured(cohort, *extra) for extra in ([], ["callbacks=[]"], [f"callbacks=[{{{STOP}}}]"])
    )
    assert identity(plain, "a") == identity(empty, "a") != identity(stopping, "a")
    assert stopping.callbacks[0]["patience"] == 1


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["callbacks=[{monitor:val/loss}]"], "callbacks={'monitor': 'val/loss'}: has no class; write"),
        (["model=tfidf", f"callbacks=[{{{STOP}}}]"], "callbacks: model=tfidf is not trained by Lightning"),
        (["together=yes", f"callbacks=[{{{STOP}}}]"], "together=yes: callbacks see one run; write together=auto"),
        (["callbacks=3"], "callbacks=3: must be a list of mappings"),
    ],
)
def test_callbacks_that_a_configuration_rules_out_are_refused(cohort: Path, extra: list[str], words: str) -> None:
    with pytest.raises(UserError) as refusal:
        configured(cohort, *extra)
    assert words in str(refusal.value)
