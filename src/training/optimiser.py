"""AdamW, as every run is trained with it: its groups of weights, and the course of their learning rates."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW

from src.config.choices import Precision, Schedule
from src.config.train import TrainConfig
from src.models.classifier import Classifier


def adamw(weights: Sequence[Tensor], lr: float, weight_decay: float) -> AdamW:
    """Makes AdamW; on CUDA as one kernel over all weights, which asks the host for nothing."""
    return AdamW(weights, lr=lr, weight_decay=weight_decay, fused=weights[0].is_cuda)


def optimiser_of(classifier: Classifier, cfg: TrainConfig, precision: Precision) -> AdamW:
    """Makes the AdamW of a run; each group's `initial_lr` is its peak rate.

    LoRA+ has a group for A and one for B (peft's `create_loraplus_optimizer`), and `head_lr` one for the head.
    """
    *adapters, head = classifier.leaves(apart=cfg.lora.plus is not None)
    # Of torch's kinds the fused one alone leaves a step out where the device says so.
    fused = head.is_cuda or precision is Precision.FP16
    whole = cfg.lora.plus is None and cfg.head_lr is None
    if cfg.lora.plus is None:
        weights = [*adapters, head] if whole else adapters
        optimiser = AdamW(weights, lr=cfg.lr, weight_decay=cfg.weight_decay, fused=fused)
    else:
        optimiser = _lora_plus(classifier, cfg, cfg.lora.plus, fused)
    if not whole:
        optimiser.add_param_group({"params": [head], "lr": cfg.head_lr or cfg.lr})
    for group in optimiser.param_groups:
        group["initial_lr"] = group["lr"]
    return optimiser


def _lora_plus(classifier: Classifier, cfg: TrainConfig, ratio: float, fused: bool) -> AdamW:
    from peft.optimizers import create_loraplus_optimizer

    backbone: Any = classifier.backbone
    options = {"weight_decay": cfg.weight_decay, "loraplus_weight_decay": cfg.weight_decay, "fused": fused}
    made: Any = create_loraplus_optimizer(backbone, AdamW, lr=cfg.lr, loraplus_lr_ratio=ratio, **options)
    own = set(map(id, classifier.adapters.weights))  # others' adapters may lie on the same base
    for group in made.param_groups:
        group["params"] = [weight for weight in group["params"] if id(weight) in own]
    optimiser: AdamW = made
    return optimiser


def rate_factor(cfg: TrainConfig, steps: int) -> Callable[[int], float]:
    """Returns the factor on the peak learning rates by the number of steps done: transformers' own schedules."""
    if cfg.schedule is Schedule.LINEAR and not cfg.warmup:
        return lambda step: 1 - step / steps  # transformers' differs in the last bit
    from transformers.optimization import get_scheduler

    name = "constant_with_warmup" if cfg.schedule is Schedule.CONSTANT else str(cfg.schedule)
    nothing = SGD([torch.zeros(1)], lr=1.0)
    scheduler = get_scheduler(name, nothing, math.ceil(cfg.warmup * steps), steps)
    factor: Callable[[int], float] = scheduler.lr_lambdas[0]
    return factor
