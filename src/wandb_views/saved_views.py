"""Saves a sweep's workspace and report to a W&B server, and finds them again so that a second time replaces them."""

import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from src.cli.errors import UserError
from src.tracking.policy import ENVIRONMENT, end_wandb, logged_in
from src.wandb_views.dashboard_source import DashboardSource
from src.wandb_views.vega import CHARTS, chart_name
from src.wandb_views.views import DESCRIPTION, report_of, title_of, view_name, workspace_of

TIMEOUT_S = 20

REFUSED = (wandb.errors.Error, WandbApiFailedError, ValueError, OSError)
"""What W&B's two packages raise where the server is away or does not do as asked."""


def save_views(subject: DashboardSource) -> tuple[str, str]:
    """Saves workspace and report, and returns their addresses.

    A workspace goes by a name that follows from the sweep's, a report by its title and description: what is there
    already is replaced, changes that were made to it in a browser included.

    Raises:
        UserError: nobody is logged in, W&B does not answer, or it has no runs of the sweep.
    """
    if not logged_in():
        raise UserError("save=true: nobody is logged in to W&B; run wandb login, or set WANDB_API_KEY")
    os.environ.update(ENVIRONMENT)
    with _answering(subject):
        api = wandb.Api(timeout=TIMEOUT_S)
        subject = dataclasses.replace(subject, entity=subject.entity or str(api.default_entity))
        _has_runs(api, subject)
        workspace = workspace_of(subject)
        drawn = _replaces_known(workspace, view_name(subject))
        for kind in CHARTS:
            if f"{subject.entity}/{chart_name(kind)}" not in drawn:
                _save_chart(api, subject.entity, kind)
        workspace.save()
        return str(workspace.url), str(_known_report(api, subject, report_of(subject, on_server=True)).save().url)


@contextmanager
def _answering(subject: DashboardSource) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except REFUSED as error:
        raise UserError(
            f"save=true: W&B did not take the dashboard ({type(error).__name__}); is the machine online, the login "
            f"valid, and wandb.project={subject.project} yours to write?"
        ) from None
    finally:
        end_wandb()


def _has_runs(api: Any, subject: DashboardSource) -> None:
    filters = {"group": {"$in": list(subject.groups)}} if subject.groups else {}
    where = f"{subject.entity}/{subject.project}"
    has_runs = False
    with suppress(ValueError):  # there is no such project
        has_runs = bool(next(iter(api.runs(where, filters=filters, per_page=1)), None))
    if not has_runs:
        groups = f" of group {', '.join(subject.groups)}" if subject.groups else ""
        raise UserError(f"{where}: W&B holds no run{groups}; send them with python -m src.sync, or name wandb.project=")


def _save_chart(api: Any, entity: str, kind: str) -> None:
    """Saves a chart whose name follows from what it draws; W&B never changes a chart: one that is there is the same.

    W&B refuses a name that it has in the same words as any other, so that this is no error.
    """
    name = chart_name(kind)
    try:
        api.create_custom_chart(
            entity=entity, name=name, display_name=name, spec_type="vega2", access="private", spec=CHARTS[kind]()
        )
    except (wandb.errors.Error, WandbApiFailedError):
        print(f"W&B: the chart {entity}/{name} was not made; it may be there already", file=sys.stderr)


def _replaces_known(workspace: ws.Workspace, name: str) -> set[str]:
    """Gives the workspace the name, and the identity of the one that has it; returns the charts that one draws."""
    workspace._internal_name = name
    try:
        saved = ws.Workspace.from_url(workspace.url)
    except ValueError:  # there is none of that name
        return set()
    workspace._internal_id = saved._internal_id
    panels = [panel for section in saved.sections for panel in section.panels]
    return {panel.chart_name for panel in panels if isinstance(panel, wr.CustomChart)}


def _known_report(api: Any, subject: DashboardSource, report: wr.Report) -> wr.Report:
    for saved in api.reports(f"{subject.entity}/{subject.project}"):
        if (saved.display_name, saved.description) == (title_of(subject), DESCRIPTION):
            report.id = saved.id
    return report
