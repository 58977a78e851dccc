"""What a W&B dashboard of a sweep is of: its runs and how W&B finds them, and the table of results beside the paper's."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.analysis.cells import gather
from src.analysis.report_tables import results_table
from src.analysis.runs import Run
from src.analysis.scaling import Scaling
from src.analysis.sources import WANDB, Source, read_source
from src.analysis.tables import to_markdown
from src.evaluation.record import finished
from src.shell.errors import UserError
from src.sweeps.cell import config_of
from src.sweeps.record import read_sweep
from src.tracking.guard import NAME

EMPTY = Source(())


@dataclass(frozen=True)
class Subject:
    """The runs that a dashboard shows.

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
        """The results of its cells in Markdown, and below them what was published."""
        grid = gather([_public(run) for run in self.runs])
        scaling = Scaling(grid.grounds, grid.cells, grid.free, (), (), (), (), (), grid.notes, seed=0)
        return to_markdown(results_table(scaling).useful())


def subject_of(source: str, out: Path, project: str | None, entity: str | None) -> Subject:
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
        runs = read_source(source).runs
        owner, found, *group = source.removeprefix(WANDB).split("/", 2)
        subject = Subject(group[0] if group else found, project or found, entity or owner, tuple(group), (), runs)
    elif Path(source).is_dir():
        subject = _of_folder(Path(source), project, entity)
    else:
        subject = _of_sweep(source, out, project, entity)
    for what, value in (("name", subject.name), ("project", subject.project), ("entity", subject.entity)):
        _checked(what, value)
    for group_name in subject.groups:
        _checked("group", group_name)
    return subject


def _of_folder(folder: Path, project: str | None, entity: str | None) -> Subject:
    runs = read_source(str(folder)).runs
    told = [run.record["config"]["wandb"] for run in runs]
    groups = {each["group"] for each in told}
    cohorts = sorted({str(run.record["cohort"]) for run in runs})
    known = () if None in groups else tuple(sorted(groups))
    name = folder.resolve().name
    return Subject(name, project or _one_project(told), entity or "", known, () if known else tuple(cohorts), runs)


def _of_sweep(name: str, out: Path, project: str | None, entity: str | None) -> Subject:
    folders = [out / cell["name"] for cell in read_sweep(out, name)["cells"]]
    told = [dataclasses.asdict(config_of(folder).wandb) for folder in folders]
    groups = tuple(sorted({each["group"] or name for each in told}))
    runs = read_source(name, out).runs if any(map(finished, folders)) else ()
    return Subject(name, project or _one_project(told), entity or "", groups, (), runs)


def _one_project(told: Sequence[dict[str, Any]]) -> str:
    projects = {str(each["project"]) for each in told}
    if len(projects) > 1:
        raise UserError(f"the runs are in several W&B projects, {', '.join(sorted(projects))}; name one: wandb.project=")
    return projects.pop()


def _public(run: Run) -> Run:
    """The run under a name of its model that may go to W&B."""
    axes = dict(run.axes)
    for axis, value in axes.items():
        if isinstance(value, str):
            _checked(axis, value)
    return run


def _checked(what: str, value: str) -> None:
    if value and not NAME.fullmatch(value):
        raise UserError(
            f"the {what} of these runs may not go to W&B: only letters, digits and -_.+ may, at most 40 of them"
        )
