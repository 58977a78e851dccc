"""Trains a small base on next-token prediction, which makes it worth tuning.

Each training text is a hospital course followed by the note's Discharge Diagnosis section, behind the words
that `prompt=diagnosis` appends. Read at that place, the base has learnt to name what the course was about.
"""

import dataclasses
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from src.cli.progress import Clock
from src.config.choices import Prompt
from src.config.pretrain import PretrainConfig
from src.models.devices import best_kind, make_current, own
from src.models.engine.attention import PACKED, register_packed_attention
from src.models.engine.packing import Packed, pack, send
from src.models.prompts import WORDS_AFTER

HELD_OUT = 0.02
"""Share of the training notes that only measures perplexity."""

ANSWER_ROOM = 96
"""Tokens of the Discharge Diagnosis section that are read at most."""


@dataclasses.dataclass(frozen=True)
class Text:
    """Holds the token ids of one note: its course with `<s>`, and the prompt's words with the diagnoses and `</s>`."""

    course: list[int]
    answer: list[int]


def train_base(
    tokenizer: Any, courses: Sequence[str], diagnoses: Sequence[str], cfg: PretrainConfig
) -> tuple[Any, dict[str, float]]:
    """Trains a LLaMA from random weights; returns it with its held-out perplexity and the seconds it took."""
    start = time.monotonic()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    device = own(best_kind() if cfg.device == "auto" else cfg.device)
    make_current(device)
    torch.manual_seed(cfg.seed)
    chance = random.Random(cfg.seed)
    texts = encode(tokenizer, courses, diagnoses)
    chance.shuffle(texts)
    held_out = texts[: max(1, round(len(texts) * HELD_OUT))]
    taught = texts[len(held_out) :] or held_out
    model = new_model(tokenizer, cfg).to(device)
    batches = [list(_batches(taught, cfg, chance)) for _ in range(cfg.epochs)]
    _steps(model, [batch for epoch in batches for batch in epoch], cfg, device)
    measured = {"perplexity": math.exp(_held_out_loss(model, held_out, cfg, device)), "notes": len(taught)}
    return model, {**measured, "seconds": round(time.monotonic() - start, 1)}


def encode(tokenizer: Any, courses: Sequence[str], diagnoses: Sequence[str]) -> list[Text]:
    """Tokenises each note's course and answer."""
    words = WORDS_AFTER[Prompt.DIAGNOSIS]
    course_ids = tokenizer(list(courses))["input_ids"]
    answers = tokenizer([words + text for text in diagnoses], add_special_tokens=False)["input_ids"]
    end = [tokenizer.eos_token_id]
    return [Text(course, answer[:ANSWER_ROOM] + end) for course, answer in zip(course_ids, answers, strict=True)]


def new_model(tokenizer: Any, cfg: PretrainConfig) -> Any:
    """Makes a LLaMA with random weights; its input and output words share their vectors."""
    from transformers import LlamaConfig, LlamaForCausalLM

    register_packed_attention()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=cfg.hidden_size,
        intermediate_size=cfg.intermediate_size,
        num_hidden_layers=cfg.layers,
        num_attention_heads=cfg.heads,
        max_position_embeddings=cfg.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation(PACKED)
    return model


def write_base(folder: Path, tokenizer: Any, model: Any, cfg: PretrainConfig, result: dict[str, float]) -> None:
    """Writes weights (bf16 safetensors), tokenizer and `pretrain.json`, the settings that made them."""
    model.set_attn_implementation("sdpa")
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {key: value for key, value in dataclasses.asdict(cfg).items() if key not in ("data", "out")}
    (folder / "pretrain.json").write_text(json.dumps({"settings": settings, "result": result}, indent=2) + "\n")


def _batches(texts: Sequence[Text], cfg: PretrainConfig, chance: random.Random) -> Iterator[tuple[Packed, Tensor]]:
    """Yields packed texts of about `batch_tokens` tokens with the weight of each token as a target, [T]."""
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


def _loss(model: Any, batch: Packed, weights: Tensor, device: str) -> Tensor:
    """Computes the weighted mean cross-entropy of each next token in nats; `weights` lie on the host."""
    targets = weights[1:].nonzero().squeeze(1)
    ids, positions, targets, counted = send(
        [batch.ids, batch.positions, targets, weights[1:][targets]], torch.device(device)
    )
    hidden = model.model(
        input_ids=ids[None],
        position_ids=positions[None],
        note_lengths=batch.lengths,
        use_cache=False,
    ).last_hidden_state[0]
    losses = cross_entropy(model.lm_head(hidden[:-1][targets]).float(), ids[1:][targets], reduction="none")
    return (losses * counted).sum() / counted.sum()


def _steps(model: Any, batches: list[tuple[Packed, Tensor]], cfg: PretrainConfig, device: str) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay, betas=(0.9, 0.95))
    warm = max(1, len(batches) // 50)
    clock = Clock(total=len(batches), what="pretraining", unit="step")
    for step, (batch, weights) in enumerate(batches):
        rate = min(1.0, (step + 1) / warm) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / len(batches))))
        for group in optimiser.param_groups:
            group["lr"] = cfg.lr * rate
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=cfg.bf16):
            loss = _loss(model, batch, weights, device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        clock.step(partial("loss {:.3f}".format, loss.detach()))


def _held_out_loss(model: Any, texts: Sequence[Text], cfg: PretrainConfig, device: str) -> float:
    even = dataclasses.replace(cfg, answer_weight=1.0, course_share=1.0)
    total = count = 0.0
    with torch.inference_mode():
        for batch, weights in _batches(texts, even, random.Random(0)):
            total += _loss(model, batch, weights, device).item() * float(weights[1:].sum())
            count += float(weights[1:].sum())
    return total / count
