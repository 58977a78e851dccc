"""The memory plan: the fastest way to take a step that fits, tried on the longest micro-batch before training."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from src.cli.errors import UserError
from src.config.train import Precision, TrainConfig
from src.estimates.training_step import Memory, memory
from src.models.classifier import read_together
from src.models.devices import free_bytes, free_unused, is_cpu
from src.training.batches import Steps
from src.training.context import Session

if TYPE_CHECKING:
    from src.training.module import DrgModule

SHORTEST = 64
"""Tokens of a note below which nothing is advised."""

HEADROOM = 0.92
"""Share of the free memory that is planned for; the rest is for what allocators leave between."""


@dataclass(frozen=True)
class Setting:
    """How a step is taken; neither changes its result.

    Attributes:
        notes: notes of a step that are read at once; their gradients are added up.
        recompute: activations are computed again in the backward pass: less memory, about a third more time.
    """

    notes: int
    recompute: bool


@dataclass(frozen=True)
class Plan:
    """A setting and what it takes."""

    setting: Setting
    memory: Memory
    free: float
    """Bytes that are free on the device before the base is loaded."""

    @property
    def fits(self) -> bool:
        """Whether the peak is below the planned share of what is free."""
        return self.memory.total <= HEADROOM * self.free


def settings(batch_size: int, micro_batch: int | None, recompute: bool | None) -> Iterator[Setting]:
    """Settings from the fastest to the smallest, within what was asked for.

    >>> [(each.notes, each.recompute) for each in settings(4, None, None)]
    [(4, False), (2, False), (1, False), (4, True), (2, True), (1, True)]
    >>> [(each.notes, each.recompute) for each in settings(4, 3, False)]
    [(3, False)]
    """
    for again in (False, True) if recompute is None else (recompute,):
        notes = micro_batch or batch_size
        while notes:
            yield Setting(notes, again)
            notes = 0 if micro_batch else notes // 2


def plan(sessions: Sequence[Session], steps: Sequence[Steps], free: float | None = None) -> Plan:
    """The fastest setting that fits for runs that are trained together; the smallest where none does.

    Args:
        sessions: one a run, on one base.
        steps: each run's steps.
        free: bytes; None for what the device has free now.
    """
    cfg = sessions[0].cfg
    free = free_bytes(sessions[0].device) if free is None else free
    ranks = cfg.devices * cfg.nodes
    batch = max(-(-each.batch_size // ranks) for each in steps)
    found = None
    for setting in settings(batch, cfg.micro_batch, cfg.checkpointing):
        whole = memory_of(sessions, steps, setting)
        found = Plan(setting, whole, free)
        if found.fits:
            return found
    if found is None:
        raise ValueError("no setting to choose from")
    return found


def memory_of(sessions: Sequence[Session], steps: Sequence[Steps], setting: Setting) -> Memory:
    """The peak of a step of all runs together: one base, each run's adapters, all longest micro-batches at once."""
    each = [
        memory(
            session.cfg,
            session.parameters,
            session.precision,
            tokens=int(some.notes.lengths[some.longest(setting.notes)].sum()),
            recompute=setting.recompute,
            on_gpu=not is_cpu(session.device),
            shares=session.cfg.devices * session.cfg.nodes if session.cfg.shard else 1,
        )
        for session, some in zip(sessions, steps, strict=True)
    ]
    return Memory(each[0].base, sum(one.trained for one in each), sum(one.activations for one in each))


def check_fits(found: Plan, session: Session, steps: Steps) -> None:
    """Says what would fit where the smallest setting does not.

    Raises:
        UserError: the base and the step need more than is free.
    """
    if not found.fits:
        need, free = found.memory.total / 2**30, found.free / 2**30
        remedy = remedies(session, steps, found.free)
        raise UserError(f"memory: {need:.1f} GiB are needed on {session.device}, {free:.1f} are free; {remedy}")


def remedies(session: Session, steps: Steps, free: float) -> str:
    """The overrides with which a run's estimate is smaller than it is and fits into `free` bytes, three at most."""
    now = _least(session.cfg, session.precision, session, steps)
    ways: dict[str, str] = {}
    for words, cfg, precision in _smaller(session, int(steps.notes.lengths.max())):
        if _least(cfg, precision, session, steps) < min(HEADROOM * free, now):
            ways.setdefault(words[-1].partition("=")[0], " ".join(words))
    if ways:
        return f"try {', or '.join(list(ways.values())[:3])}"
    return f"no setting fits; take a smaller model=, or a device with more than {now / HEADROOM / 2**30:.0f} GiB free"


def _smaller(session: Session, longest: int) -> Iterator[tuple[list[str], TrainConfig, Precision]]:
    """Changes that need less memory: those that leave a run's result as it is before those that do not."""
    cfg, precision, words = session.cfg, session.precision, []
    if cfg.micro_batch not in (None, 1):
        cfg, words = replace(cfg, micro_batch=1), ["micro_batch=1"]
        yield words, cfg, precision
    if cfg.checkpointing is False:
        cfg, words = replace(cfg, checkpointing=True), [*words, "checkpointing=true"]
        yield words, cfg, precision
    kinds = [Precision.BF16, Precision.INT8, Precision.NF4]
    for kind in kinds[kinds.index(precision) + 1 :] if precision in kinds else kinds:
        yield [*words, f"precision={kind}"], cfg, kind
    if not is_cpu(session.device) and not precision.is_quantised and cfg.nodes == 1:
        for count in (2, 4, 8):
            if cfg.devices < count <= cfg.batch_size:
                shared = [*words, "shard=true", f"devices={count}"]
                yield shared, replace(cfg, shard=True, devices=count), precision
    shorter = 2 ** (min(cfg.max_len, longest) - 1).bit_length()
    while shorter > SHORTEST:
        shorter //= 2
        yield [*words, f"max_len={shorter}"], replace(cfg, max_len=shorter), precision


def _least(cfg: TrainConfig, precision: Precision, session: Session, steps: Steps) -> float:
    """Bytes of a run's step at the smallest setting that a configuration allows."""
    ranks = cfg.devices * cfg.nodes
    *_, setting = settings(-(-steps.batch_size // ranks), cfg.micro_batch, cfg.checkpointing)
    lengths = steps.notes.lengths[steps.longest(setting.notes)].clip(max=cfg.max_len)
    return memory(
        cfg,
        session.parameters,
        precision,
        tokens=int(lengths.sum()),
        recompute=setting.recompute,
        on_gpu=not is_cpu(session.device),
        shares=ranks if cfg.shard else 1,
    ).total


def probe_longest_step(module: "DrgModule") -> None:
    """Takes the longest micro-batch forward and backward, so that running out of memory shows now; changes nothing.

    Where a slower setting was not ruled out by the configuration, it is tried next.

    Raises:
        UserError: it does not fit; the message says what would.
    """
    learners = module.learners
    cfg = learners[0].session.cfg
    batch = max(-(-len(learner.steps.rows(0)) // learner.ranks.count) for learner in learners)
    slower = [module.setting, *_after(module.setting, batch, cfg.micro_batch, cfg.checkpointing)]
    for setting in slower:
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
    remedy = "write together=no" if len(learners) > 1 else remedies(first.session, first.steps, free_bytes(device))
    raise UserError(f"memory: the longest step does not fit; {remedy}")


def _after(setting: Setting, batch: int, micro_batch: int | None, recompute: bool | None) -> list[Setting]:
    every = list(settings(batch, micro_batch, recompute))
    return every[every.index(setting) + 1 :] if setting in every else []


def _longest_step(module: "DrgModule", setting: Setting) -> None:
    asked, rest = [], []
    for learner in module.learners:
        rows = learner.steps.longest(setting.notes)
        ask, batch, _ = learner.micro_batch(0, rows, list(range(len(rows))), len(rows))
        asked.append(ask)
        rest.append((learner, batch))
    logits = read_together(asked, recompute=setting.recompute)
    losses = [learner.scheme.loss(each, batch.drg) for each, (learner, batch) in zip(logits, rest, strict=True)]
    torch.stack(losses).sum().backward()


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in the machine.

    >>> ran_out(MemoryError()), ran_out(RuntimeError("shape mismatch"))
    (True, False)
    >>> ran_out(RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"))
    True
    """
    words = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
    told = isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    return told or isinstance(error, MemoryError | torch.OutOfMemoryError)
