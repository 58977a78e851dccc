"""Finds what a W&B dashboard of a sweep shows: its runs, how W&B finds them, and their results beside the paper's."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.config.train import WANDB_NAME, is_wandb_name
from src.display.tables import to_markdown
from src.reporting.run_tables import results_table
from src.runs.find import read_sweep
from src.runs.finished import Run
from src.runs.job import read_job
from src.runs.record import finished
from src.scaling_analysis.grid import gather
from src.scaling_analysis.result import Scaling
from src.scaling_analysis.run_sources import WANDB, read_source
from src.tracking.guard import LeakError, guarded_config, public_model


@dataclass(frozen=True)
class DashboardSource:
    """Names the runs that a dashboard shows.

    Attributes:
        name: of the dashboard.
        project: where they are in W&B.
        entity: whose project that is; empty for the login's own.
        groups: the W&B groups that they are in; empty where they have none, or all of a project is meant.
        cohorts: fingerprints, which stand for the group where there is none.
        runs: the finished ones.
    """

    name: str
    project: str
    entity: str
    groups: tuple[str, ...]
    cohorts: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def table(self) -> str:
        """Writes the results of its cells in Markdown, and below them what was published."""
        grid = gather([_public(run) for run in self.runs])
        scaling = Scaling(grid.grounds, grid.cells, grid.free, (), (), (), (), (), grid.notes, seed=0)
        return to_markdown(results_table(scaling).useful())


def dashboard_source(source: str, out: Path, project: str | None, entity: str | None) -> DashboardSource:
    """Finds the runs of a sweep, and where W&B has them.

    Args:
        source: a sweep's name, a folder of runs, `wandb:ENTITY/PROJECT` or `wandb:ENTITY/PROJECT/GROUP`.
        out: folder that holds the runs of a named sweep.
        project: W&B's; None for the one of the runs.
        entity: W&B's; None for the login's own.

    Raises:
        UserError: there is no such thing, its runs are in several projects, or a name may not go to W&B.
    """
    if source.startswith(WANDB):
        _checked("group", source.removeprefix(WANDB).split("/")[2:])
        runs = read_source(source).runs
        owner, wandb_project, *group = source.removeprefix(WANDB).split("/", 2)
        subject = DashboardSource(
            group[0] if group else wandb_project, project or wandb_project, entity or owner, tuple(group), (), runs
        )
    elif Path(source).is_dir():
        subject = _of_folder(Path(source), project, entity)
    else:
        subject = _of_sweep(source, out, project, entity)
    for noun, names in (("name", [subject.name]), ("project", [subject.project]), ("group", subject.groups)):
        _checked(noun, names)
    return subject


def _of_folder(folder: Path, project: str | None, entity: str | None) -> DashboardSource:
    runs = read_source(str(folder)).runs
    settings = [run.record.config["wandb"] for run in runs]
    groups = {setting["group"] for setting in settings}
    cohorts = sorted({run.record.cohort for run in runs})
    named_groups = () if None in groups else tuple(sorted(groups))
    name = folder.resolve().name
    return DashboardSource(
        name,
        project or _one_project(settings),
        entity or "",
        named_groups,
        () if named_groups else tuple(cohorts),
        runs,
    )


def _of_sweep(name: str, out: Path, project: str | None, entity: str | None) -> DashboardSource:
    folders = [out / cell["name"] for cell in read_sweep(out, name)["cells"]]
    settings = [read_job(folder)["config"]["wandb"] for folder in folders]
    groups = tuple(sorted({setting["group"] or name for setting in settings}))
    runs = read_source(name, out).runs if any(finished(folder) for folder in folders) else ()
    return DashboardSource(name, project or _one_project(settings), entity or "", groups, (), runs)


def _one_project(settings: Sequence[dict[str, Any]]) -> str:
    projects = {str(setting["project"]) for setting in settings}
    if len(projects) > 1:
        raise UserError(f"the runs are in W&B projects {', '.join(sorted(projects))}; name one by wandb.project=")
    return projects.pop()


def _public(run: Run) -> Run:
    """Gives the run a name of its model that W&B may see: one of known parts, or a hash.

    Raises:
        UserError: an axis has a value that may not go to W&B.
    """
    try:
        axes = guarded_config({**run.axes, "model": public_model(run.axes["model"])})
    except LeakError as error:
        raise UserError(f"{run.name}: {error}") from None
    return dataclasses.replace(run, record=dataclasses.replace(run.record, axes=axes))


def _checked(noun: str, names: Sequence[str]) -> None:
    if not all(map(is_wandb_name, names)):
        raise UserError(f"the {noun} of these runs may not go to W&B: it {WANDB_NAME}")
