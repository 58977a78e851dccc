"""Starts what was composed: here, or on the launcher that the command line names."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.cli.compose import CommandLine, Composed, Point, spelt, to_schema
from src.cli.errors import UserError
from src.cli.files import check_folder
from src.config.choices import Together
from src.config.train import TrainConfig

if TYPE_CHECKING:
    from src.sweeps.single import Train


def launch(line: CommandLine, composed: Composed[TrainConfig], train: "Train") -> None:
    """Runs one configuration in this process, or those of a multirun on their launcher.

    `together=` names a launcher of its own: runs over one copy of the frozen base.

    Raises:
        UserError: a configuration cannot be run, or runs of a multirun failed.
    """
    from src.runs.identity import run_dir
    from src.sweeps.single import print_results, run_single

    first, name = composed.points[0], sweep_name(line)
    for out in {point.config.out for point in composed.points if not point.config.dry_run}:
        check_folder(Path(out), "name another with out=")
    for left_out in composed.dropped:
        print(left_out, file=sys.stderr)
    _say_unread(composed.points)
    if composed.space:
        run_trials(name, composed)
    elif not composed.multirun:
        if (launcher := first.launcher.get("kind", "processes")) != "processes":
            raise UserError(f"hydra/launcher={launcher}: is for multiruns; add -m")
        for word in composed.overrides:
            if word.startswith("hydra.") and not word.startswith("hydra.mode="):
                print(f"{word}: changes nothing of a single run", file=sys.stderr)
        run_single(first.config, train)
    elif first.config.together is not Together.NO and not first.config.dry_run:
        from src.sweeps.launchers.shared_base import run_over_one_base

        run_over_one_base([point.config for point in composed.points], name, train)
    elif "kind" in first.launcher:
        run_grid(name, composed)
    else:
        run_by_hydra(line, train)
        if not first.config.dry_run:
            print_results([run_dir(point.config) for point in composed.points])


def _say_unread(points: Sequence[Point[TrainConfig]]) -> None:
    """Says which typed words no system of the command reads; where they vary, the sweep says which cells are one."""
    from src.runs.identity import unread
    from src.training.ranks import is_rank_zero

    common = [word for word in points[0].words if all(word in point.words for point in points)]
    unread_by_all = set.intersection(*(set(unread(point.config.model.kind)) for point in points))
    keys = [key for key in (word.partition("=")[0] for word in common) if key in unread_by_all]
    if keys and is_rank_zero(points[0].config):
        names = ",".join(dict.fromkeys(point.config.model.name for point in points))
        end = "it is left out" if len(keys) == 1 else "they are left out"
        print(f"model={names}: does not read {', '.join(keys)}; {end}", file=sys.stderr)


def sweep_name(line: CommandLine) -> str:
    """Returns the name of the file in `sweeps/` that asks, or `multirun`."""
    return line.config_name if line.config_name != "train" else "multirun"


def run_grid(name: str, composed: Composed[TrainConfig]) -> None:
    """Runs a grid on the launcher that `hydra/launcher=` names; or only says what it would take."""
    from src.sweeps.sweep import plan_jobs, run_sweep

    jobs = plan_jobs(name, composed.points)
    if composed.points[0].config.dry_run:
        from src.sweeps.dry_run import print_costs

        print_costs(name, jobs)
        return
    run_sweep(name, jobs)


def run_trials(name: str, composed: Composed[TrainConfig]) -> None:
    """Runs a search; or only says what it would try."""
    from src.sweeps.tuning import plan_search, print_search, run_search

    search = plan_search(name, composed)
    if search.cfg.dry_run:
        print_search(search)
    else:
        run_search(search, composed.overrides)


def run_by_hydra(line: CommandLine, train: "Train") -> None:
    """Lets Hydra run each job of a multirun on a launcher that is not ours."""
    from src.sweeps.single import run_single

    def task(config: Any) -> None:
        cfg = to_schema(TrainConfig, config)
        cfg.wandb.group = cfg.wandb.group or sweep_name(line)
        run_single(cfg, train)  # Hydra keeps a job's exception, runs the others, and raises it at the end

    _hydra(line, task)


def show(line: CommandLine) -> None:
    """Lets Hydra print what `--help`, `--cfg` or `--info` asks for."""
    _hydra(line, lambda config: None)


def _hydra(line: CommandLine, task: Any) -> None:
    import hydra

    flags = [word for word in sys.argv[1:] if word not in line.overrides]
    sys.argv = [sys.argv[0], *flags, *line.search_path, *spelt(TrainConfig, line).overrides]
    hydra.main(version_base="1.3", config_path=str(line.home.absolute()), config_name=line.config_name)(task)()
