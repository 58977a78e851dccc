"""Runs of a multirun over one copy of the frozen base, as `together=` asks."""

import dataclasses
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from src.baselines.systems import predictor_class
from src.cli.errors import UserError
from src.cli.signals import Stop
from src.config.train import TrainConfig
from src.runs.identity import check_names, run_dir
from src.runs.lock import exclusive
from src.runs.record import RunRecord, record_of, set_damaged_aside
from src.sweeps.single import Train, print_results, run_single
from src.training.divergence import Diverged
from src.training.llama import Llama, fit_llamas
from src.training.outcome import finish
from src.training.predictor import open_run
from src.training.run_data import open_data
from src.training.stopwatch import Stopwatch


def run_over_one_base(cfgs: Sequence[TrainConfig], name: str, train: Train) -> None:
    """Trains the unfinished runs of a multirun, those that can share a base over one; the others one by one."""
    check_names(cfgs)
    for cfg in cfgs:
        cfg.wandb.group = cfg.wandb.group or name
    left = [cfg for cfg in cfgs if not record_of(cfg, run_dir(cfg))]
    for cfg in left:
        if not predictor_class(cfg).has_base:
            run_single(cfg, train)
    diverged: list[Diverged] = []
    for group in groups_sharing_a_base([cfg for cfg in left if predictor_class(cfg).has_base]):
        runs = [(cfg, run_dir(cfg)) for cfg in group]
        print("runs over one base:\n  " + "\n  ".join(str(folder) for _, folder in runs), flush=True)
        with ExitStack() as stack:
            for _, folder in runs:
                stack.enter_context(exclusive(folder))
                set_damaged_aside(folder)
            diverged += train_what_stays_finite(runs)
    print_results([run_dir(cfg) for cfg in cfgs])
    if diverged:
        raise UserError("\n".join(map(str, diverged)))


def train_what_stays_finite(runs: Sequence[tuple[TrainConfig, Path]]) -> list[Diverged]:
    """Trains unfinished runs over one base; one that diverges is left, and the others go on from their checkpoints."""
    diverged: list[Diverged] = []
    left = list(runs)
    while left:
        try:
            train_over_one_base(left)
            break
        except Diverged as error:
            diverged.append(error)
            ended = {error.run_dir}
            left = [(cfg, folder) for cfg, folder in left if folder not in ended and not record_of(cfg, folder)]
    return diverged


def train_over_one_base(runs: Sequence[tuple[TrainConfig, Path]]) -> list[RunRecord]:
    """Trains unfinished runs over one copy of the frozen base, each to its own record."""
    clock, llamas = Stopwatch(), [Llama(open_data(cfg)) for cfg, _ in runs]
    with Stop() as stop, ExitStack() as stack:
        opened = [
            stack.enter_context(open_run(llama, folder, clock, stop))
            for llama, (_, folder) in zip(llamas, runs, strict=True)
        ]
        trained = zip(fit_llamas(llamas, opened), opened, strict=True)
        return [finish(llama, training, run) for (llama, training), run in trained]


def groups_sharing_a_base(cfgs: Sequence[TrainConfig]) -> list[list[TrainConfig]]:
    """Runs that can share a base: the same model, precision, cohort, length, prompt and device."""
    groups: dict[str, list[TrainConfig]] = {}
    for cfg in cfgs:
        model = {name: value for name, value in dataclasses.asdict(cfg.model).items() if name != "access"}
        process = [cfg.device, cfg.threads, cfg.deterministic]
        shared = [model, cfg.precision, str(cfg.cohort_dir), cfg.max_len, cfg.prompt, process]
        groups.setdefault(json.dumps(shared), []).append(cfg)
    return list(groups.values())
