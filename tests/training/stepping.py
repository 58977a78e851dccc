"""Takes steps of a run without Lightning: what a test of an optimiser or of a checkpoint needs."""

from pathlib import Path
from typing import Any

import torch

from src.cli.compose import compose, read_command_line
from src.config.train import TrainConfig
from src.models.classifier import read_together
from src.training.learner import Learner
from src.training.learners import open_learners
from src.training.run_data import open_data

SHORT = ["model=femto", "max_len=32", "data.limit=20", "epochs=2", "threads=1", "device=cpu", "wandb.mode=disabled"]


def configured(cohort: Path, *words: str) -> TrainConfig:
    """Returns the configuration of a short run."""
    (cfg,) = compose(TrainConfig, read_command_line([f"data.dir={cohort}", *SHORT, *words], "train"))
    return cfg


def opened(cohort: Path, run_dir: Path, *words: str) -> Learner:
    """Returns the learner of a short run, from its checkpoint where there is one."""
    nothing: Any = None
    ((learners, _),) = open_learners([open_data(configured(cohort, *words))], [run_dir], [nothing])
    learners[0].classifier.train()
    learners[0].restore()
    return learners[0]


def take(learner: Learner, steps: int) -> None:
    """Takes some steps."""
    for _ in range(steps):
        for inputs, batch, share in learner.micro_batches(learner.progress.step, 4):
            learner.loss(read_together([inputs])[0], batch, share).backward()
        learner.update(learner.optimiser, 4)


def state(learner: Learner) -> dict[str, torch.Tensor]:
    """Returns what decides the next step: weights and moments by name, and the optimiser's own counts."""
    moments = {
        f"{kind}/{name}": value for kind, by_name in learner._moments().items() for name, value in by_name.items()
    }
    counts = {f"step/{index}": learner.optimiser.state[leaf]["step"] for index, leaf in enumerate(learner.leaves)}
    return {name: value.detach().clone() for name, value in {**learner.weights, **moments, **counts}.items()}
