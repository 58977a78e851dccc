"""What a training run takes: parameters, memory, and time, from the architecture alone."""

import time
from dataclasses import dataclass

import torch

from src.config.train import ModelConfig, Precision, TrainConfig

BYTES = {Precision.FP32: 4.0, Precision.BF16: 2.0, Precision.INT8: 1.0, Precision.NF4: 0.55}
"""Bytes a weight of the frozen base; NF4 with its scales (Dettmers et al. 2023, section 3)."""

TRAINED_BYTES = 16
"""Bytes a trained parameter: fp32 weight, gradient, and AdamW's two moments."""


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


def step_flop(cfg: TrainConfig, parameters: Parameters, tokens: int) -> float:
    """Floating-point operations of forward and backward over `tokens` real tokens.

    A frozen base costs 2 a weight and token forward and 2 backward (no gradients of its weights), and
    2 more when activations are recomputed; the input words' table costs nothing.
    """
    body = parameters.base - cfg.model.vocab_size * cfg.model.hidden_size
    return float(tokens) * body * (6 if cfg.checkpointing else 4)


def memory_bytes(cfg: TrainConfig, parameters: Parameters, precision: Precision, tokens: int) -> float:
    """Bytes held in a step over `tokens` tokens: base, trained weights, and activations.

    A block keeps about ten vectors of the hidden width and four of the inner width a token for the
    backward pass, in the base's format; with checkpointing one hidden vector a block and one block whole.
    """
    model = cfg.model
    width = 4 if precision is Precision.FP32 else 2
    block = (10 * model.hidden_size + 4 * model.intermediate_size) * width
    kept = model.layers * model.hidden_size * width + block if cfg.checkpointing else model.layers * block
    return parameters.base * BYTES[precision] + parameters.trained * TRAINED_BYTES + tokens * kept


def matrix_rate(cfg: TrainConfig, precision: Precision, device: str) -> float:
    """Floating-point operations a second that this device reaches on the model's largest matrix product."""
    dtype = torch.float32 if precision is Precision.FP32 else torch.bfloat16
    rows = min(cfg.batch_size * cfg.max_len, 2048)
    left = torch.ones(rows, cfg.model.hidden_size, dtype=dtype, device=device)
    right = torch.ones(cfg.model.hidden_size, cfg.model.intermediate_size, dtype=dtype, device=device)
    seconds = min(_seconds(left, right) for _ in range(4))
    return 2.0 * rows * cfg.model.hidden_size * cfg.model.intermediate_size / seconds


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    start = time.perf_counter()
    product = left @ right
    float(product[0, 0])  # waits for a GPU
    return time.perf_counter() - start
