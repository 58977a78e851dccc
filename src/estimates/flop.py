"""Counts the parameters and floating-point operations of a run, from the architecture alone."""

from dataclasses import dataclass

from src.config.train import ModelConfig, TrainConfig


@dataclass(frozen=True)
class Parameters:
    """Counts the parameters of the frozen base and of what is trained."""

    base: int
    adapters: int
    head: int

    @property
    def trained(self) -> int:
        """Counts the parameters that an optimiser step changes."""
        return self.adapters + self.head


def shapes(model: ModelConfig) -> dict[str, tuple[int, int]]:
    """Returns (inputs, outputs) of each matrix of one block, by its name in transformers."""
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
    """Counts the parameters of a run whose head has `width` logits."""
    model, blocks = cfg.model, shapes(cfg.model)
    norms = 2 * model.hidden_size + (2 * model.head_width if model.family == "qwen3" else 0)
    biases = sum(blocks[name][1] for name in model.biases)
    block = sum(rows * columns for rows, columns in blocks.values()) + biases + norms
    base = model.vocab_size * model.hidden_size + model.layers * block + model.hidden_size
    adapters = model.layers * cfg.lora.r * sum(sum(blocks[name]) for name in cfg.lora.targets)
    return Parameters(base, adapters, model.hidden_size * width)


def step_flop(
    model: ModelConfig, parameters: Parameters, tokens: float, *, recompute: bool, prune: bool = True
) -> float:
    """Counts the floating-point operations of forward and backward over `tokens` real tokens.

    A frozen base costs 2 a weight and token forward and 2 backward (no gradients of its weights), and 2 more when
    activations are computed again; adapters cost 2 forward and 4 backward. The input words' table costs nothing, and
    of a pruned last block only keys and values are computed for every token.
    """
    return tokens * (_body(model, prune) * (6 if recompute else 4) + 6.0 * parameters.adapters)


def scoring_flop(model: ModelConfig, parameters: Parameters, tokens: float, *, prune: bool = True) -> float:
    """Counts the floating-point operations of a forward pass over `tokens` real tokens."""
    return 2.0 * tokens * (_body(model, prune) + parameters.adapters)


def _body(model: ModelConfig, prune: bool) -> int:
    """Counts the weights that every token meets."""
    blocks = shapes(model)
    block = sum(rows * columns for rows, columns in blocks.values())
    last = sum(blocks[name][0] * blocks[name][1] for name in ("k_proj", "v_proj")) if prune else block
    return (model.layers - 1) * block + last
