"""Out of memory: what would fit."""

import dataclasses
import math
from collections.abc import Iterator

from src.config.train import Precision, TrainConfig

GIB = 2**30


def out_of_memory_line(cfg: TrainConfig, width: int, device: str, precision: Precision) -> str:
    """One line: what the run needs, what there is, and the smallest change that would fit.

    Args:
        cfg: the run that did not fit.
        width: logits of its head.
        device: `cpu` or `cuda...`.
        precision: the base's number format, decided.
    """
    from src.models.devices import all_bytes

    needed, room = needs(cfg, width, precision, device), all_bytes(device)
    head = f"out of memory: about {needed / GIB:.1f} GiB needed, {room / GIB:.1f} GiB on {device}"
    return f"{head}; {fitting(cfg, width, precision, room, device)}"


def fitting(cfg: TrainConfig, width: int, precision: Precision, room: float, device: str) -> str:
    """The smallest change with which a run would fit into `room` bytes and take less than it does, in words."""
    limit = 0.9 * min(room, needs(cfg, width, precision, device, 0.0))
    for words, change, kind in _smaller(cfg, precision, device):
        if (needed := needs(change, width, kind, device, 0.0)) < limit:
            return f"{words} would take about {needed / GIB:.1f} GiB"
    return "no smaller setting fits; take a smaller model or a larger device"


def needs(cfg: TrainConfig, width: int, precision: Precision, device: str, room: float = math.inf) -> float:
    """Bytes of a training step at its fastest setting that fits into `room`; of the smallest where none does."""
    from src.estimates.training_step import count_parameters, memory
    from src.models.devices import is_cpu
    from src.training.memory import settings

    parameters, held = count_parameters(cfg, width), math.inf
    for setting in settings(cfg.batch_size, cfg.micro_batch, cfg.checkpointing):
        tokens, on_gpu = setting.notes * cfg.max_len, not is_cpu(device)
        held = memory(cfg, parameters, precision, tokens=tokens, recompute=setting.recompute, on_gpu=on_gpu).total
        if held < room:
            break
    return held


def _smaller(cfg: TrainConfig, precision: Precision, device: str) -> Iterator[tuple[str, TrainConfig, Precision]]:
    """Changes from the one that costs least to the one that costs most; each holds those before it."""
    from src.models.devices import is_cpu

    words = []
    if cfg.micro_batch not in (None, 1):
        cfg, words = dataclasses.replace(cfg, micro_batch=1), ["micro_batch=1"]
        yield " ".join(words), cfg, precision
    if cfg.checkpointing is False:
        cfg, words = dataclasses.replace(cfg, checkpointing=True), [*words, "checkpointing=true"]
        yield " ".join(words), cfg, precision
    if precision is Precision.FP32:
        precision = Precision.BF16
        words = [*words, "precision=bf16"]
        yield " ".join(words), cfg, precision
    if not is_cpu(device) and precision is Precision.BF16:
        yield " ".join([*words, "precision=nf4"]), cfg, Precision.NF4
    while cfg.max_len > 128:
        cfg = dataclasses.replace(cfg, max_len=cfg.max_len // 2)
        yield " ".join([*words, f"max_len={cfg.max_len}"]), cfg, precision
