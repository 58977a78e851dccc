"""Pretrains on the next word: a small LLaMA, its packed batches and their loss."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from src.config.pretrain import PretrainConfig
from src.models.engine.attention import PACKED, register_packed_attention
from src.models.engine.packing import Packed, pack, send
from src.models.pretraining_texts import Text

Batch = tuple[Packed, Tensor]
"""Packed texts of T tokens, and the weight of each as a target, [T]."""


def new_model(tokenizer: Any, cfg: PretrainConfig) -> Any:
    """Makes a LLaMA with random weights; its input and output words share their vectors."""
    from transformers import LlamaConfig, LlamaForCausalLM

    register_packed_attention()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        **cfg.sizes,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation(PACKED)
    return model


def draw(texts: Sequence[Text], tokenizer: Any, cfg: PretrainConfig, chance: random.Random) -> Iterator[Batch]:
    """Yields packed texts of about `batch_tokens` tokens."""
    order = chance.sample(range(len(texts)), len(texts))
    rows: list[list[int]] = []
    weights: list[float] = []
    for index in order:
        text = texts[index]
        room = max(8, chance.randint(cfg.shortest, cfg.context) - len(text.answer))
        course = text.course[:room]
        rows.append(course + text.answer)
        # A token is a target of the one before it; the first token of a text is nobody's target.
        # Only a share of the course's tokens are targets: the output layer is half the cost of a small model.
        weights += [0.0] + [float(chance.random() < cfg.course_share) for _ in course[1:]]
        weights += [cfg.answer_weight] * len(text.answer)
        if len(weights) >= cfg.batch_tokens:
            yield pack(rows), torch.tensor(weights)
            rows, weights = [], []
    if rows:
        yield pack(rows), torch.tensor(weights)


def weight(batch: Batch) -> float:
    """Sums the weights of the targets."""
    return float(batch[1][1:].sum())


def loss(model: Any, batch: Batch, device: str) -> Tensor:
    """Computes the weighted mean cross-entropy of each next token in nats; weights lie on the host."""
    packed, weights = batch
    targets = weights[1:].nonzero().squeeze(1)
    ids, positions, targets, counted = send(
        [packed.ids, packed.positions, targets, weights[1:][targets]], torch.device(device)
    )
    hidden = model.model(
        input_ids=ids[None],
        position_ids=positions[None],
        note_lengths=packed.lengths,
        use_cache=False,
    ).last_hidden_state[0]
    losses = cross_entropy(model.lm_head(hidden[:-1][targets]).float(), ids[1:][targets], reduction="none")
    return (losses * counted).sum() / counted.sum()
