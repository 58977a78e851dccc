"""A run that is no longer finite ends at the true step, says what to change, and leaves no checkpoint of it."""

import dataclasses
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from src.baselines.loop import Encoded, tune
from src.cli.errors import UserError
from src.config.choices import Precision
from src.models.labelspace import LabelSpace
from src.models.schemes import SingleLabel
from src.training.checkpoints import read_checkpoint
from src.training.divergence import Diverged, DivergenceWatch, check_scores
from src.training.learner import Stage
from src.training.throughput import STEPS_BETWEEN_LOGS
from tests.training.stepping import SHORT, configured, opened, take

Run = Callable[..., "subprocess.CompletedProcess[str]"]
GOOD, BAD = torch.tensor(1.0), torch.tensor(float("nan"))


def test_a_gpu_is_asked_now_and_then_and_the_step_is_the_true_one(cohort: Path) -> None:
    watch = DivergenceWatch("run", configured(cohort), Precision.BF16, "meta")
    for step in range(1, 1 + STEPS_BETWEEN_LOGS):
        watch.add(step, 0.1 / step, GOOD, BAD if step >= 4 else GOOD)
    with pytest.raises(Diverged, match=r"run: diverged, the gradient norm is nan at step 4, lr=0\.025;"):
        watch.add(1 + STEPS_BETWEEN_LOGS, 0.01, GOOD, GOOD)


def test_what_was_not_read_yet_is_read_when_asked(cohort: Path) -> None:
    watch = DivergenceWatch("run", configured(cohort), Precision.BF16, "meta")
    watch.add(1, 0.1, BAD, BAD)
    with pytest.raises(Diverged, match="the loss is nan and the gradient norm is nan at step 1"):
        watch.read()
    watch.read()


def test_a_loss_that_is_finite_stays_untold_and_a_changed_precision_is_advised_where_it_helps(cohort: Path) -> None:
    cfg = configured(cohort, "lr=0.02", "clip=1")
    with pytest.raises(Diverged) as told:
        DivergenceWatch("run", cfg, Precision.INT8, "cpu").add(3, 0.02, torch.tensor(2.75), torch.tensor(float("inf")))
    assert str(told.value) == (
        "run: diverged, the gradient norm is inf at step 3, lr=0.02; nothing that is not finite was saved. Train it "
        "with lr=0.002 or warmup=0.1 or clip=0.1, or in more exact numbers with precision=bf16 or fp32: started again "
        "as it is, it goes on from its last checkpoint and diverges again"
    )


def test_no_checkpoint_and_no_best_weights_hold_what_is_not_finite(cohort: Path, tmp_path: Path) -> None:
    learner = opened(cohort, tmp_path)
    take(learner, 1)
    learner.save()
    with torch.no_grad():
        learner.classifier.head.weight[0, 0] = float("inf")
    with pytest.raises(Diverged, match="weights are not finite after step 1"):
        learner.save()
    with pytest.raises(Diverged, match="the validation after step 1 has a loss of nan"):
        learner.validated(0.9, float("nan"))
    assert learner.best_weights == {}
    with pytest.raises(Diverged, match="the gradient norm is nan at step 2"):
        take(learner, 1)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint is not None
    assert all(bool(value.isfinite().all()) for value in checkpoint[0].values())
    assert checkpoint[1]["progress"]["step"] == 1


def test_of_runs_over_one_base_each_ends_alone_by_patience_or_as_diverged(
    cohort: Path, tmp_path: Path, command: Run
) -> None:
    grid = [f"data.dir={cohort}", f"out={tmp_path}", *SHORT, "epochs=4", "patience=1", "lr=1e6,1e-9,0.001"]
    done = command("src.train", "-m", *grid, "together=yes", ok=False)
    assert done.returncode == 2
    (name,) = re.findall(r"(\S+): diverged, ", done.stderr)
    assert "Traceback" not in done.stderr
    assert "1 validations without a better one; training ends at step 10 of 20" in done.stdout
    finished = [str(path.parent) for path in tmp_path.glob("*/result.json")]
    assert len(finished) == 2
    assert name not in finished


def test_scores_that_are_not_finite_are_refused_with_split_row_and_precision() -> None:
    scores = np.zeros((5, 3), dtype=np.float32)
    check_scores({"scores": scores}, "scores test", Precision.INT8)
    scores[3, 1] = np.nan
    scores[4, 2] = -np.inf
    with pytest.raises(UserError, match=r"scores test: 2 of 5 notes .* precision=int8, the first is note 3, counted"):
        check_scores({"severity": np.zeros((5, 2), dtype=np.float32), "scores": scores}, "scores test", Precision.INT8)


def test_a_baseline_that_diverges_says_so_at_its_step(cohort: Path) -> None:
    class Exploding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.passes = nn.Parameter(torch.ones(2)), 0

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            self.passes += 1
            return self.weight.expand(len(ids), 2) * (float("inf") if self.passes == 2 else 1.0)

    notes, nothing = Encoded([[1, 2]] * 4, np.array([0, 1, 0, 1])), Silent()
    cfg = dataclasses.replace(configured(cohort, "lr=0.01"), batch_size=1)
    scheme = SingleLabel(LabelSpace.from_labels(cohort_labels()))
    with pytest.raises(Diverged, match=r"femto single: diverged, the loss is nan .* at step 2, lr=0\.00"):
        tune(Exploding(), (), scheme, (notes, notes), cfg, "cpu", nothing)


class Silent:
    """Logs nothing."""

    def log_metrics(self, values: Any, step: int) -> None:
        """Takes a row."""


def cohort_labels() -> list[Any]:
    from src.cohort.msdrg import load_drgs

    return list(load_drgs().values())[:2]


def test_patience_ends_training_and_its_count_survives_a_kill(cohort: Path, tmp_path: Path) -> None:
    words = ("patience=2", "epochs=9")
    learner = opened(cohort, tmp_path, *words)
    for accuracy in (0.5, 0.4):
        take(learner, learner.steps_to_validations()[0])
        learner.validated(accuracy, 1.0)
    assert learner.stage is Stage.TRAIN
    learner.save()
    resumed = opened(cohort, tmp_path, *words)
    assert resumed.progress.since_best == 1
    take(resumed, resumed.steps_to_validations()[0])
    resumed.validated(0.5, 1.0)
    assert resumed.trained
    assert (resumed.progress.best, resumed.progress.best_step) == (0.5, resumed.steps.per_epoch)


def test_a_better_validation_begins_the_patience_anew(cohort: Path, tmp_path: Path) -> None:
    learner = opened(cohort, tmp_path, "patience=2", "epochs=9")
    for accuracy in (0.1, 0.05, 0.2, 0.1):
        take(learner, learner.steps_to_validations()[0])
        learner.validated(accuracy, 1.0)
    assert not learner.trained
    assert learner.progress.since_best == 1


def test_a_checkpoint_without_the_new_choices_is_that_of_before(cohort: Path, tmp_path: Path) -> None:
    learner = opened(cohort, tmp_path)
    take(learner, learner.steps_to_validations()[0])
    learner.validated(0.1, 1.0)
    learner.progress.since_best = 3
    learner.save()
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint is not None
    assert "scaler" not in checkpoint[1]
    assert not {"since_best", "skipped"} & checkpoint[1]["progress"].keys()
