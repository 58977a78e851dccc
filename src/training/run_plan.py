"""Foretells what a run over a frozen base would read and take."""

import dataclasses
from functools import cache

import numpy as np

from src.cli.progress import minutes
from src.cohort.split import Split
from src.config.choices import Precision
from src.config.train import TrainConfig
from src.estimates.memory import GIB, remedies
from src.estimates.time import SHARE_OF_PRODUCTS, expected_work, run_seconds
from src.models.bases import computing
from src.models.devices import is_cpu, matrix_rate
from src.models.prompts import prompt_template
from src.training.batches import steps_of
from src.training.memory import plan, planned_run
from src.training.notes import split_rows, token_lengths
from src.training.run_data import RunData


def plan_lines(data: RunData) -> list[str]:
    """Foretells token lengths, parameters, memory and time of a run over a frozen base; never a note's text."""
    cfg = data.cfg
    template_tokens = prompt_template(data.tokenizer, cfg.prompt, cfg.max_len).tokens
    rows = {split: split_rows(data.cohort, split, cfg.data.limit)["row"].to_numpy() for split in Split}
    full_lengths = {split: data.tokens.lengths(rows[split]) + template_tokens for split in Split}
    lengths = token_lengths(full_lengths[Split.TRAIN], cfg.max_len)
    parameters, steps = data.parameters, steps_of(cfg, data.tokenised(Split.TRAIN))
    tokens = sum(int(steps.notes.lengths[steps.rows(step)].sum()) for step in range(len(steps)))
    work = expected_work(cfg, {split: np.minimum(of_split, cfg.max_len) for split, of_split in full_lengths.items()})
    work = dataclasses.replace(work, trained=tokens)
    planned, on_gpu = plan([data], [steps]), not is_cpu(data.device)
    rate = rate_here(cfg, data.precision, data.device) * cfg.devices * cfg.nodes
    seconds = run_seconds(cfg, parameters, work, rate, recompute=planned.setting.recompute, on_gpu=on_gpu)
    peak, setting = planned.memory, planned.setting
    hint = "" if planned.fits else f"; DOES NOT FIT: {remedies(planned_run(data, steps), planned.free)}"
    return [
        f"cohort {cfg.cohort_dir}: {len(rows[Split.TRAIN]):,} training notes, "
        f"{len(data.space.codes)} {data.space.kind}",
        f"tokens of {int(lengths['notes']):,} notes: mean {lengths['mean']:.0f}, median {lengths['median']:.0f}, "
        f"p90 {lengths['p90']:.0f}, longest {lengths['longest']:.0f}",
        f"at max_len={cfg.max_len}: mean {lengths['mean_kept']:.0f}, {lengths['share_cut']:.1%} of the notes are cut",
        f"parameters: base {parameters.base:,}, adapters {parameters.adapters:,}, head {parameters.head:,}",
        f"trained: {parameters.trained:,} ({parameters.trained / (parameters.base + parameters.trained):.2%})",
        f"memory: about {peak.total / GIB:.1f} GiB on {data.device} in {data.precision} "
        f"(base {peak.base / GIB:.1f}, trained {peak.trained / GIB:.1f}, a step {peak.activations / GIB:.1f}; "
        f"{planned.free / GIB:.1f} are free now)",
        f"the fastest that fits: micro_batch={setting.notes} checkpointing={setting.recompute}{hint}",
        f"steps: {len(steps):,} of {cfg.batch_size} notes, {tokens / 1e6:.1f} million tokens, none of them padding",
        f"time: about {minutes(seconds)} at {rate / 1e12:.2f} TFLOP/s, from this machine's matrix products just now",
    ]


_products = cache(matrix_rate)


def rate_here(cfg: TrainConfig, precision: Precision, device: str) -> float:
    """Measures the floating-point operations a second that training reaches on this device, once for each model."""
    rows, dtype = min(cfg.batch_size * cfg.max_len, 2048), computing(precision, device)
    return _products(rows, cfg.model.hidden_size, cfg.model.intermediate_size, dtype, device) * SHARE_OF_PRODUCTS
