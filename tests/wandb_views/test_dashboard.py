import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from src.cli.compose import to_schema
from src.cli.errors import UserError
from src.config.train import TrainConfig
from src.display.published import PUBLISHED
from src.runs.finished import Run
from src.runs.history import read_history
from src.runs.job import Job, write_job
from src.runs.record import read_record
from src.sweeps.manifest import write_sweep
from src.testing.wandb_here import WandbHere
from src.tracking.flat import flat
from src.wandb_views.dashboard_source import DashboardSource, dashboard_source
from src.wandb_views.vega import CHARTS, chart_name

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sweep(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of the name `small` with the records of three runs and one cell that waits."""
    out = tmp_path_factory.mktemp("sweep")
    cells = []
    for name, run in {**runs, "waits": runs["single"]}.items():
        record = json.loads((run / "result.json").read_text())
        cells.append(Job(out / f"cell-{name}", to_schema(TrainConfig, record["config"]), [f"labels={name}"], {}))
        cells[-1].folder.mkdir()
        write_job(cells[-1], record["cohort"])
        if name != "waits":
            for kept in ("result.json", "history.jsonl"):
                (cells[-1].folder / kept).write_bytes((run / kept).read_bytes())
    write_sweep(out, "small", cells)
    return out


@pytest.fixture(scope="module")
def subject(sweep: Path) -> DashboardSource:
    return dashboard_source("small", sweep, None, "researcher")


@pytest.fixture(scope="module")
def workspace(subject: DashboardSource) -> Json:
    from src.wandb_views.views import workspace_of

    return dict(json.loads(workspace_of(subject)._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)))


@pytest.fixture(scope="module")
def report(subject: DashboardSource) -> Json:
    from src.wandb_views.views import report_of

    return dict(json.loads(report_of(subject)._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbHere]:
    """A server that holds one run of the sweep's group."""
    with WandbHere() as here:
        for name, value in here.env().items():
            if name.startswith("WANDB_") or name == "NO_PROXY":
                monkeypatch.setenv(name, value)
        told = {"project": "drg-llama", "name": "r1", "groupName": "small", "config": "{}"}
        asked = {"query": "mutation UpsertBucket {}", "variables": told}
        assert here.reply("POST", "/graphql", "", json.dumps(asked).encode(), "")[0] == 200
        yield here


def panels(spec: Any) -> list[Json]:
    if isinstance(spec, list):
        return [panel for each in spec for panel in panels(each)]
    if not isinstance(spec, dict):
        return []
    return [spec] if "viewType" in spec else [panel for each in spec.values() for panel in panels(each)]


def drawn(panel: Json) -> set[str]:
    """Every name of something that runs log, with the place where W&B looks for it."""
    config, kind = panel["config"], panel["viewType"]
    if kind == "Vega2":
        (query,) = config["userQuery"]["queryFields"]
        (summary,) = [field for field in query["fields"] if field["name"] == "summary"]
        keys = summary["args"][0]["value"]
        assert set(config["fieldSettings"].values()) == set(keys)
        return {f"summary:{key}" for key in keys}
    if kind == "Scatter Plot":
        return {config["xAxis"], config["yAxis"], config["zAxis"]}
    if kind == "Parallel Coordinates Plot":
        return {column["accessor"] for column in config["columns"]}
    if kind == "Run History Line Plot":
        return {f"history:{name}" for name in [config["xAxis"], *config["metrics"]]}
    assert kind in ("Markdown Panel", "Run Comparer"), kind
    return set()


def test_every_panel_draws_what_runs_log(workspace: Json, report: Json, runs: dict[str, Path]) -> None:
    known = {
        "history:trainer/global_step",
        "history:_runtime",
        "history:train/gpu_memory_gib",
        "history:train/gpu_percent",
    }  # no GPU here
    for run in runs.values():
        record = read_record(run)
        known |= {f"config:{axis}.value" for axis in record.axes} | {f"summary:{name}" for name in flat(record)}
        known |= {f"history:{name}" for name in read_history(run)}
    for spec in (workspace, report):
        names = [drawn(panel) for panel in panels(spec)]
        assert len([each for each in names if each]) >= 25
        assert set().union(*names) <= known


def test_workspace_and_report_have_the_same_panels(workspace: Json, report: Json) -> None:
    def kinds(spec: Json) -> list[str]:
        return [panel["viewType"] for panel in panels(spec) if panel["viewType"] != "Markdown Panel"]

    assert kinds(workspace) == kinds(report)
    assert set(kinds(workspace)) == {
        "Vega2", "Scatter Plot", "Parallel Coordinates Plot", "Run Comparer", "Run History Line Plot",
    }  # fmt: skip


def test_both_show_the_sweeps_group_alone(workspace: Json, report: Json) -> None:
    grids = [block["metadata"] for block in report["blocks"] if block["type"] == "panel-grid"]
    sets = [run_set for owner in [workspace["section"], *grids] for run_set in owner["runSets"]]
    assert len(sets) == 8
    for run_set in sets:
        (only,) = run_set["filters"]["filters"]
        assert only["key"] == {"section": "run", "name": "group"}
        assert (only["op"], only["value"], only["disabled"]) == ("IN", ["small"], False)


def test_a_folder_of_runs_without_a_group_is_found_by_its_cohort(sweep: Path) -> None:
    subject = dashboard_source(str(sweep), Path("unused"), None, None)
    (run, *_) = subject.runs
    assert subject.groups == ()
    assert subject.cohorts == (run.record.cohort,)


def test_every_panel_comes_back_from_its_json(workspace: Json, report: Json) -> None:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.reports.v2.internal as reports
    import wandb_workspaces.workspaces as ws
    import wandb_workspaces.workspaces.internal as workspaces

    view = {"entity": "e", "project": "p", "display_name": "d", "name": "n", "id": "1"}
    loaded = ws.Workspace._from_model(
        workspaces.View(**view, spec=workspaces.WorkspaceViewspec.model_validate(workspace))
    )
    again = json.loads(loaded._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
    assert again == workspace
    told = {"displayName": "d", "project": {"name": "p", "entityName": "e"}, "spec": json.dumps(report)}
    model = wr.Report._from_model(reports.ReportViewspec.model_validate(told))._to_model()
    back = json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
    assert {**back, "width": "fluid"} == report  # the loader forgets the width, and nothing else


def test_the_published_figures_stand_below_the_sweeps_own(workspace: Json, subject: DashboardSource) -> None:
    (table,) = [panel["config"]["value"] for panel in panels(workspace) if "| system |" in str(panel["config"])]
    rows = table.strip().split("\n")[4:]
    assert len(rows) == len(subject.runs) + len(PUBLISHED)
    assert all("| here |" in row for row in rows[: len(subject.runs)])
    for row, published in zip(rows[len(subject.runs) :], PUBLISHED, strict=True):
        for value in published.metrics.values():
            assert f"{value:.3f}" in row


def test_a_sweep_of_which_nothing_is_finished_has_a_dashboard(sweep: Path, tmp_path: Path) -> None:
    record = json.loads((sweep / "cell-single" / "result.json").read_text())
    cell = Job(tmp_path / "cell-1", to_schema(TrainConfig, record["config"]), [], {})
    cell.folder.mkdir()
    write_job(cell, record["cohort"])
    write_sweep(tmp_path, "begun", [cell])
    subject = dashboard_source("begun", tmp_path, None, None)
    assert (subject.runs, subject.groups, subject.project) == ((), ("begun",), "drg-llama")
    assert "DRG-LLaMA-13B" in subject.table


def charted(kind: str, settings: Json, rows: list[Json]) -> Json:
    """A chart as W&B fills it in: its fields, its strings, and a row a run."""
    text = json.dumps(CHARTS[kind]())
    assert set(re.findall(r"\$\{field:(\w+)\}", text)) == set(settings["fieldSettings"])
    assert set(re.findall(r"\$\{string:(\w+)\}", text)) == set(settings["stringSettings"])
    text = re.sub(r"\$\{field:(\w+)\}", lambda found: settings["fieldSettings"][found[1]], text)
    text = re.sub(r"\$\{string:(\w+)\}", lambda found: settings["stringSettings"][found[1]], text)
    return {**json.loads(text), "data": {"values": rows}}


def grid() -> list[Json]:
    """Two sizes, three contexts, two seeds; a baseline, and a run that goes on."""
    rows = []
    for params in (400_000, 6_600_000_000):
        for max_len in (128, 512, 1024):
            for seed in (0, 1):
                value = 0.1 + max_len / 10_000 + seed / 100 + (params > 1e6) / 10
                row = {"axes/params": params, "axes/max_len": max_len, "axes/lora_r": 8, "axes/labels": 0}
                row |= {"cost/device_hours": params * max_len / 1e9, "tokens_seen": max_len * 1000}
                for metric in ("test/macro_f1", "test/accuracy"):
                    row |= {metric: value, f"{metric}/low": value - 0.01, f"{metric}/high": value + 0.01}
                rows.append({"name": f"r{len(rows)}", **row})
    return [*rows, {**rows[0], "name": "tfidf", "axes/params": 0}, {"name": "going", "axes/params": 400_000}]


def test_a_line_is_drawn_for_each_context_size_and_a_front_for_each_cost(workspace: Json) -> None:
    lines = {"axes/params": 3, "axes/max_len": 2, "axes/lora_r": 6}  # of one rank, a point for each size and context
    seen = []
    for panel in panels(workspace):
        if panel["viewType"] != "Vega2":
            continue
        owner, _, name = panel["config"]["panelDefId"].partition("/")
        (kind,) = [kind for kind in CHARTS if name == chart_name(kind)]
        svg = vl_convert.vegalite_to_svg(charted(kind, panel["config"], grid()), vl_version="5.20")
        paths = re.findall(r'aria-roledescription="line mark"[^>]*d="M([^"]*)"', svg)
        x = panel["config"]["fieldSettings"].get("x")
        assert owner == "researcher"
        assert len(paths) == (lines[x] if kind == "lines" else 1), (kind, x)
        seen.append(kind)
    assert (seen.count("lines"), seen.count("front")) == (6, 4)


def test_the_front_never_falls() -> None:
    fields = {name: f"axes/{name}" for name in ("params", "max_len", "lora_r", "labels")}
    fields |= {
        "cost": "cost/device_hours",
        "y": "test/accuracy",
        "low": "test/accuracy/low",
        "high": "test/accuracy/high",
    }
    strings = dict.fromkeys(("title", "x_title", "y_title", "params_title", "max_len_title"), "")
    spec = charted("front", {"fieldSettings": fields, "stringSettings": strings}, grid())
    svg = vl_convert.vegalite_to_svg(spec, vl_version="5.20")
    (path,) = re.findall(r'aria-roledescription="line mark"[^>]*d="M([^"]*)"', svg)
    heights = [float(point.split(",")[1]) for point in path.split("L")]
    assert heights == sorted(heights, reverse=True)  # an SVG counts downwards
    assert len(set(heights)) > 2


def test_files_are_written_without_a_server(sweep: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    said = command("src.dashboard", "small", f"out={sweep}", f"to={tmp_path}").stdout
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == sorted(["workspace.json", "report.json", *(f"{chart_name(kind)}.json" for kind in CHARTS)])
    assert all(str(tmp_path / name) in said for name in written)
    assert json.loads((tmp_path / "workspace.json").read_text())["section"]["runSets"]


SAVE_AND_LOAD = """
import json, os, sys
import wandb_workspaces.reports.v2 as wr, wandb_workspaces.workspaces as ws
import src.wandb_views.saved_views as saved
from pathlib import Path
from src.wandb_views.dashboard_source import dashboard_source
from src.cli.errors import UserError

def told(*, project=None):
    try:
        return list(saved.save_views(dashboard_source("small", Path(sys.argv[1]), project, None)))
    except UserError as error:
        return str(error)

first, second, other = told(), told(), told(project="other")
loaded = [cls.from_url(url)._to_model() for cls, url in zip((ws.Workspace, wr.Report), first)]
specs = [json.loads(each.spec.model_dump_json(by_alias=True, exclude_none=True)) for each in loaded]
saved.TIMEOUT_S, os.environ["WANDB_BASE_URL"] = 2, "http://127.0.0.1:9"
print(json.dumps({"first": first, "second": second, "other": other, "specs": specs, "away": told()}))
"""


def without_ids(spec: Any) -> Any:
    """Panels and sets of runs have random ids; the project's is the server's."""
    if isinstance(spec, list):
        return [without_ids(each) for each in spec]
    if isinstance(spec, dict):
        return {key: without_ids(each) for key, each in spec.items() if key not in ("__id__", "id", "project", "width")}
    return spec


@pytest.mark.slow
def test_what_is_saved_twice_is_one_workspace_and_one_report_and_loads_again(
    server: WandbHere, sweep: Path, workspace: Json, report: Json
) -> None:
    code = [sys.executable, "-W", "ignore", "-c", SAVE_AND_LOAD, str(sweep)]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, timeout=200, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert [url.startswith(f"{server.url}/researcher/drg-llama") for url in told["first"]] == [True, True]
    assert told["first"] == told["second"]
    assert sorted(view["type"] for view in server.views) == ["project-view", "runs"]
    assert [without_ids(spec) for spec in told["specs"]] == [without_ids(workspace), without_ids(report)]
    assert told["other"].startswith("researcher/other: W&B holds no run of group small")
    assert told["away"].startswith("save=true: W&B did not take the dashboard")
    assert not server.unknown


def test_saving_without_a_login_is_refused(
    subject: DashboardSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.wandb_views.saved_views import save_views

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match="nobody is logged in"):
        save_views(subject)


def test_an_unknown_sweep_is_named(sweep: Path) -> None:
    with pytest.raises(UserError, match=r"none-such: no sweep of that name .* there are small"):
        dashboard_source("none-such", sweep, None, None)


CANARY = "Smith was admitted with sepsis"


@pytest.mark.parametrize("key", ["wandb.project", "wandb.entity"])
def test_a_project_or_an_owner_of_another_form_is_refused(sweep: Path, key: str, command: Callable[..., Any]) -> None:
    done = command("src.dashboard", "small", f"out={sweep}", f"{key}='{CANARY}'", ok=False)
    assert "1 problem" in done.stderr
    assert key in done.stderr


def test_a_group_of_another_form_is_refused_without_repeating_it(sweep: Path) -> None:
    with pytest.raises(UserError, match="the group of these runs may not go to W&B") as told:
        dashboard_source(f"wandb:researcher/drg-llama/{CANARY}", sweep, None, None)
    assert CANARY not in str(told.value)


def changed(subject: DashboardSource, **axes: str) -> DashboardSource:
    (run, *rest) = subject.runs
    named = Run(run.name, dataclasses.replace(run.record, axes={**run.axes, **axes}), run.curves, run.folder)
    return dataclasses.replace(subject, runs=(named, *rest))


def test_a_model_s_own_name_gets_in_as_a_hash(subject: DashboardSource) -> None:
    assert re.search(r"\| local-[0-9a-f]{6} \|", changed(subject, model=CANARY).table)
    assert CANARY not in changed(subject, model=CANARY).table


def test_an_axis_with_text_is_refused_without_repeating_it(subject: DashboardSource) -> None:
    with pytest.raises(UserError, match="protocol: its value is not one that may be logged") as told:
        assert changed(subject, protocol=CANARY).table
    assert CANARY not in str(told.value)
