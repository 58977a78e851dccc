"""One fit: steps, validation after each epoch, checkpoints, the best epoch's weights at the end."""

import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ModelParallelStrategy, SingleDeviceStrategy

from src.cli.errors import Interrupted
from src.cli.progress import Clock, measured
from src.cli.signals import Stop
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.estimates.memory import Setting
from src.training.cluster import cluster
from src.training.learner import Learner, Stage
from src.training.memory import probe_longest_step
from src.training.module import DrgModule


def fit(learners: Sequence[Learner], setting: Setting, stop: Stop) -> None:
    """Trains cells over one base to their ends; each has the weights of its best validation accuracy then.

    An interrupted run goes on from its last checkpoint, with what that names: steps, a validation, or nothing more.

    Raises:
        Interrupted: a signal came; the runs are saved.
        UserError: memory runs out; the message says what would fit.
    """
    first = learners[0]
    for learner in learners:
        learner.restore()
    if all(learner.trained for learner in learners):
        for learner in learners:
            learner.take_best()
        return
    module = DrgModule(learners, setting, stop)
    module.train()  # loaded weights come in eval mode, without dropout
    loop = Loop(module)
    trainer = make_trainer(first.session.cfg, first.run_dir, first.session.device, loop)
    if first.ranks.count == 1:
        stop.check()  # a signal that came while the base was loaded; several processes agree on it below
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*across ranks is zero.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*`training_step` returned `None`.*")
        trainer.fit(module, loop)
    stop.check()
    for learner in learners:
        learner.take_best()


class Loop(pl.Callback):
    """What Lightning goes through: the steps that are left, with validations and checkpoints between them."""

    def __init__(self, module: DrgModule) -> None:
        self.module, self.learners, self.stop = module, module.learners, module.stop
        cfg = self.learners[0].session.cfg
        self.seconds_between = 60 * cfg.checkpoint_minutes
        self.saved = time.monotonic()
        left = [len(learner.steps) - learner.progress.step for learner in self.learners]
        self.left = max(left)
        name = f"{cfg.model.name} {cfg.labels}" if len(left) == 1 else f"{cfg.model.name}, {len(left)} runs"
        self.clock = Clock(total=self.left, what=name, unit="step")

    def __len__(self) -> int:
        return self.left

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes up what is owed before any step; where none is left, Lightning does not come to `on_train_start`."""
        for learner in self.learners:
            learner.ranks = type(learner.ranks).here()
        self.clock.quiet = not self.learners[0].ranks.first
        if not self._asked():
            probe_longest_step(self.module)
            self._validate_those_due()
        if self._asked():
            raise Interrupted(self.stop.asked or 0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop.listen()  # Lightning has set handlers of its own

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.clock.step(lambda: f"loss {self.learners[0].last_loss:.3f}")
        self._validate_those_due()
        if self._asked() or self.seconds_between <= time.monotonic() - self.saved:
            self._save(self.learners)
        if self._asked():
            trainer.should_stop = True

    def _asked(self) -> bool:
        """Whether any process was asked to stop: all of them save at the same step then."""
        ranks = self.learners[0].ranks
        if ranks.count == 1:
            return self.stop.asked is not None
        asked = [number for number in ranks.gathered(self.stop.asked) if number is not None]
        self.stop.asked = asked[0] if asked else None
        return bool(asked)

    def _validate_those_due(self) -> None:
        due = [learner for learner in self.learners if learner.stage is Stage.VALIDATE]
        if due and not self._asked():
            self._save(due)  # validation may take longer than a grace period
            for learner in due:
                self.module.validate(learner)
                epoch, notes = learner.steps.epoch(learner.progress.step), len(learner.notes[Split.VALIDATION])
                measured(learner.accuracy, notes)
                if not self.clock.quiet:
                    run = learner.run_dir.name
                    print(f"{run}: epoch {epoch}, validation accuracy {learner.accuracy:.3f}", flush=True)
            self._save(due)

    def _save(self, learners: Sequence[Learner]) -> None:
        for learner in learners:
            learner.save()
        self.saved = time.monotonic()


def make_trainer(cfg: TrainConfig, run_dir: Path, device: str, loop: Loop) -> pl.Trainer:
    """Lightning's trainer: devices, processes and nodes; steps, checkpoints and progress are the loop's."""
    strategy: Any = "ddp"
    if cfg.devices * cfg.nodes == 1:
        strategy = SingleDeviceStrategy(device=device)
    elif cfg.shard:
        strategy = ModelParallelStrategy(data_parallel_size=cfg.devices * cfg.nodes, tensor_parallel_size=1)
    return pl.Trainer(
        accelerator=torch.device(device).type,
        devices=cfg.devices,
        num_nodes=cfg.nodes,
        strategy=strategy,
        max_epochs=1,
        logger=False,
        callbacks=[loop],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=run_dir,
        plugins=[cluster(cfg)],
    )
