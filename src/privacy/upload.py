"""Runs that were audited go to a W&B server: each once, whole, and as one run whatever it went through.

Each run is compared with what the server has of it, and only what is missing is sent, by `wandb sync` of one file that
was written for it. So a run that was cut off on the way, that began online, or that is sent again ends the same.
"""

import dataclasses
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from src.cli.errors import UserError
from src.cli.json_files import read_json, write_json
from src.cli.progress import track
from src.privacy.allowed import Finding, examine
from src.privacy.audit_runs import read_clean
from src.privacy.merged import write_merged
from src.privacy.offline_runs import STEP, Journal, OfflineRun, Row, read_journal, read_journals, tell
from src.privacy.wandb_files import hashes_of
from src.tracking.policy import ENVIRONMENT, FOLDERS, logged_in

SYNC = "sync.json"
"""Beside a run's record: what of it was sent, and where to."""

TOGETHER = 20
"""Runs of one `wandb sync`, which takes a second to start."""

SECONDS = 20
"""Until a server that does not answer is given up."""

KEPT = re.compile(
    r"WANDB_(API_KEY|BASE_URL|APP_URL|IDENTITY_TOKEN_FILE|CREDENTIALS_FILE|INSECURE_DISABLE_SSL|.*_PROXY|_EXTRA.*)"
)
"""Of the user's own W&B variables those that say where the server is and who asks."""

PATIENCE = {
    f"WANDB__{part}_{name}": value
    for part in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")
    for name, value in {"RETRY_MAX": "3", "RETRY_WAIT_MAX_SECONDS": "4", "TIMEOUT_SECONDS": str(SECONDS)}.items()
}
"""`wandb sync` tries for days otherwise; the same command sends what is left."""


@dataclass(frozen=True)
class Package:
    """A run as it goes: its starts, what is to be sent of it, and from which of W&B's steps on."""

    run: Path
    journals: list[Journal]
    told: OfflineRun
    first_step: int


@dataclass(frozen=True)
class Remote:
    """What a server has of a run: the rows of its history, and of its summary what is asked for."""

    config: dict[str, Any]
    summary: dict[str, Any]
    rows: list[Row]
    state: str


class Server:
    """The W&B server that this machine is logged in to.

    Attributes:
        url: its address.
        entity: whose projects the runs go to.
    """

    def __init__(self, entity: str | None, scratch: Path) -> None:
        """Asks the server who we are.

        Raises:
            UserError: nobody is logged in, the key is refused, or the server does not answer.
        """
        _set_environment(scratch)
        import wandb

        self.url = str(wandb.setup().settings.base_url)
        _knock(self.url)
        try:
            self._api = wandb.Api(timeout=SECONDS)
            self.entity = entity or str(self._api.default_entity)
        except wandb.errors.UsageError:
            raise UserError(
                "W&B: nobody is logged in; run wandb login, or set WANDB_API_KEY, and WANDB_BASE_URL if need be"
            ) from None
        except wandb.errors.Error as error:
            refused = "401" in str(error) or "403" in str(error)
            raise UserError(
                f"{self.url}: refuses the API key; run wandb login --relogin"
                if refused
                else f"{self.url}: does not answer ({type(error).__name__}); nothing was sent, the same command goes on"
            ) from None

    def has(self, told: OfflineRun) -> "Remote | None":
        """What it has of the run of this id; None where it has none.

        Raises:
            UserError: it is gone.
        """
        import wandb

        try:
            run = self._api.run(f"{self.entity}/{told.project}/{told.id}")
            config = {key: value for key, value in run.config.items() if not key.startswith("_")}
            summary = {key: run.summary.get(key) for key in told.summary}
            return Remote(config, summary, list(run.scan_history()), str(run.state))
        except (wandb.errors.Error, OSError) as error:
            if "ould not find run" in str(error) or "not found" in str(error):
                return None
            raise UserError(f"{self.url}: does not answer any more; the same command sends what is left") from None


def _set_environment(scratch: Path) -> None:
    """W&B's variables of this process: our policy's, and of the user's those that name the server."""
    for name in [name for name in os.environ if name.startswith("WANDB_") and not KEPT.fullmatch(name)]:
        del os.environ[name]
    folders = {name: str(scratch / leaf) for name, leaf in FOLDERS.items() if name != "WANDB_CONFIG_DIR"}
    os.environ.update(ENVIRONMENT | folders)


def _knock(url: str) -> None:
    """Finds at once that nobody listens, where no proxy stands between."""
    parts = urlsplit(url)
    if getproxies() and not proxy_bypass(parts.hostname or ""):
        return
    try:
        socket.create_connection(
            (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)), SECONDS
        ).close()
    except OSError as error:
        login = "" if logged_in() else ", and nobody is logged in: run wandb login, or set WANDB_API_KEY, before it"
        reason = error.strerror or error
        raise UserError(f"{url}: does not answer ({reason}); the same command goes on later{login}") from None


def pack(run: Path, server: Server) -> Package | None:
    """What the server lacks of a run; None where it has all.

    Raises:
        UserError: the server has another run of this id, or is gone.
    """
    journals = read_journals(run)
    if not journals:
        return None
    told = dataclasses.replace(tell(journals), entity=server.entity)
    there = server.has(told)
    if there is None:
        return Package(run, journals, told, 0)
    if there.config.get("cohort", told.config.get("cohort")) != told.config.get("cohort"):
        raise UserError(f"{run}: {server.url} has a run {told.id} of another cohort; rename one of the two")
    rows = missing_rows(told.rows, there.rows)
    same = there.config == told.config and _same(there.summary, told.summary)
    if not rows and same and there.state != "running":
        return None
    last = max((int(row["_step"]) for row in there.rows if row.get("_step") is not None), default=-1)
    return Package(run, journals, dataclasses.replace(told, rows=rows), last + 1)


def missing_rows(rows: Sequence[Row], has: Sequence[Row]) -> list[Row]:
    """What of a run's rows a server's history, of whose repeated steps the last count, does not tell.

    >>> rows = [{"trainer/global_step": 1, "a": 1.0}, {"trainer/global_step": 2, "a": 2.0, "b": 3.0}]
    >>> missing_rows(rows, [{"trainer/global_step": 1, "a": 1.0}, {"trainer/global_step": 2, "a": 2.0}])
    [{'trainer/global_step': 2, 'b': 3.0}]
    """
    known: dict[tuple[Any, str], Any] = {}
    for row in has:
        known |= {(row.get(STEP), key): value for key, value in row.items() if value is not None}
    found = []
    for row in rows:
        left = {key: value for key, value in row.items() if not _equal(known.get((row.get(STEP), key)), value)}
        if any(key != STEP and not key.startswith("_") for key in left):
            own = {key: value for key, value in row.items() if key == STEP or key.startswith("_")}
            found.append({**own, **left})
    return found


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(_equal(one.get(key), value) for key, value in other.items())


def _equal(one: Any, other: Any) -> bool:
    try:
        first, second = float(one), float(other)
    except (TypeError, ValueError):
        return bool(one == other)
    return math.isclose(first, second, rel_tol=1e-12) or (math.isnan(first) and math.isnan(second))


def is_sent(run: Path, server: Server) -> bool:
    """Whether these very bytes went to this server before."""
    try:
        told = read_json(run / SYNC, {"server": str, "files": dict[str, str]})
    except (OSError, ValueError):
        return False
    return bool(told == _receipt(run, server))


def _receipt(run: Path, server: Server) -> dict[str, Any]:
    files = {name: digest for name, digest in hashes_of(run).items() if name.endswith(".wandb")}
    return {"server": server.url, "entity": server.entity, "files": files}


def send(runs: Sequence[Path], server: Server, scratch: Path) -> Iterator[tuple[Path, str]]:
    """Sends runs that were found clean, and tells of each what became of it.

    Raises:
        UserError: the server is lost; what was sent before is told, the rest stays as it is.
    """
    left = [run for run in runs if not is_sent(run, server)]
    yield from ((run, "sent before") for run in runs if run not in left)
    packages: list[Package] = []
    for run in track(left, total=len(left), what="runs sent", unit="run"):
        package = pack(run, server)
        if not read_journals(run):
            yield run, "holds no record that could be sent"
        elif package is None:
            _write_receipt(run, server)
            yield run, "the server has all of it"
        else:
            packages.append(package)
        if len(packages) == TOGETHER:
            yield from _send(packages, server, scratch)
            packages = []
    yield from _send(packages, server, scratch)


def _send(packages: Sequence[Package], server: Server, scratch: Path) -> Iterator[tuple[Path, str]]:
    if not packages:
        return
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        files = {}
        for number, each in enumerate(packages):
            path = write_merged(each.journals, each.told, Path(folder) / str(number), each.first_step)
            if any(isinstance(found, Finding) for _, told in read_journal(path).records for found in examine(told, "")):
                raise UserError(f"{each.run}: what would be sent is not clean; run python -m src.audit {each.run}")
            if not read_clean(each.run)[0]:
                raise UserError(
                    f"{each.run}: changed after its audit; is it going on? run the same command again later"
                )
            files[each.run] = path
        errors = _sync([path.parent for path in files.values()], scratch)
        sent = [each.run for each in packages if _arrived(each, files[each.run], errors)]
    for run in sent:
        _write_receipt(run, server)
        yield run, "sent"
    if lost := [run for run in files if run not in sent]:
        raise UserError(
            f"{server.url}: {len(lost)} of {len(files)} runs did not arrive, {lost[0]} among them; "
            f"the same command sends what is left" + (f" (W&B says: {errors[-1][:200]})" if errors else "")
        )


def _arrived(package: Package, path: Path, errors: Sequence[str]) -> bool:
    """Whether a run went through. `wandb sync` exits with 0 and marks its file also where the upload broke off."""
    if not path.with_suffix(".wandb.synced").exists():
        return False
    mine = f"{package.told.project}/{package.told.id}"
    labels = [found[1] if (found := re.match(r"\[([^\]]+/[^\]]+)\]", error)) else mine for error in errors]
    return not any(label == mine or label.endswith(f"/{mine}") for label in labels)


def _sync(folders: Sequence[Path], scratch: Path) -> list[str]:
    """W&B's own sync of one file a run; its errors, which begin with `[ENTITY/PROJECT/RUN]` where they are of a run."""
    command = [sys.executable, "-m", "wandb", "sync", "--include-synced", *map(str, folders)]
    mine = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # of this process's patience
    env = {**mine, **PATIENCE, "WANDB_SILENT": "false", "WANDB_DIR": str(scratch), "WANDB_MODE": "online"}
    try:
        done = subprocess.run(
            command,
            env=env,
            cwd=scratch,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS * (6 + len(folders)),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ["it took too long"]
    errors = [line.partition("ERROR ")[2] for line in done.stderr.splitlines() if "ERROR " in line]
    return errors or ([f"it exited with status {done.returncode}"] if done.returncode else [])


def _write_receipt(run: Path, server: Server) -> None:
    write_json(run / SYNC, _receipt(run, server), indent=2)
