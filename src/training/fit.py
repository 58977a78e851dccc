"""Fits runs by Lightning's Trainer over the steps that are left, to the best epoch's weights."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import ModelParallelStrategy, SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from src.cli.errors import UserError
from src.cli.signals import Stop
from src.config.choices import Head
from src.config.train import TrainConfig
from src.estimates.memory import Setting
from src.models.title_head import start_from_titles
from src.runs.folder import RunFolder
from src.training.callbacks import LogTraining, RunCheckpoints, ShowProgress
from src.training.cluster import cluster
from src.training.data_module import DrgDataModule
from src.training.learner import Learner, Stage
from src.training.module import DrgModule
from src.training.throughput import STEPS_BETWEEN_LOGS


def fit(learners: Sequence[Learner], setting: Setting, stop: Stop) -> None:
    """Trains runs over one base to their ends; each has the weights of its best validation accuracy then.

    An interrupted run goes on from its last checkpoint, with what that names: steps, a validation, or nothing more.

    Raises:
        Interrupted: a signal came; the runs are saved.
        UserError: memory runs out, and the message says what would fit; or a callback cannot work here.
    """
    first = learners[0]
    for learner in learners:
        if not learner.restore():
            begin(learner)
    if not all(learner.trained for learner in learners):
        module = DrgModule(learners, setting)
        module.train()  # loaded weights come in eval mode, without dropout
        callbacks = [LogTraining(), ShowProgress(), *first.callbacks, RunCheckpoints(learners, stop)]
        logger = first.recorder if len(learners) == 1 else None
        trainer = make_trainer(first.data.cfg, first.run_dir, first.data.device, callbacks, logger)
        go_on(trainer, learners)
        if first.ranks.count == 1:
            stop.check()  # a signal that came while the base was loaded; several processes agree on it later
        with warnings.catch_warnings():
            for message in UNFOUNDED:
                warnings.filterwarnings("ignore", message=message)
            try:
                trainer.fit(module, datamodule=DrgDataModule(module))
            except MisconfigurationException as error:
                if not first.callbacks:
                    raise
                raise UserError(f"callbacks: {error}") from None
        stop.check()
    for learner in learners:
        learner.take_best()


def begin(learner: Learner) -> None:
    """Gives a run that has taken no step the weights that `head` and `init_from` name, and tells what was moved."""
    cfg, warm_start = learner.data.cfg, learner.data.warm_start
    if cfg.head is Head.TITLES:
        start_from_titles(learner.classifier, learner.scheme, learner.data.tokenizer, cfg.prompt, cfg.max_len)
    if warm_start is None:
        return
    warm_start.begin(learner.classifier)
    if learner.ranks.first:
        table = RunFolder(learner.run_dir).head_rows
        warm_start.write(table)
        print("\n".join([*warm_start.lines(), f"rows of the head: {table}"]), file=sys.stderr, flush=True)


UNFOUNDED = (
    ".*across ranks is zero.*",
    ".*does not have many workers.*",
    ".*`training_step` returned `None`.*",
    ".*smaller than the logging interval.*",
    ".*your dataloader is not resumable.*",  # its sampler goes on from the run's step
    ".*It is recommended to use .*sync_dist=True.*",  # what is logged is the same in every process already
)
"""Lightning's warnings of what is meant here."""


def go_on(trainer: pl.Trainer, learners: Sequence[Learner]) -> None:
    """Sets Lightning's loops to where the runs stand, in the form of its own checkpoints.

    A lone run goes on in the middle of an epoch, with Lightning's counts of before; with several validations an epoch,
    each part of it is one of Lightning's. Where a validation is owed, the epoch's steps count as done and its
    validation as begun, and Lightning goes back to that first.
    """
    step = max(learner.progress.step for learner in learners)
    owed = any(learner.stage is Stage.VALIDATE for learner in learners)
    epoch, done = 0, int(owed)  # the Trainer's epochs of several runs begin anew with each start
    if len(learners) == 1:
        ended = [end for end in learners[0].steps.ends if end <= step - owed]
        epoch, done = len(ended), step - (ended[-1] if ended else 0)
    loop, left = trainer.fit_loop, {end for learner in learners for end in learner.steps_to_validations()}
    loop.max_epochs = epoch + len(left)
    begun = {"ready": epoch + bool(done), "started": epoch + bool(done), "processed": epoch, "completed": epoch}
    started = {"ready": int(owed), "started": int(owed), "processed": 0, "completed": 0}
    total, current = (dict.fromkeys(begun, count) for count in (step, done))
    steps = {"total": {"ready": step, "completed": step}, "current": {"ready": done, "completed": done}}
    loop.load_state_dict(
        {
            "epoch_progress": {"total": begun, "current": dict(begun)},
            "epoch_loop.state_dict": {"_batches_that_stepped": step - owed},
            "epoch_loop.batch_progress": {"total": total, "current": current, "is_last_batch": owed},
            "epoch_loop.manual_optimization.optim_step_progress": steps,
            "epoch_loop.val_loop.batch_progress": {
                "total": started,
                "current": dict(started),
                "is_last_batch": False,
            },
        }
    )
    loop.restarting = done > 0


def make_trainer(
    cfg: TrainConfig, run_dir: Path, device: str, callbacks: Sequence[pl.Callback], logger: Logger | None = None
) -> pl.Trainer:
    """Makes Lightning's trainer: devices, processes, nodes, epochs, validations, callbacks and the logger."""
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
        max_epochs=cfg.epochs,
        logger=logger or False,
        log_every_n_steps=STEPS_BETWEEN_LOGS,
        callbacks=list(callbacks),
        reload_dataloaders_every_n_epochs=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=run_dir,
        plugins=[cluster(cfg)],
    )
