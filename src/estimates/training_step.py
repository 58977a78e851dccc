"""What a training run takes: parameters, memory, and time, from the architecture alone."""

import time
from dataclasses import dataclass

import torch

from src.config.train import ModelConfig, Precision, TrainConfig
from src.models.bases import DTYPES, computing
from src.models.engine.quantised import held_bytes

TRAINED_BYTES = 24
"""Bytes a trained parameter: fp32 weight, gradient, AdamW's two moments, one more in its step, and the best epoch's."""


HEAP = (1.3, 2.2)
"""Resident bytes a byte that is kept for the backward pass, and a byte in use for a moment, as glibc's heap leaves
them; fitted by `python -m src.benchmarks.memory`. Giving freed blocks back at once (MALLOC_MMAP_THRESHOLD_) brings both
to 1, and takes 8 to 12 % more time."""


@dataclass(frozen=True)
class Parameters:
    """Parameters of the frozen base and of what is trained."""

    base: int
    adapters: int
    head: int

    @property
    def trained(self) -> int:
        """Parameters that an optimiser step changes."""
        return self.adapters + self.head


def shapes(model: ModelConfig) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of each matrix of one block, by its name in transformers."""
    hidden, inner = model.hidden_size, model.intermediate_size
    queries, keys = model.head_width * model.heads, model.head_width * model.kv_heads
    return {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def count_parameters(cfg: TrainConfig, width: int) -> Parameters:
    """Parameters of a run whose head has `width` logits."""
    model, blocks = cfg.model, shapes(cfg.model)
    norms = 2 * model.hidden_size + (2 * model.head_width if model.family == "qwen3" else 0)
    biases = sum(blocks[name][1] for name in model.biases)
    block = sum(rows * columns for rows, columns in blocks.values()) + biases + norms
    base = model.vocab_size * model.hidden_size + model.layers * block + model.hidden_size
    adapters = model.layers * cfg.lora.r * sum(sum(blocks[name]) for name in cfg.lora.targets)
    return Parameters(base, adapters, model.hidden_size * width)


def step_flop(model: ModelConfig, parameters: Parameters, tokens: int, *, recompute: bool, prune: bool = True) -> float:
    """Floating-point operations of forward and backward over `tokens` real tokens.

    A frozen base costs 2 a weight and token forward and 2 backward (no gradients of its weights), and 2 more when
    activations are computed again; the input words' table costs nothing, and of a pruned last block only keys and
    values are computed for every token.
    """
    blocks = shapes(model)
    block = sum(rows * columns for rows, columns in blocks.values())
    ends = sum(blocks[name][0] * blocks[name][1] for name in ("k_proj", "v_proj")) if prune else block
    body = (model.layers - 1) * block + ends
    return float(tokens) * (body * (6 if recompute else 4) + adapters_flop(parameters))


def adapters_flop(parameters: Parameters) -> float:
    """Operations a token of the adapters: 2 a weight forward, 4 backward."""
    return 6.0 * parameters.adapters


def base_bytes(model: ModelConfig, parameters: Parameters, precision: Precision) -> float:
    """Bytes of the frozen base's weights; words, norms and biases of a quantised base are not quantised."""
    if not precision.is_quantised:
        return float(parameters.base * DTYPES[precision].itemsize)
    matrices = shapes(model).values()
    held = model.layers * sum(held_bytes(precision, *matrix) for matrix in matrices)
    rest = parameters.base - model.layers * sum(inputs * outputs for inputs, outputs in matrices)
    return held + rest * DTYPES[precision].itemsize


@dataclass(frozen=True)
class Memory:
    """Bytes that a training step holds at its peak."""

    base: float
    """The frozen base, and what it is read with."""
    trained: float
    """Adapters and head: weights, gradients, moments, the best epoch's copy."""
    activations: float
    """What the longest micro-batch keeps for the backward pass, and what is in use at its peak."""

    @property
    def total(self) -> float:
        """All of them."""
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
    """The peak of a step whose longest micro-batch has `tokens` tokens.

    A block keeps, a token: its input, the normed input that the adapters read, queries, keys, values, what attention
    gave and what the output's adapters read of it, the input of the second norm, gate and up; and on a CPU a byte an
    entry for dropout, which a GPU's kernels draw again. With `recompute` it keeps its input alone, and one block is
    whole at a time.

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
    masks = (hidden + queries) if cfg.lora.dropout and not on_gpu else 0
    block = wide * (3 * hidden + 3 * queries + 2 * keys + 2 * inner) + masks + 4 * model.heads
    last = wide * (2 * hidden + 2 * keys) + (hidden if masks else 0)
    in_use = wide * (3 * inner + 4 * hidden)
    keeps, holds = (1.0, 1.0) if on_gpu else HEAP
    kept = model.layers * wide * hidden + block if recompute else (model.layers - 1) * block + last
    whole = base_bytes(model, parameters, precision)
    dense = wide * max(inputs * outputs for inputs, outputs in blocks.values()) if precision.is_quantised else 0
    one_block = whole / model.layers if shares > 1 else 0.0
    return Memory(
        base=whole / shares + 2 * one_block + dense,
        trained=float(parameters.trained * TRAINED_BYTES),
        activations=float(tokens * (kept * keeps + in_use * holds)),
    )


def matrix_rate(cfg: TrainConfig, precision: Precision, device: str) -> float:
    """Floating-point operations a second that this device reaches on the model's largest matrix product."""
    dtype = computing(precision, device)
    rows = min(cfg.batch_size * cfg.max_len, 2048)
    # A GPU multiplies ones at a higher clock than random numbers: these take it less power.
    generator = torch.Generator(device).manual_seed(0)
    sizes = ((rows, cfg.model.hidden_size), (cfg.model.hidden_size, cfg.model.intermediate_size))
    left, right = (torch.randn(size, dtype=dtype, device=device, generator=generator) for size in sizes)
    seconds = min(_seconds(left, right) for _ in range(4))
    return 2.0 * rows * cfg.model.hidden_size * cfg.model.intermediate_size / seconds


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    start = time.perf_counter()
    product = left @ right
    float(product[0, 0])  # waits for a GPU
    return time.perf_counter() - start
