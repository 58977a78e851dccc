"""What a run would do and take, without doing it: `dry_run=true`."""

import dataclasses
import json

import numpy as np

from src.cohort.split import Split
from src.config.train import TrainConfig
from src.models.estimate import matrix_rate, memory_bytes, step_flop
from src.models.prompts import frame
from src.shell.progress import minutes
from src.training.fit import count_steps
from src.training.notes import split_rows, token_lengths
from src.training.session import open_session

EFFICIENCY = 0.6
"""Share of the matrix-product rate that training reaches: 0.68 to 0.83 measured at hidden 1024, less below."""


def print_plan(cfg: TrainConfig) -> None:
    """Prints the resolved configuration, token lengths, parameters, memory and time; never a note's text."""
    session = open_session(cfg)
    rows = split_rows(session.cohort, Split.TRAIN, cfg.data.limit)["row"].to_numpy()
    count = len(rows)
    around = frame(session.tokenizer, cfg.prompt, cfg.max_len).tokens
    lengths = token_lengths(session.tokens.lengths(rows) + around, cfg.max_len)
    parameters = session.parameters
    steps = count_steps(cfg, count)
    tokens = steps * cfg.batch_size * lengths["mean_kept"]
    held = memory_bytes(cfg, parameters, session.precision, cfg.batch_size * cfg.max_len)
    rate = matrix_rate(cfg, session.precision, session.device)
    seconds = step_flop(cfg, parameters, int(tokens)) / (rate * EFFICIENCY)
    print(json.dumps(dataclasses.asdict(cfg), indent=2))
    print(f"\ncohort {cfg.data.dir}: {count:,} training notes, {len(session.space.codes)} DRGs")
    print(
        f"tokens of {int(lengths['notes']):,} notes: mean {lengths['mean']:.0f}, median {lengths['median']:.0f}, ",
        end="",
    )
    print(f"p90 {lengths['p90']:.0f}, longest {lengths['longest']:.0f}")
    print(f"at max_len={cfg.max_len}: mean {lengths['mean_kept']:.0f}, {lengths['share_cut']:.1%} of the notes are cut")
    print(f"parameters: base {parameters.base:,}, adapters {parameters.adapters:,}, head {parameters.head:,}")
    print(f"trained: {parameters.trained:,} ({parameters.trained / (parameters.base + parameters.trained):.2%})")
    print(f"memory: about {held / 2**30:.1f} GiB on {session.device} in {session.precision}")
    print(f"steps: {steps:,} of {cfg.batch_size} notes, {np.ceil(tokens / 1e6):.0f} million tokens")
    print(
        f"time: about {minutes(seconds)} at {rate * EFFICIENCY / 1e12:.2f} TFLOP/s, measured on this machine just now"
    )
