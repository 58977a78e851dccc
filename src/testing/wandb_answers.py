"""What `wandb_here.py` answers: W&B's GraphQL operations and file streams, as wandb 0.31 asks them."""

import json
import re
from typing import Any, Protocol

from src.testing.wandb_sent import CONSOLE, EVENTS, HISTORY, SentRun

BEGAN = "2026-01-01T00:00:00"


class Addressed(Protocol):
    """A server that knows its address."""

    @property
    def url(self) -> str:
        """Its address."""


class Answers:
    """The state of the server and its answers to each operation."""

    def __init__(self, entity: str, server: Addressed) -> None:
        self.entity, self.server = entity, server
        self.runs: dict[tuple[str, str], SentRun] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, SentRun] = {}
        self.charts: dict[str, dict[str, Any]] = {}
        self.unknown: list[str] = []

    def run(self, project: str, name: str) -> SentRun:
        """A run, which is new when nobody told of it before."""
        return self.runs.setdefault((project, name), SentRun(project, name, len(self.runs) + 1))

    def graphql(self, query: str, told: dict[str, Any]) -> dict[str, Any]:
        """The answer to one operation."""
        named = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation = named[1] if named else query.split("{")[1].strip()
        answer = getattr(self, f"on_{operation}", None)
        if answer is None:
            self.unknown.append(operation)
            return {"data": None, "errors": [{"message": f"no answer to {operation}"}]}
        return {"data": answer(told)}

    def file_stream(self, project: str, name: str, told: dict[str, Any]) -> dict[str, Any]:
        """Takes the lines that are new, and how the run ended."""
        run = self.run(project, name)
        for stream, part in (told.get("files") or {}).items():
            run.lines[stream].update(enumerate(part["content"], part["offset"]))
        if told.get("complete"):
            run.exit_code = told.get("exitcode")
        return {"exitcode": told.get("exitcode"), "limits": {}}

    def on_UpsertBucket(self, told: dict[str, Any]) -> dict[str, Any]:
        by_id = [run for run in self.runs.values() if run.id == told.get("id")]
        new = not by_id and (told.get("project") or "uncategorized", told["name"]) not in self.runs
        run = by_id[0] if by_id else self.run(told.get("project") or "uncategorized", told["name"])
        run.told.update({key: value for key, value in told.items() if value is not None})
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": new}}

    def on_RunResumeStatus(self, told: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get((told["project"], told["name"]))
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
        return {"model": {**self._project(told["project"]), "bucket": bucket}}

    def on_CreateRunFiles(self, told: dict[str, Any]) -> dict[str, Any]:
        run, at = self.run(told["project"], told["run"]), f"{self.server.url}/storage/{told['project']}/{told['run']}"
        files = [{"name": name, "uploadUrl": f"{at}/{name}"} for name in told["files"]]
        return {"createRunFiles": {"runID": run.id, "uploadHeaders": [], "files": files}}

    def on_MarkRunFilesUploaded(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"markRunFilesUploaded": {"success": True}}

    def on_CreateArtifact(self, told: dict[str, Any]) -> dict[str, Any]:
        asked, known = told["input"], f"artifact{len(self.artifacts) + 1}"
        self.artifacts[known] = self.run(asked["projectName"], asked["runName"])
        sequence = {"id": "s", "latestArtifact": None}
        return {"createArtifact": {"artifact": {"id": known, "state": "PENDING", "artifactSequence": sequence}}}

    def on_CreateArtifactManifest(self, told: dict[str, Any]) -> dict[str, Any]:
        name = f"{told['artifactID']}/{told['name']}"
        return {"createArtifactManifest": {"artifactManifest": {"id": name, "file": self._upload(told, name)}}}

    def on_UpdateArtifactManifest(self, told: dict[str, Any]) -> dict[str, Any]:
        known, _, name = told["artifactManifestID"].partition("/")
        file = self._upload({"artifactID": known}, f"{known}/{name}")
        return {"updateArtifactManifest": {"artifactManifest": {"id": told["artifactManifestID"], "file": file}}}

    def on_CreateArtifactFiles(self, told: dict[str, Any]) -> dict[str, Any]:
        files = [self._upload(each, f"{each['artifactID']}/{each['name']}") for each in told["input"]["artifactFiles"]]
        return {"createArtifactFiles": {"files": {"edges": [{"node": file} for file in files]}}}

    def on_CommitArtifact(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"commitArtifact": {"artifact": {"id": told["artifactID"], "digest": ""}}}

    def _upload(self, told: dict[str, Any], name: str) -> dict[str, Any]:
        known = told["artifactID"]
        run = self.artifacts[known]
        about = {"id": name, "name": name.partition("/")[2], "displayName": name, "storagePath": name}
        url = f"{self.server.url}/storage/{run.project}/{run.name}/{name}"
        more: dict[str, Any] = {"uploadHeaders": [], "uploadMultipartUrls": None, "artifact": {"id": known}}
        return {**about, "uploadUrl": url, **more}

    def on_NotifyScriptableRunAlert(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"notifyScriptableRunAlert": {"success": True}}

    def on_Viewer(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": self._user()}

    on_GetDefaultEntity = on_GetViewer = on_Viewer

    def on_ServerFeaturesQuery(self, told: dict[str, Any]) -> dict[str, Any]:
        versions = {"max_cli_version": "99.0.0", "min_cli_version": "0.1.0"}
        return {"serverInfo": {"features": [], "cliVersionInfo": versions, "latestLocalVersionInfo": None}}

    on_ServerInfo = on_ServerFeaturesQuery

    def on_OrganizationCoreWeaveOrganizationID(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"organization": None}}

    def on_RunStoppedStatus(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"stopped": False}}}

    def on_Runs(self, told: dict[str, Any]) -> dict[str, Any]:
        asked = json.loads(told.get("filters") or "{}")
        found = [run for run in self.runs.values() if run.project == told["project"] and run.matches(asked)]
        if not any(run.project == told["project"] for run in self.runs.values()):
            return {"project": None}
        start, size = int(told.get("cursor") or 0), told.get("perPage") or 50
        edges = [{"node": self._node(run), "cursor": str(start + i + 1)} for i, run in enumerate(found[start:][:size])]
        page = {"endCursor": str(start + len(edges)), "hasNextPage": start + len(edges) < len(found)}
        told_of = {"runCount": len(found), "readOnly": False, "runs": {"edges": edges, "pageInfo": page}}
        return {"project": {**self._project(told["project"]), **told_of}}

    on_LazyRuns = on_Runs

    def on_Run(self, told: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get((told["project"], told["name"]))
        return {"project": {**self._project(told["project"]), "run": run and self._node(run)}}

    on_GetRun = on_LightRun = on_RunState = on_Run

    def on_HistoryPage(self, told: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[told["project"], told["run"]]
        low, high = told.get("minStep") or 0, told.get("maxStep") or float("inf")
        rows = [line for line in run.rows(HISTORY) if low <= json.loads(line)["_step"] < high]
        return {"project": {"run": {"history": rows}}}

    def on_RunFullHistory(self, told: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[told["project"], told["name"]]
        return {"project": {"run": {"history": run.rows(HISTORY), "events": run.rows(EVENTS)}}}

    def on_SampledHistoryPage(self, told: dict[str, Any]) -> dict[str, Any]:
        run, spec = self.runs[told["project"], told.get("run") or told["name"]], told.get("spec") or told["specs"][0]
        keys = (json.loads(spec) if isinstance(spec, str) else spec).get("keys") or []
        rows = [row for row in run.history if all(key in row for key in keys)]
        return {"project": {"run": {"sampledHistory": [[{k: row[k] for k in keys} if keys else row for row in rows]]}}}

    on_RunSampledHistory = on_SampledHistoryPage

    def on_RunHistoryKeys(self, told: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[told["project"], told["name"]]
        return {"project": {"run": {"historyKeys": self._keys(run)}}}

    def on_RunParquetHistory(self, told: dict[str, Any]) -> dict[str, Any]:
        run, keys = self.runs[told["project"], told["runName"]], told.get("liveKeys") or []
        rows = [row for row in run.history if all(key in row for key in keys)]
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": rows}}}}

    def on_ProjectInternalId(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"project": self._project(told.get("projectName") or told.get("project") or "")}

    def on_Projects(self, told: dict[str, Any]) -> dict[str, Any]:
        names = sorted({run.project for run in self.runs.values()})
        edges = [{"node": self._project(name), "cursor": name} for name in names]
        return {"models": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}

    on_GetProjects = on_Projects

    def on_UpsertView2(self, told: dict[str, Any]) -> dict[str, Any]:
        new = told.get("id") not in self.views
        known = f"Vmlldzo{len(self.views) + 1}" if new else str(told["id"])
        self.views[known] = told
        return {"upsertView": {"view": self._view(known), "inserted": new}}

    on_upsertView = on_UpsertView2

    def on_View(self, told: dict[str, Any]) -> dict[str, Any]:
        named = [known for known, view in self.views.items() if view.get("name") == told.get("viewName")]
        return {"project": {"allViews": {"edges": [{"node": self._view(known)} for known in named]}}}

    def on_ProjectViews(self, told: dict[str, Any]) -> dict[str, Any]:
        kinds = [known for known, view in self.views.items() if view["type"] == told.get("viewType", "runs")]
        found = [known for known in kinds if self.views[known]["projectName"] == told["project"]]
        edges = [{"node": self._view(known), "cursor": known} for known in found]
        return {"project": {"allViews": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}}

    def on_CreateCustomChart(self, told: dict[str, Any]) -> dict[str, Any]:
        chart = f"{told['entity']}/{told['chartName']}"
        new = self.charts.setdefault(chart, told) is told
        return {"createCustomChart": {"chart": {"id": chart}} if new else None}

    def on_SpecificReport(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"view": self._view(told["reportId"])}

    def _view(self, known: str) -> dict[str, Any]:
        told = self.views[known]
        kept = {key: told.get(key) for key in ("name", "type", "displayName", "spec", "description")}
        times: dict[str, Any] = {
            "createdAt": BEGAN,
            "updatedAt": BEGAN,
            "user": self._user(),
            "cover": None,
            "children": {"edges": []},
        }
        return {"id": known, **kept, **times, "project": self._project(told.get("projectName") or "")}

    def _user(self) -> dict[str, Any]:
        named = dict.fromkeys(("entity", "username", "name"), self.entity)
        parts: dict[str, Any] = {"teams": {"edges": []}, "apiKeys": {"edges": []}}
        return {"id": "u", **named, "email": "", "flags": "{}", "admin": False, "deletedAt": None, **parts}

    def _project(self, name: str) -> dict[str, Any]:
        owner = {"id": "e", "name": self.entity}
        about = {"entityName": self.entity, "createdAt": BEGAN, "isBenchmark": False, "user": self._user()}
        return {"id": f"project-{name}", "internalId": "UHJvamVjdDox", "name": name, "entity": owner, **about}

    def _bucket(self, run: SentRun) -> dict[str, Any]:
        shown = {"displayName": run.told.get("displayName") or run.name, "description": None, "sweepName": None}
        told = {"config": run.told.get("config") or "{}", "historyLineCount": len(run.lines[HISTORY])}
        return {"id": run.id, "name": run.name, **shown, **told, "project": self._project(run.project)}

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
