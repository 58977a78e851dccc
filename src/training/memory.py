"""Plans memory: the fastest way to take a step that fits, tried on the longest micro-batch before training."""

import sys
from collections.abc import Sequence

import torch

from src.cli.errors import UserError
from src.estimates.memory import GIB, PlannedRun, Setting, StepPlan, plan_steps, remedies, remedy, settings
from src.models.classifier import read_together
from src.models.devices import all_bytes, free_bytes, free_unused, is_cpu
from src.training.batches import Steps
from src.training.learner import Learner
from src.training.run_data import RunData


def planned_run(data: RunData, steps: Steps) -> PlannedRun:
    """Returns what a plan needs to know of a run, whose longest micro-batch is that of its notes."""

    def longest(notes: int, max_len: int) -> int:
        return int(steps.notes.lengths[steps.longest(notes)].clip(max=max_len).sum())

    return PlannedRun(data.cfg, data.parameters, data.precision, not is_cpu(data.device), longest)


def plan(run_data: Sequence[RunData], steps: Sequence[Steps], free: float | None = None) -> StepPlan:
    """Picks the fastest setting that fits for runs that are trained together; the smallest where none does.

    Args:
        run_data: one a run, on one base.
        steps: each run's steps.
        free: bytes; None for what the device has free now.
    """
    runs = [planned_run(data, own) for data, own in zip(run_data, steps, strict=True)]
    return plan_steps(runs, free_bytes(run_data[0].device) if free is None else free)


def check_fits(planned: StepPlan, data: RunData, steps: Steps) -> None:
    """Says what would fit where the smallest setting does not.

    Raises:
        UserError: the base and the step need more than is free.
    """
    if not planned.fits:
        need, free = planned.memory.total / GIB, planned.free / GIB
        advice = remedies(planned_run(data, steps), planned.free)
        raise UserError(f"memory: {need:.1f} GiB are needed on {data.device}, {free:.1f} are free; {advice}")


def out_of_memory_line(data: RunData) -> str:
    """Says in one line what a run that ran out needs, what there is, and the smallest change that would fit."""
    run, room = (
        PlannedRun(data.cfg, data.parameters, data.precision, not is_cpu(data.device)),
        all_bytes(data.device),
    )
    needed = plan_steps([run], float("inf")).memory.total / GIB
    head = f"out of memory: about {needed:.1f} GiB needed, {room / GIB:.1f} GiB on {data.device}"
    return f"{head}; {remedy(run, room)}"


def probe_longest_step(learners: Sequence[Learner], planned: Setting) -> Setting:
    """Takes the longest micro-batch forward and backward, so that running out of memory shows now; changes nothing.

    Where a slower setting was not ruled out by the configuration, it is tried next.

    Returns:
        The setting that fits: the planned one, or the next.

    Raises:
        UserError: none does; the message says what would.
    """
    cfg = learners[0].data.cfg
    batch = max(-(-len(learner.steps.rows(0)) // learner.ranks.count) for learner in learners)
    every = list(settings(batch, cfg.micro_batch, cfg.checkpointing))
    slower = every[every.index(planned) + 1 :] if planned in every else []
    for setting in (planned, *slower):
        try:
            _longest_step(learners, setting)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
        else:
            if setting != planned:
                print(
                    f"memory: going on with micro_batch={setting.notes} checkpointing={setting.recompute}",
                    file=sys.stderr,
                )
            return setting
        finally:
            for learner in learners:
                learner.optimiser.zero_grad(set_to_none=True)
        free_unused(learners[0].data.device)
    first, device = learners[0], learners[0].data.device
    advice = remedies(planned_run(first.data, first.steps), free_bytes(device))
    raise UserError(f"memory: the longest step does not fit; {advice if len(learners) == 1 else 'write together=no'}")


def _longest_step(learners: Sequence[Learner], setting: Setting) -> None:
    inputs, batches = [], []
    for learner in learners:
        rows = learner.steps.longest(setting.notes)
        adapter_batch, batch, _ = learner.micro_batch(0, rows, list(range(len(rows))), len(rows))
        inputs.append(adapter_batch)
        batches.append(batch)
    logits = read_together(inputs, recompute=setting.recompute)
    pairs = zip(learners, logits, batches, strict=True)
    losses = [learner.scheme.loss(scores, batch.drg) for learner, scores, batch in pairs]
    torch.stack(losses).sum().backward()


def ran_out(error: BaseException) -> bool:
    """Says whether an error means that memory ran out, on a GPU or in the machine.

    >>> ran_out(MemoryError()), ran_out(RuntimeError("shape mismatch"))
    (True, False)
    >>> ran_out(RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"))
    True
    """
    words = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
    worded = isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    return worded or isinstance(error, MemoryError | torch.OutOfMemoryError)
