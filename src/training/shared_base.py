"""Runs over one copy of the frozen base: which can share it, and whether in one pass or in turn."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from src.cohort.split import Split
from src.config.train import Together, TrainConfig
from src.estimates.memory import Setting
from src.models.classifier import Classifier, read_together, with_adapters
from src.models.devices import wait
from src.training.batches import Steps, TokenisedNotes
from src.training.context import Session
from src.training.learner import Learner
from src.training.memory import check_fits, plan
from src.training.ranks import ALONE, Ranks
from src.training.user_callbacks import load_callbacks

PAYS = 1.03
"""How much faster one pass must be than turns to be taken."""


def groups_sharing_a_base(cfgs: Sequence[TrainConfig]) -> list[list[TrainConfig]]:
    """Runs that can share a base: the same model, precision, cohort, length, prompt and device."""
    groups: dict[str, list[TrainConfig]] = {}
    for cfg in cfgs:
        model = {name: value for name, value in dataclasses.asdict(cfg.model).items() if name != "access"}
        process = [cfg.device, cfg.threads, cfg.deterministic]
        shared = [model, cfg.precision, cfg.data.dir, cfg.max_len, cfg.prompt, process]
        groups.setdefault(json.dumps(shared), []).append(cfg)
    return list(groups.values())


def steps_of(session: Session, notes: TokenisedNotes) -> Steps:
    """The optimiser steps of a run over its training notes."""
    cfg = session.cfg
    return Steps(notes, cfg.batch_size, cfg.epochs, cfg.max_steps, cfg.seed)


def open_learners(
    sessions: Sequence[Session], run_dirs: Sequence[Path], recorders: Sequence[Any]
) -> Iterator[tuple[list[Learner], Setting]]:
    """Loads the base and yields the runs to train at once, with how their steps are taken.

    Each run logs to its `recorder`. Runs with callbacks are trained in turn: a callback expects a Trainer of its run.

    Raises:
        UserError: the smallest step does not fit into memory, or a callback cannot be made.
    """
    callbacks = [load_callbacks(session.cfg.callbacks) for session in sessions]
    notes = [{split: session.notes(split) for split in Split} for session in sessions]
    steps = [steps_of(session, splits[Split.TRAIN]) for session, splits in zip(sessions, notes, strict=True)]
    plans = [plan([session], [own_steps]) for session, own_steps in zip(sessions, steps, strict=True)]
    for session, own_steps, planned in zip(sessions, steps, plans, strict=True):
        check_fits(planned, session, own_steps)
    shared = plan(sessions, steps)
    learners = []
    base: Any = sessions[0].base()
    for index, (session, *rest) in enumerate(zip(sessions, notes, run_dirs, recorders, callbacks, strict=True)):
        classifier = _classifier(session, base, index)
        base = classifier.backbone
        split_notes, run_dir, recorder, own = rest
        learners.append(Learner(session, classifier, split_notes, run_dir, recorder, _ranks(session.cfg), own))
    if len(learners) == 1:
        yield learners, plans[0].setting
    elif _in_one_pass(learners, shared.setting, shared.fits):
        yield learners, shared.setting
    else:
        yield from (([learner], planned.setting) for learner, planned in zip(learners, plans, strict=True))


def _classifier(session: Session, base: torch.nn.Module, index: int) -> Classifier:
    """Fresh adapters and head, which depend on the run's seed alone."""
    torch.manual_seed(session.cfg.seed)
    return with_adapters(base, session.cfg.lora, session.scheme.width, session.device, f"cell{index}")


def _ranks(cfg: TrainConfig) -> Ranks:
    """This process among those that Lightning starts; they find each other when training begins."""
    if cfg.devices * cfg.nodes == 1:
        return ALONE
    from pytorch_lightning.utilities import rank_zero_only

    return Ranks(int(getattr(rank_zero_only, "rank", 0) or 0), 1)


def _in_one_pass(learners: Sequence[Learner], setting: Setting, fits: bool) -> bool:
    together = {learner.session.cfg.together for learner in learners}
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
    wait(passes[0][0].session.device)
    return time.perf_counter() - start
