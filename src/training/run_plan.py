"""What a run would do and take, without doing it: `dry_run=true`."""

import dataclasses
import json

from src.cli.progress import minutes
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.estimates.training_step import matrix_rate, step_flop
from src.models.prompts import prompt_template
from src.training.context import open_session
from src.training.memory import plan, remedies
from src.training.notes import split_rows, token_lengths
from src.training.shared_base import steps_of

EFFICIENCY = 0.6
"""Share of the matrix-product rate that training reaches: 0.68 to 0.83 measured at hidden 1024, less below."""


def print_plan(cfg: TrainConfig) -> None:
    """Prints the resolved configuration, token lengths, parameters, memory and time; never a note's text."""
    session = open_session(cfg)
    rows = split_rows(session.cohort, Split.TRAIN, cfg.data.limit)["row"].to_numpy()
    around = prompt_template(session.tokenizer, cfg.prompt, cfg.max_len).tokens
    lengths = token_lengths(session.tokens.lengths(rows) + around, cfg.max_len)
    parameters, steps = session.parameters, steps_of(session, session.notes(Split.TRAIN))
    tokens = sum(int(steps.notes.lengths[steps.rows(step)].sum()) for step in range(len(steps)))
    found = plan([session], [steps])
    rate = matrix_rate(cfg, session.precision, session.device) * EFFICIENCY * cfg.devices * cfg.nodes
    flop = step_flop(cfg.model, parameters, tokens, recompute=found.setting.recompute)
    print(json.dumps(dataclasses.asdict(cfg), indent=2))
    print(f"\ncohort {cfg.data.dir}: {len(rows):,} training notes, {len(session.space.codes)} {session.space.kind}")
    print(
        f"tokens of {int(lengths['notes']):,} notes: mean {lengths['mean']:.0f}, median {lengths['median']:.0f}, ",
        end="",
    )
    print(f"p90 {lengths['p90']:.0f}, longest {lengths['longest']:.0f}")
    print(f"at max_len={cfg.max_len}: mean {lengths['mean_kept']:.0f}, {lengths['share_cut']:.1%} of the notes are cut")
    print(f"parameters: base {parameters.base:,}, adapters {parameters.adapters:,}, head {parameters.head:,}")
    print(f"trained: {parameters.trained:,} ({parameters.trained / (parameters.base + parameters.trained):.2%})")
    held = found.memory
    print(
        f"memory: about {held.total / 2**30:.1f} GiB on {session.device} in {session.precision} "
        f"(base {held.base / 2**30:.1f}, trained {held.trained / 2**30:.1f}, a step {held.activations / 2**30:.1f}; "
        f"{found.free / 2**30:.1f} are free now)"
    )
    fits = "" if found.fits else f"; DOES NOT FIT: {remedies(session, steps, found.free)}"
    print(f"the fastest that fits: micro_batch={found.setting.notes} checkpointing={found.setting.recompute}{fits}")
    print(f"steps: {len(steps):,} of {cfg.batch_size} notes, {tokens / 1e6:.1f} million tokens, none of them padding")
    print(
        f"time: about {minutes(flop / rate)} at {rate / 1e12:.2f} TFLOP/s, from this machine's matrix products just now"
    )
