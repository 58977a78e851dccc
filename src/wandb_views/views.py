"""Builds a W&B workspace and a W&B report of a sweep, and writes them as JSON."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wandb_workspaces.expr as expr
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from src.cli.files import atomic_write
from src.display.catalog import MAIN, STEP
from src.wandb_views.dashboard_source import DashboardSource
from src.wandb_views.panels import COLUMNS, DashboardSection, dashboard_sections
from src.wandb_views.vega import CHARTS, chart_name

WIDTH, HEIGHT = 24, 9
"""Of a report's grid, in its own units."""

OWNER = "ENTITY"
"""Stands for the owner of the custom charts in files that no server has seen."""

DESCRIPTION = "Written by python -m src.dashboard, which writes it anew."
"""By this and its title a report is known again."""

INTRODUCTION = (
    "How well LLaMAs of several sizes, contexts and LoRA ranks predict MS-DRGs from hospital courses, run by run as "
    "they finish. Everything here is a number of a whole test set, its interval, or a setting; no admission, no note."
)


def workspace_of(subject: DashboardSource) -> ws.Workspace:
    """Builds the workspace without saving it; nothing is asked of a server."""
    return ws.Workspace(
        entity=subject.entity,
        project=subject.project,
        name=title_of(subject),
        sections=[_section(part) for part in _parts(subject)],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=_filters(subject),
            order=[expr.Ordering(expr.Summary(MAIN), ascending=False)],
            pinned_columns=list(COLUMNS),
        ),
    )


def report_of(subject: DashboardSource, on_server: bool = False) -> wr.Report:
    """Builds the report without saving it; `on_server` binds its runs to their project, which asks the server."""
    where = {"entity": subject.entity, "project": subject.project} if on_server else {}
    blocks: list[Any] = [wr.P(INTRODUCTION), wr.TableOfContents()]
    for part in _parts(subject):
        blocks += [wr.H2(part.title), *([wr.P(part.about)] if part.about else [])]
        if all(isinstance(panel, wr.MarkdownPanel) for panel in part.panels):
            blocks += [wr.MarkdownBlock(panel.markdown) for panel in part.panels]
        else:
            runs = wr.Runset(name=subject.name, filters=_filters(subject), **where)
            blocks.append(wr.PanelGrid(runsets=[runs], panels=_laid_out(part)))
    return wr.Report(
        entity=subject.entity,
        project=subject.project,
        title=title_of(subject),
        description=DESCRIPTION,
        blocks=blocks,
        width="fluid",
    )


def write_views(subject: DashboardSource, to: Path) -> list[Path]:
    """Writes workspace, report and the charts that they draw as JSON, each whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    specs: dict[str, Any] = {
        "workspace": workspace_of(subject)._to_model().spec.model_dump(mode="json", by_alias=True, exclude_none=True),
        "report": report_of(subject)._to_model().spec.model_dump(mode="json", by_alias=True, exclude_none=True),
        **{chart_name(kind): make() for kind, make in CHARTS.items()},
    }
    written = []
    for name, spec in specs.items():
        with atomic_write(to / f"{name}.json") as tmp:
            tmp.write_text(json.dumps(spec, indent=1) + "\n", "utf-8")
        written.append(to / f"{name}.json")
    return written


def title_of(subject: DashboardSource) -> str:
    """Names both workspace and report after the sweep."""
    return f"DRG-LLaMA {subject.name}"


def view_name(subject: DashboardSource) -> str:
    """Names the workspace as the server knows it again, in the form that W&B gives its own."""
    return f"nw-drg{hashlib.sha256(subject.name.encode()).hexdigest()[:8]}-v"


def _parts(subject: DashboardSource) -> Iterator[DashboardSection]:
    return dashboard_sections(subject.entity or OWNER, subject.table)


def _section(part: DashboardSection) -> ws.Section:
    panels = [*([wr.MarkdownPanel(part.about)] if part.about else []), *part.panels]
    rows = -(-len(panels) // part.columns)
    return ws.Section(
        name=part.title,
        panels=panels,
        is_open=True,
        layout_settings=ws.SectionLayoutSettings(columns=part.columns, rows=rows),
        panel_settings=ws.SectionPanelSettings(x_axis=STEP),
    )


def _filters(subject: DashboardSource) -> Any:
    if subject.groups:
        return expr.And(expr.Metric("Group").isin(list(subject.groups)))
    return expr.And(expr.Config("cohort").isin(list(subject.cohorts))) if subject.cohorts else ""


def _laid_out(part: DashboardSection) -> list[Any]:
    width = WIDTH // part.columns
    for index, panel in enumerate(part.panels):
        row, column = divmod(index, part.columns)
        panel.layout = wr.Layout(x=column * width, y=row * HEIGHT, w=width, h=HEIGHT)
    return list(part.panels)
