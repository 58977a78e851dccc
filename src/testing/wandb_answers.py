"""Answers for `wandb_here.py`: W&B's GraphQL operations and file streams, as wandb 0.31 asks them."""

import json
import re
from typing import Any, Protocol

from src.testing.wandb_sent import CONSOLE, EVENTS, HISTORY, SentRun

BEGAN = "2026-01-01T00:00:00"


class Addressed(Protocol):
    """Is a server that knows its address."""

    @property
    def url(self) -> str:
        """Is its address."""


class Answers:
    """Holds the state of the server, and answers each operation from it."""

    def __init__(self, entity: str, server: Addressed) -> None:
        self.entity, self.server = entity, server
        self.runs: dict[tuple[str, str], SentRun] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, SentRun] = {}
        self.charts: dict[str, dict[str, Any]] = {}
        self.unknown: list[str] = []

    def run(self, project: str, name: str) -> SentRun:
        """Finds a run, or begins a new one when nobody told of it before."""
        return self.runs.setdefault((project, name), SentRun(project, name, len(self.runs) + 1))

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answers one operation."""
        named = re.search(r"(?:query|mutation)\s+(\w+)", query)
        # A query without a name goes by the first field that it asks for.
        operation = named[1] if named else query.split("{")[1].strip()
        answer = getattr(self, f"on_{operation}", None)
        if answer is None:
            # Kept, so that a test sees what a later wandb asks and gets no answer to.
            self.unknown.append(operation)
            return {"data": None, "errors": [{"message": f"no answer to {operation}"}]}
        return {"data": answer(variables)}

    def file_stream(self, project: str, name: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Takes the lines that are new, and how the run ended."""
        run = self.run(project, name)
        for stream, part in (payload.get("files") or {}).items():
            run.lines[stream].update(enumerate(part["content"], part["offset"]))
        if payload.get("complete"):
            run.exit_code = payload.get("exitcode")
        return {"exitcode": payload.get("exitcode"), "limits": {}}

    def on_UpsertBucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        # A change of a run that is there, as `Run.update` of the API makes it, names the server's id alone.
        by_id = [run for run in self.runs.values() if run.id == variables.get("id")]
        new = not by_id and (variables.get("project") or "uncategorized", variables["name"]) not in self.runs
        run = by_id[0] if by_id else self.run(variables.get("project") or "uncategorized", variables["name"])
        run.told.update({key: value for key, value in variables.items() if value is not None})
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": new}}

    def on_RunResumeStatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get((variables["project"], variables["name"]))
        bucket = run and {
            **self._bucket(run),
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": len(run.lines[CONSOLE]),
            "eventsLineCount": len(run.lines[EVENTS]),
            "historyTail": json.dumps(run.rows(HISTORY)[-1:]),
            "eventsTail": json.dumps(run.rows(EVENTS)[-1:]),
            "tags": run.told.get("tags") or [],
            "notes": None,
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {**self._project(variables["project"]), "bucket": bucket}}

    def on_CreateRunFiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        project, name = variables["project"], variables["run"]
        run, url = self.run(project, name), f"{self.server.url}/storage/{project}/{name}"
        files = [{"name": file, "uploadUrl": f"{url}/{file}"} for file in variables["files"]]
        return {"createRunFiles": {"runID": run.id, "uploadHeaders": [], "files": files}}

    def on_MarkRunFilesUploaded(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"markRunFilesUploaded": {"success": True}}

    def on_CreateArtifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        artifact, artifact_id = variables["input"], f"artifact{len(self.artifacts) + 1}"
        self.artifacts[artifact_id] = self.run(artifact["projectName"], artifact["runName"])
        sequence = {"id": "s", "latestArtifact": None}
        return {"createArtifact": {"artifact": {"id": artifact_id, "state": "PENDING", "artifactSequence": sequence}}}

    def on_CreateArtifactManifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        # The update below knows the manifest's id only, which therefore holds the artifact's.
        name = f"{variables['artifactID']}/{variables['name']}"
        return {"createArtifactManifest": {"artifactManifest": {"id": name, "file": self._upload(variables, name)}}}

    def on_UpdateArtifactManifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        artifact_id, _, name = variables["artifactManifestID"].partition("/")
        file = self._upload({"artifactID": artifact_id}, f"{artifact_id}/{name}")
        return {"updateArtifactManifest": {"artifactManifest": {"id": variables["artifactManifestID"], "file": file}}}

    def on_CreateArtifactFiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        artifact_files = variables["input"]["artifactFiles"]
        files = [self._upload(file, f"{file['artifactID']}/{file['name']}") for file in artifact_files]
        return {"createArtifactFiles": {"files": {"edges": [{"node": file} for file in files]}}}

    def on_CommitArtifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": ""}}}

    def _upload(self, file: dict[str, Any], name: str) -> dict[str, Any]:
        artifact_id = file["artifactID"]
        run = self.artifacts[artifact_id]
        about = {"id": name, "name": name.partition("/")[2], "displayName": name, "storagePath": name}
        url = f"{self.server.url}/storage/{run.project}/{run.name}/{name}"
        more: dict[str, Any] = {"uploadHeaders": [], "uploadMultipartUrls": None, "artifact": {"id": artifact_id}}
        return {**about, "uploadUrl": url, **more}

    def on_NotifyScriptableRunAlert(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"notifyScriptableRunAlert": {"success": True}}

    def on_Viewer(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": self._user()}

    on_GetDefaultEntity = on_GetViewer = on_Viewer

    def on_ServerFeaturesQuery(self, variables: dict[str, Any]) -> dict[str, Any]:
        versions = {"max_cli_version": "99.0.0", "min_cli_version": "0.1.0"}
        return {"serverInfo": {"features": [], "cliVersionInfo": versions, "latestLocalVersionInfo": None}}

    on_ServerInfo = on_ServerFeaturesQuery

    def on_OrganizationCoreWeaveOrganizationID(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"organization": None}}

    def on_RunStoppedStatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"stopped": False}}}

    def on_Runs(self, variables: dict[str, Any]) -> dict[str, Any]:
        filters = json.loads(variables.get("filters") or "{}")
        matching = [run for run in self.runs.values() if run.project == variables["project"] and run.matches(filters)]
        if not any(run.project == variables["project"] for run in self.runs.values()):
            return {"project": None}  # a project comes to be with its first run
        start, size = int(variables.get("cursor") or 0), variables.get("perPage") or 50
        edges = [
            {"node": self._node(run), "cursor": str(start + i + 1)} for i, run in enumerate(matching[start:][:size])
        ]
        page = {"endCursor": str(start + len(edges)), "hasNextPage": start + len(edges) < len(matching)}
        content = {"runCount": len(matching), "readOnly": False, "runs": {"edges": edges, "pageInfo": page}}
        return {"project": {**self._project(variables["project"]), **content}}

    on_LazyRuns = on_Runs

    def on_Run(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get((variables["project"], variables["name"]))
        return {"project": {**self._project(variables["project"]), "run": run and self._node(run)}}

    on_GetRun = on_LightRun = on_RunState = on_Run

    def on_HistoryPage(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[variables["project"], variables["run"]]
        low, high = variables.get("minStep") or 0, variables.get("maxStep") or float("inf")
        rows = [line for line in run.rows(HISTORY) if low <= json.loads(line)["_step"] < high]
        return {"project": {"run": {"history": rows}}}

    def on_RunFullHistory(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[variables["project"], variables["name"]]
        return {"project": {"run": {"history": run.rows(HISTORY), "events": run.rows(EVENTS)}}}

    def on_SampledHistoryPage(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[variables["project"], variables.get("run") or variables["name"]]
        spec = variables.get("spec") or variables["specs"][0]
        keys = (json.loads(spec) if isinstance(spec, str) else spec).get("keys") or []
        rows = [row for row in run.history if all(key in row for key in keys)]
        return {"project": {"run": {"sampledHistory": [[{k: row[k] for k in keys} if keys else row for row in rows]]}}}

    on_RunSampledHistory = on_SampledHistoryPage

    def on_RunHistoryKeys(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[variables["project"], variables["name"]]
        return {"project": {"run": {"historyKeys": self._keys(run)}}}

    def on_RunParquetHistory(self, variables: dict[str, Any]) -> dict[str, Any]:
        run, keys = self.runs[variables["project"], variables["runName"]], variables.get("liveKeys") or []
        rows = [row for row in run.history if all(key in row for key in keys)]
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": rows}}}}

    def on_ProjectInternalId(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"project": self._project(variables.get("projectName") or variables.get("project") or "")}

    def on_Projects(self, variables: dict[str, Any]) -> dict[str, Any]:
        names = sorted({run.project for run in self.runs.values()})
        edges = [{"node": self._project(name), "cursor": name} for name in names]
        return {"models": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}

    on_GetProjects = on_Projects

    def on_UpsertView2(self, variables: dict[str, Any]) -> dict[str, Any]:
        new = variables.get("id") not in self.views
        view_id = f"Vmlldzo{len(self.views) + 1}" if new else str(variables["id"])
        self.views[view_id] = variables
        return {"upsertView": {"view": self._view(view_id), "inserted": new}}

    on_upsertView = on_UpsertView2

    def on_View(self, variables: dict[str, Any]) -> dict[str, Any]:
        named = [view_id for view_id, view in self.views.items() if view.get("name") == variables.get("viewName")]
        return {"project": {"allViews": {"edges": [{"node": self._view(view_id)} for view_id in named]}}}

    def on_ProjectViews(self, variables: dict[str, Any]) -> dict[str, Any]:
        of_type = [view_id for view_id, view in self.views.items() if view["type"] == variables.get("viewType", "runs")]
        matching = [view_id for view_id in of_type if self.views[view_id]["projectName"] == variables["project"]]
        edges = [{"node": self._view(view_id), "cursor": view_id} for view_id in matching]
        return {"project": {"allViews": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}}

    def on_CreateCustomChart(self, variables: dict[str, Any]) -> dict[str, Any]:
        chart = f"{variables['entity']}/{variables['chartName']}"
        # W&B never changes a chart, and refuses a name that it has.
        new = self.charts.setdefault(chart, variables) is variables
        return {"createCustomChart": {"chart": {"id": chart}} if new else None}

    def on_SpecificReport(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"view": self._view(variables["reportId"])}

    def _view(self, view_id: str) -> dict[str, Any]:
        view = self.views[view_id]
        kept = {key: view.get(key) for key in ("name", "type", "displayName", "spec", "description")}
        times: dict[str, Any] = {
            "createdAt": BEGAN,
            "updatedAt": BEGAN,
            "user": self._user(),
            "cover": None,
            "children": {"edges": []},
        }
        return {"id": view_id, **kept, **times, "project": self._project(view.get("projectName") or "")}

    def _user(self) -> dict[str, Any]:
        named = dict.fromkeys(("entity", "username", "name"), self.entity)
        parts: dict[str, Any] = {"teams": {"edges": []}, "apiKeys": {"edges": []}}
        return {"id": "u", **named, "email": "", "flags": "{}", "admin": False, "deletedAt": None, **parts}

    def _project(self, name: str) -> dict[str, Any]:
        # The internal id is `Project:1` in base64, as W&B writes its ids.
        owner = {"id": "e", "name": self.entity}
        about = {"entityName": self.entity, "createdAt": BEGAN, "isBenchmark": False, "user": self._user()}
        return {"id": f"project-{name}", "internalId": "UHJvamVjdDox", "name": name, "entity": owner, **about}

    def _bucket(self, run: SentRun) -> dict[str, Any]:
        shown = {"displayName": run.told.get("displayName") or run.name, "description": None, "sweepName": None}
        described = {"config": run.told.get("config") or "{}", "historyLineCount": len(run.lines[HISTORY])}
        return {"id": run.id, "name": run.name, **shown, **described, "project": self._project(run.project)}

    def _node(self, run: SentRun) -> dict[str, Any]:
        return {
            **self._bucket(run),
            "projectId": "1",
            "state": run.state,
            "tags": run.told.get("tags") or [],
            "group": run.told.get("groupName"),
            "jobType": run.told.get("jobType"),
            "commit": None,
            "readOnly": False,
            "createdAt": BEGAN,
            "heartbeatAt": BEGAN,
            "notes": None,
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "historyKeys": self._keys(run),
            "user": self._user(),
        }

    def _keys(self, run: SentRun) -> dict[str, Any]:
        rows = run.history
        number = {"typeCounts": [{"type": "number", "count": 1}], "monotonic": False}
        last = max((row["_step"] for row in rows), default=-1)
        return {"keys": {key: number for row in rows for key in row}, "lastStep": last, "sets": []}
