"""One fit: steps, validation after each epoch, the best epoch's weights at the end."""

import math
import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment

from src.cohort.split import Split
from src.config.train import TrainConfig
from src.models.classifier import Classifier
from src.training.batches import TokenisedNotes, ordered_batches, training_batches
from src.training.checkpoints import WholeCheckpoints, keep_best_and_last, last_checkpoint
from src.training.module import DrgModule
from src.training.progress import Lines
from src.training.session import Session


def count_steps(cfg: TrainConfig, notes: int) -> int:
    """Optimiser steps of a run over `notes` training notes."""
    every_epoch = cfg.epochs * math.ceil(notes / cfg.batch_size)
    return min(every_epoch, cfg.max_steps or every_epoch)


def fit(
    classifier: Classifier, session: Session, notes: dict[Split, TokenisedNotes], run_dir: Path, logger: Any
) -> DrgModule:
    """Trains, and returns the module with the weights of the best validation accuracy.

    An interrupted run in `run_dir` goes on from its last checkpoint.
    """
    cfg, train, validation = session.cfg, notes[Split.TRAIN], notes[Split.VALIDATION]
    steps = count_steps(cfg, len(train))
    module = DrgModule(classifier, session.scheme, cfg, steps)
    module.train()  # Lightning keeps the mode it finds, and loaded weights come in eval mode, without dropout
    best = keep_best_and_last(run_dir)
    batches = math.ceil(len(train) / cfg.batch_size)
    trainer = _trainer(cfg, run_dir, logger, session.device, [best, *_progress(cfg, steps)], min(batches, steps))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        trainer.fit(
            module,
            training_batches(train, cfg.batch_size, cfg.seed),
            ordered_batches(validation, cfg.batch_size),
            ckpt_path=last_checkpoint(run_dir),
            weights_only=True,
        )
    if trainer.interrupted:
        raise KeyboardInterrupt
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(state, strict=False)
    return module


def _progress(cfg: TrainConfig, steps: int) -> list[pl.Callback]:
    return [] if sys.stderr.isatty() else [Lines(f"{cfg.model.name} {cfg.labels}", steps)]


def _trainer(
    cfg: TrainConfig, run_dir: Path, logger: Any, device: str, callbacks: list[pl.Callback], batches: int
) -> pl.Trainer:
    kind, _, number = device.partition(":")
    return pl.Trainer(
        accelerator="gpu" if kind == "cuda" else "cpu",
        devices=[int(number)] if number else 1,
        max_epochs=cfg.epochs,
        max_steps=cfg.max_steps or -1,
        limit_train_batches=batches,  # an epoch that max_steps cuts short ends there, and is validated
        gradient_clip_val=cfg.clip,
        logger=logger or False,
        log_every_n_steps=min(10, batches),
        callbacks=callbacks,
        num_sanity_val_steps=0,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        default_root_dir=run_dir,
        # LightningEnvironment keeps Lightning's own Slurm requeue, and its hpc_ckpt files, out of the way.
        plugins=[WholeCheckpoints(), LightningEnvironment()],
    )
