"""Trains a small base on next or on masked words, which makes it worth tuning.

Each training text is a hospital course followed by the note's Discharge Diagnosis section, behind the words
that `prompt=diagnosis` appends. Read at that place, the base has learnt to name what the course was about.
"""

import dataclasses
import json
import math
import random
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from src.cli.progress import Clock
from src.config.choices import Objective
from src.config.pretrain import PretrainConfig
from src.models import masked_words, next_words
from src.models.devices import best_kind, make_current, own
from src.models.pretraining_texts import encode

HELD_OUT = 0.02
"""Share of the training notes that only measures perplexity."""


def train_base(
    tokenizer: Any, courses: Sequence[str], diagnoses: Sequence[str], cfg: PretrainConfig
) -> tuple[Any, dict[str, float]]:
    """Trains a LLaMA or a BERT from random weights; returns it with its held-out perplexity and the seconds it took."""
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
    objective = masked_words if cfg.objective is Objective.MASKED else next_words
    model = objective.new_model(tokenizer, cfg).to(device)
    batches = [list(objective.draw(taught, tokenizer, cfg, chance)) for _ in range(cfg.epochs)]
    _steps(model, objective, [batch for epoch in batches for batch in epoch], cfg, device)
    even = dataclasses.replace(cfg, answer_weight=1.0, course_share=1.0)
    total = count = 0.0
    with torch.inference_mode():
        for batch in objective.draw(held_out, tokenizer, even, random.Random(0)):
            weight = objective.weight(batch)
            total += objective.loss(model, batch, device).item() * weight
            count += weight
    measured = {"perplexity": math.exp(total / count), "notes": len(taught)}
    return model, {**measured, "seconds": round(time.monotonic() - start, 1)}


def write_base(folder: Path, tokenizer: Any, model: Any, cfg: PretrainConfig, result: dict[str, float]) -> None:
    """Writes weights (bf16 safetensors), tokenizer and `pretrain.json`, the settings that made them."""
    model.set_attn_implementation("sdpa")
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {key: value for key, value in dataclasses.asdict(cfg).items() if key not in ("data", "out")}
    (folder / "pretrain.json").write_text(json.dumps({"settings": settings, "result": result}, indent=2) + "\n")


def _steps(model: Any, objective: ModuleType, batches: list[Any], cfg: PretrainConfig, device: str) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay, betas=(0.9, 0.95))
    warm = max(1, len(batches) // 50)
    clock = Clock(total=len(batches), what="pretraining", unit="step")
    for step, batch in enumerate(batches):
        rate = min(1.0, (step + 1) / warm) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / len(batches))))
        for group in optimiser.param_groups:
            group["lr"] = cfg.lr * rate
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=cfg.bf16):
            loss = objective.loss(model, batch, device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        clock.step(partial("loss {:.3f}".format, loss.detach()))
