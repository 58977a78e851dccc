"""Opens runs over one copy of the frozen base, to be trained in one pass or in turn."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from src.cohort.split import Split
from src.config.choices import Together
from src.config.train import TrainConfig
from src.estimates.memory import Setting
from src.models.classifier import Classifier, read_together, with_adapters
from src.models.devices import wait
from src.training.batches import steps_of
from src.training.learner import Learner
from src.training.memory import check_fits, plan
from src.training.ranks import ALONE, Ranks
from src.training.run_data import RunData
from src.training.user_callbacks import load_callbacks

PAYS = 1.03
"""How much faster one pass must be than turns to be taken."""


def open_learners(
    run_data: Sequence[RunData], run_dirs: Sequence[Path], recorders: Sequence[Any]
) -> Iterator[tuple[list[Learner], Setting]]:
    """Loads the base and yields the runs to train at once, with how their steps are taken.

    Each run logs to its `recorder`. Runs with callbacks are trained in turn: a callback expects a Trainer of its run.

    Raises:
        UserError: the smallest step does not fit into memory, or a callback cannot be made.
    """
    callbacks = [load_callbacks(data.cfg.callbacks) for data in run_data]
    notes = [{split: data.tokenised(split) for split in Split} for data in run_data]
    steps = [steps_of(data.cfg, splits[Split.TRAIN]) for data, splits in zip(run_data, notes, strict=True)]
    plans = [plan([data], [own_steps]) for data, own_steps in zip(run_data, steps, strict=True)]
    for data, own_steps, planned in zip(run_data, steps, plans, strict=True):
        check_fits(planned, data, own_steps)
    shared = plan(run_data, steps)
    learners = []
    base: Any = run_data[0].base()
    for index, (data, *rest) in enumerate(zip(run_data, notes, run_dirs, recorders, callbacks, strict=True)):
        classifier = _classifier(data, base, index)
        base = classifier.backbone
        split_notes, run_dir, recorder, own = rest
        learners.append(Learner(data, classifier, split_notes, run_dir, recorder, _ranks(data.cfg), own))
    if len(learners) == 1:
        yield learners, plans[0].setting
    elif _in_one_pass(learners, shared.setting, shared.fits):
        yield learners, shared.setting
    else:
        yield from (([learner], planned.setting) for learner, planned in zip(learners, plans, strict=True))


def _classifier(data: RunData, base: torch.nn.Module, index: int) -> Classifier:
    """Makes fresh adapters and a head, which depend on the run's seed alone."""
    torch.manual_seed(data.cfg.seed)
    return with_adapters(base, data.cfg.lora, data.scheme.width, data.device, f"cell{index}", data.cfg.pooling)


def _ranks(cfg: TrainConfig) -> Ranks:
    """This process among those that Lightning starts; they find each other when training begins."""
    if cfg.devices * cfg.nodes == 1:
        return ALONE
    from pytorch_lightning.utilities import rank_zero_only

    return Ranks(int(getattr(rank_zero_only, "rank", 0) or 0), 1)


def _in_one_pass(learners: Sequence[Learner], setting: Setting, fits: bool) -> bool:
    together = {learner.data.cfg.together for learner in learners}
    if any(learner.callbacks for learner in learners):
        print("one base: in turn, as callbacks see one run", file=sys.stderr)
        return False
    if Together.YES in together:
        return True
    if not fits:
        print("one base: in turn, as one pass does not fit into memory", file=sys.stderr)
        return False
    turns, once = measure_sharing(learners, setting)
    pays = turns > PAYS * once
    print(
        f"one base: {'in one pass' if pays else 'in turn'}; a pass takes {once / turns:.2f} of the turns",
        file=sys.stderr,
    )
    return pays


def measure_sharing(learners: Sequence[Learner], setting: Setting, rounds: int = 3) -> tuple[float, float]:
    """Seconds of a first step of every cell, in turn and in one pass; medians, and nothing changes."""
    turns, once = [], []
    for learner in learners:
        learner.classifier.train()
    for _ in range(rounds + 1):
        turns.append(_seconds([[learner] for learner in learners], setting))
        once.append(_seconds([list(learners)], setting))
    return median(turns[1:]), median(once[1:])


def _seconds(passes: Sequence[Sequence[Learner]], setting: Setting) -> float:
    start = time.perf_counter()
    for learners in passes:
        micro_batches = [learner.micro_batches(0, setting.notes)[0] for learner in learners]
        logits = read_together([inputs for inputs, _, _ in micro_batches], recompute=setting.recompute)
        losses = [
            learner.scheme.loss(own_logits, batch.drg)
            for learner, own_logits, (_, batch, _) in zip(learners, logits, micro_batches, strict=True)
        ]
        torch.stack(losses).sum().backward()
        for learner in learners:
            learner.optimiser.zero_grad(set_to_none=True)
    wait(passes[0][0].data.device)
    return time.perf_counter() - start
