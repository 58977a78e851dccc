"""The memory plan: the fastest way to take a step that fits, tried on the longest micro-batch before training."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from src.cli.errors import UserError
from src.estimates.memory import GIB, PlannedRun, Setting, StepPlan, plan_steps, remedies, remedy, settings
from src.models.classifier import read_together
from src.models.devices import all_bytes, free_bytes, free_unused, is_cpu
from src.training.batches import Steps
from src.training.context import Session

if TYPE_CHECKING:
    from src.training.module import DrgModule


def planned_run(session: Session, steps: Steps) -> PlannedRun:
    """What a plan needs to know of a run, whose longest micro-batch is that of its notes."""

    def longest(notes: int, max_len: int) -> int:
        return int(steps.notes.lengths[steps.longest(notes)].clip(max=max_len).sum())

    return PlannedRun(session.cfg, session.parameters, session.precision, not is_cpu(session.device), longest)


def plan(sessions: Sequence[Session], steps: Sequence[Steps], free: float | None = None) -> StepPlan:
    """The fastest setting that fits for runs that are trained together; the smallest where none does.

    Args:
        sessions: one a run, on one base.
        steps: each run's steps.
        free: bytes; None for what the device has free now.
    """
    runs = [planned_run(session, own) for session, own in zip(sessions, steps, strict=True)]
    return plan_steps(runs, free_bytes(sessions[0].device) if free is None else free)


def check_fits(planned: StepPlan, session: Session, steps: Steps) -> None:
    """Says what would fit where the smallest setting does not.

    Raises:
        UserError: the base and the step need more than is free.
    """
    if not planned.fits:
        need, free = planned.memory.total / GIB, planned.free / GIB
        advice = remedies(planned_run(session, steps), planned.free)
        raise UserError(f"memory: {need:.1f} GiB are needed on {session.device}, {free:.1f} are free; {advice}")


def out_of_memory_line(session: Session) -> str:
    """One line on a run that ran out: what it needs, what there is, and the smallest change that would fit."""
    run, room = (
        PlannedRun(session.cfg, session.parameters, session.precision, not is_cpu(session.device)),
        all_bytes(session.device),
    )
    needed = plan_steps([run], float("inf")).memory.total / GIB
    head = f"out of memory: about {needed:.1f} GiB needed, {room / GIB:.1f} GiB on {session.device}"
    return f"{head}; {remedy(run, room)}"


def probe_longest_step(module: "DrgModule") -> None:
    """Takes the longest micro-batch forward and backward, so that running out of memory shows now; changes nothing.

    Where a slower setting was not ruled out by the configuration, it is tried next.

    Raises:
        UserError: it does not fit; the message says what would.
    """
    learners = module.learners
    cfg = learners[0].session.cfg
    batch = max(-(-len(learner.steps.rows(0)) // learner.ranks.count) for learner in learners)
    every = list(settings(batch, cfg.micro_batch, cfg.checkpointing))
    slower = every[every.index(module.setting) + 1 :] if module.setting in every else []
    for setting in (module.setting, *slower):
        try:
            _longest_step(module, setting)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
        else:
            if setting != module.setting:
                print(
                    f"memory: going on with micro_batch={setting.notes} checkpointing={setting.recompute}",
                    file=sys.stderr,
                )
            module.setting = setting
            return
        finally:
            for learner in learners:
                learner.optimiser.zero_grad(set_to_none=True)
        free_unused(learners[0].session.device)
    first, device = learners[0], learners[0].session.device
    advice = remedies(planned_run(first.session, first.steps), free_bytes(device))
    raise UserError(f"memory: the longest step does not fit; {advice if len(learners) == 1 else 'write together=no'}")


def _longest_step(module: "DrgModule", setting: Setting) -> None:
    inputs, batches = [], []
    for learner in module.learners:
        rows = learner.steps.longest(setting.notes)
        adapter_batch, batch, _ = learner.micro_batch(0, rows, list(range(len(rows))), len(rows))
        inputs.append(adapter_batch)
        batches.append(batch)
    logits = read_together(inputs, recompute=setting.recompute)
    pairs = zip(module.learners, logits, batches, strict=True)
    losses = [learner.scheme.loss(scores, batch.drg) for learner, scores, batch in pairs]
    torch.stack(losses).sum().backward()


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in the machine.

    >>> ran_out(MemoryError()), ran_out(RuntimeError("shape mismatch"))
    (True, False)
    >>> ran_out(RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"))
    True
    """
    words = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
    worded = isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    return worded or isinstance(error, MemoryError | torch.OutOfMemoryError)
