"""Estimates the bytes of a training step; picks the fastest way to take it that fits, or names what would fit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import mul

from src.config.choices import Pooling, Precision
from src.config.train import ModelConfig, TrainConfig
from src.estimates.flop import Parameters, shapes
from src.models.bases import DTYPES, computing
from src.models.engine.quantised import held_bytes

GIB = 2**30

TRAINED_BYTES = 24
"""Bytes a trained parameter: fp32 weight, gradient, AdamW's two moments, one more in its step, and the best epoch's."""

HEAP = (1.3, 2.2)
"""Resident bytes a byte that is kept for the backward pass, and a byte in use for a moment, as glibc's heap leaves
them; fitted by `python -m src.benchmarks.memory`. Giving freed blocks back at once (MALLOC_MMAP_THRESHOLD_) brings both
to 1, and takes 8 to 12 % more time."""

HEADROOM = 0.92
"""Share of a memory that is planned for: LOG.md's plans are up to 7 % below what steps took on a CPU, 2 % on a GPU."""

SHORTEST = 64
"""Tokens of a note below which nothing is advised."""


def base_bytes(model: ModelConfig, parameters: Parameters, precision: Precision) -> float:
    """Counts the bytes of the frozen base's weights; words, norms and biases of a quantised base are not quantised."""
    if not precision.is_quantised:
        return float(parameters.base * DTYPES[precision].itemsize)
    matrices = shapes(model).values()
    maps = model.layers * sum(held_bytes(precision, *matrix) for matrix in matrices)
    rest = parameters.base - model.layers * sum(inputs * outputs for inputs, outputs in matrices)
    return maps + rest * DTYPES[precision].itemsize


@dataclass(frozen=True)
class Memory:
    """Holds the bytes that a training step takes at its peak, by what they are for."""

    base: float
    """The frozen base, and what it is read with."""
    trained: float
    """Adapters and head: weights, gradients, moments, the best epoch's copy."""
    activations: float
    """What the longest micro-batch keeps for the backward pass, and what is in use at its peak."""

    @property
    def total(self) -> float:
        """Adds all of them up."""
        return self.base + self.trained + self.activations


def memory(
    cfg: TrainConfig,
    parameters: Parameters,
    precision: Precision,
    *,
    tokens: int,
    recompute: bool,
    on_gpu: bool,
    shares: int = 1,
) -> Memory:
    """Estimates the peak of a step whose longest micro-batch has `tokens` tokens.

    A block keeps, a token: its input, the normed input that the adapters read, queries, keys, values, what attention
    gave and what the output's adapters read of it, the input of the second norm, gate and up; where gate, up or down
    have adapters, what those read; and on a CPU a byte an entry for dropout, which a GPU's kernels draw again. With
    `recompute` it keeps its input alone, and one block is whole at a time.

    Args:
        cfg: of the run.
        parameters: of the run.
        precision: of the base.
        tokens: of the longest micro-batch.
        recompute: activations are computed again in the backward pass.
        on_gpu: torch hands out what is freed; on a CPU the C library's heap keeps more than is in use.
        shares: processes that the base is spread over.
    """
    model, wide = cfg.model, computing(precision, "cuda" if on_gpu else "cpu").itemsize
    hidden, inner = model.hidden_size, model.intermediate_size
    blocks = shapes(model)
    queries, keys = blocks["q_proj"][1], blocks["k_proj"][1]
    # Sums of a token as the docstring lists them; attention keeps a log-sum of fp32 a head beside them.
    targets = set(cfg.lora.targets)
    read = hidden * bool(targets & {"gate_proj", "up_proj"}) + inner * ("down_proj" in targets)
    masks = (hidden + queries + read) if cfg.lora.dropout and not on_gpu else 0
    block = wide * (3 * hidden + 3 * queries + 2 * keys + 2 * inner + read) + masks + 4 * model.heads
    # Of the pruned last block, only keys and values are computed for all tokens; a mean needs all of it.
    last = wide * (2 * hidden + 2 * keys) + (hidden if masks else 0) if cfg.pooling is Pooling.LAST else block
    # The peak is in the backward pass of a feed-forward part: gradients of gate, of up and of their product.
    in_use = wide * (3 * inner + 4 * hidden)
    keeps, holds = (1.0, 1.0) if on_gpu else HEAP
    kept = model.layers * wide * hidden + block if recompute else (model.layers - 1) * block + last
    whole = base_bytes(model, parameters, precision)
    # A quantised matrix is widened whole for its product, one at a time.
    dense = wide * max(inputs * outputs for inputs, outputs in blocks.values()) if precision.is_quantised else 0
    # FSDP holds the block that computes, and gathers the next meanwhile.
    one_block = whole / model.layers if shares > 1 else 0.0
    return Memory(
        base=whole / shares + 2 * one_block + dense,
        trained=float(parameters.trained * TRAINED_BYTES),
        activations=float(tokens * (kept * keeps + in_use * holds)),
    )


@dataclass(frozen=True)
class Setting:
    """Says how a step is taken, which leaves its result as it is.

    Attributes:
        notes: notes of a step that are read at once; their gradients are added up.
        recompute: activations are computed again in the backward pass: less memory, about a third more time.
    """

    notes: int
    recompute: bool


@dataclass(frozen=True)
class StepPlan:
    """Holds a setting and what it takes."""

    setting: Setting
    memory: Memory
    free: float
    """Bytes that it may take of."""

    @property
    def fits(self) -> bool:
        """Says whether the peak is below the planned share of what is free."""
        return self.memory.total <= HEADROOM * self.free


@dataclass(frozen=True)
class PlannedRun:
    """Holds what a plan needs to know of a run."""

    cfg: TrainConfig
    parameters: Parameters
    precision: Precision
    """Of the base, decided."""
    on_gpu: bool
    longest: Callable[[int, int], int] = mul
    """Tokens of the longest micro-batch of so many notes, cut to so many tokens; all are of full length where no note
    was read."""

    @property
    def share(self) -> int:
        """Counts the notes of a step that each process reads."""
        return -(-self.cfg.batch_size // (self.cfg.devices * self.cfg.nodes))

    def memory(self, setting: Setting) -> Memory:
        """Estimates the peak of a step."""
        return memory(
            self.cfg,
            self.parameters,
            self.precision,
            tokens=self.longest(setting.notes, self.cfg.max_len),
            recompute=setting.recompute,
            on_gpu=self.on_gpu,
            shares=self.cfg.devices * self.cfg.nodes if self.cfg.shard else 1,
        )

    @property
    def least(self) -> float:
        """Estimates the bytes of a step at the smallest setting."""
        *_, smallest = settings(self.share, self.cfg.micro_batch, self.cfg.checkpointing)
        return self.memory(smallest).total


def settings(batch_size: int, micro_batch: int | None, recompute: bool | None) -> Iterator[Setting]:
    """Yields the settings from the fastest to the smallest, within what was asked for.

    >>> [(setting.notes, setting.recompute) for setting in settings(4, None, None)]
    [(4, False), (2, False), (1, False), (4, True), (2, True), (1, True)]
    >>> [(setting.notes, setting.recompute) for setting in settings(4, 3, False)]
    [(3, False)]
    """
    for again in (False, True) if recompute is None else (recompute,):
        notes = micro_batch or batch_size
        while notes:
            yield Setting(notes, again)
            notes = 0 if micro_batch else notes // 2


def plan_steps(runs: Sequence[PlannedRun], free: float) -> StepPlan:
    """Picks the fastest setting that fits for runs over one base; the smallest where none does.

    Their base is held once, and each run's adapters and longest micro-batch at the same time.
    """
    cfg, batch_size = runs[0].cfg, max(run.share for run in runs)
    for setting in settings(batch_size, cfg.micro_batch, cfg.checkpointing):
        peaks = [run.memory(setting) for run in runs]
        trained, activations = sum(peak.trained for peak in peaks), sum(peak.activations for peak in peaks)
        plan = StepPlan(setting, Memory(peaks[0].base, trained, activations), free)
        if plan.fits:
            break
    return plan


def remedies(run: PlannedRun, free: float) -> str:
    """Advises at most three changes with which a run fits into `free` bytes and takes less than it does."""
    ways: dict[str, str] = {}
    for words, _ in fitting_changes(run, free):
        ways.setdefault(words[-1].partition("=")[0], " ".join(words))
    if ways:
        return f"try {', or '.join(list(ways.values())[:3])}"
    needed = run.least / HEADROOM / GIB
    return f"no setting fits; take a smaller model=, or a device with more than {needed:.0f} GiB free"


def remedy(run: PlannedRun, room: float) -> str:
    """Names the first change with which a run fits into `room` bytes and takes less than it does, and what it takes."""
    for words, needed in fitting_changes(run, room):
        return f"{' '.join(words)} would take about {needed / GIB:.1f} GiB"
    return "no smaller setting fits; take a smaller model or a larger device"


def fitting_changes(run: PlannedRun, free: float) -> Iterator[tuple[list[str], float]]:
    """Yields overrides with which a run fits into `free` bytes and takes less than it does, and the bytes of each."""
    most = min(HEADROOM * free, run.least)
    for words, changed in _smaller(run):
        if (needed := changed.least) < most:
            yield words, needed


def _smaller(run: PlannedRun) -> Iterator[tuple[list[str], PlannedRun]]:
    """Yields changes that need less memory: those that leave a run's result as it is before those that do not."""
    cfg, precision, words = run.cfg, run.precision, []
    if cfg.micro_batch not in (None, 1):
        cfg, words = replace(cfg, micro_batch=1), ["micro_batch=1"]
        yield words, replace(run, cfg=cfg)
    if cfg.checkpointing is False:
        cfg, words = replace(cfg, checkpointing=True), [*words, "checkpointing=true"]
        yield words, replace(run, cfg=cfg)
    formats = [Precision.BF16, Precision.INT8, Precision.NF4]
    # fp16 takes what bf16 does, and is there for cards that have no other.
    same = Precision.BF16 if precision is Precision.FP16 else precision
    for smaller in formats[formats.index(same) + 1 :] if same in formats else formats:
        yield [*words, f"precision={smaller}"], replace(run, cfg=cfg, precision=smaller)
    # bitsandbytes' weights cannot be spread.
    if run.on_gpu and not precision.is_quantised and cfg.nodes == 1:
        for count in (2, 4, 8):
            if cfg.devices < count <= cfg.batch_size:
                spread = replace(cfg, shard=True, devices=count)
                yield [*words, "shard=true", f"devices={count}"], replace(run, cfg=spread)
    # From the first power of two below the longest note on: a bound above what notes have would change nothing.
    shorter = 2 ** (run.longest(1, cfg.max_len) - 1).bit_length()
    while shorter > SHORTEST:
        shorter //= 2
        yield [*words, f"max_len={shorter}"], replace(run, cfg=replace(cfg, max_len=shorter))
