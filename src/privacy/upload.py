"""Audited runs are sent to a W&B server: each once, whole, and as one run whatever it went through.

A run is sent by replaying its own record and history through the guarded recorder, as it would have sent them itself;
of what W&B wrote on this machine nothing is read here, and nothing is sent. Each run is compared with what the server
has of it, and only what is missing is sent. So a run that was cut off on the way, that began online, or that is sent
again ends the same. What an online run has beside that is lost: W&B's own curves of the machine, of which our rows
hold their share, and its clock, for the server sees when a row came, and our history keeps no time.
"""

import math
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from src.cli.errors import UserError
from src.cli.json_files import read_json, write_json
from src.cli.progress import track
from src.config.choices import WandbMode
from src.privacy.audit_runs import read_clean
from src.runs.folder import RunFolder
from src.tracking.policy import end_wandb, environment, logged_in, nothing_else
from src.tracking.replay import Replay, Rows, hashes_of_sources
from src.tracking.wandb_run import STEP, GuardedWandbRun, begin, guarded_labels

SYNC = RunFolder(Path()).sync.name
"""Beside a run's record: what of it was sent, and where to."""

SECONDS = 20
"""Until a server that does not answer is given up, and until one that took a run has to show it."""

SETTINGS: dict[str, Any] = {
    "x_disable_stats": True,
    **{
        f"x_{part}_{name}": value
        for part in ("graphql", "file_stream", "file_transfer")
        for name, value in {"retry_max": 3, "retry_wait_max_seconds": 4, "timeout_seconds": SECONDS}.items()
    },
}
"""Beside the policy's: W&B would measure the machine that sends, and try for days; the same command sends the rest."""


@dataclass(frozen=True)
class Remote:
    """Holds what a server has of a run: the rows of its history, and of its summary what is asked for."""

    config: dict[str, Any]
    summary: dict[str, Any]
    rows: list[dict[str, Any]]
    state: str


class Server:
    """Talks to the W&B server that this machine is logged in to.

    Attributes:
        url: its address.
        entity: whose projects the runs go to.
    """

    def __init__(self, entity: str | None, scratch: Path) -> None:
        """Asks the server who we are.

        Args:
            entity: whose projects; None for those of the user who is logged in.
            scratch: a folder for what W&B writes on the way.

        Raises:
            UserError: nobody is logged in, the key is refused, or the server does not answer.
        """
        import wandb

        self._scratch = scratch
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

    def has(self, replay: Replay) -> Remote | None:
        """Fetches what the server has of the run of this id; None where it has none.

        Raises:
            UserError: it is gone, or something between answers in its place.
        """
        import wandb

        labels = guarded_labels(replay.wandb, replay.run, replay.metadata)
        try:
            # A new client each time: it keeps the runs that it has seen.
            run = wandb.Api(timeout=SECONDS).run(f"{self.entity}/{labels['project']}/{labels['id']}")
            config = {key: value for key, value in run.config.items() if not key.startswith("_")}
            summary = {key: run.summary.get(key) for key in replay.last_values}
            return Remote(config, summary, list(run.scan_history()), str(run.state))
        except Exception as error:  # the network's, the server's, or W&B's own
            # W&B raises a ValueError where an answer of GraphQL holds no run; behind a status of HTTP is another error.
            if isinstance(getattr(error, "exc", None), ValueError) and str(error).startswith("Could not find run"):
                return None
            reason = str(error).split("\n")[0][:200] or type(error).__name__
            raise UserError(
                f"{self.url}: does not say what it has of {labels['project']}/{labels['id']} ({reason}); "
                "the same command sends what is left"
            ) from None

    def take(self, replay: Replay, rows: Rows) -> None:
        """Sends these rows of a run, and its summary, through the guard; whether they arrived is to be asked.

        Raises:
            UserError: the run cannot begin, for the server is gone.
        """
        labels = guarded_labels(replay.wandb, replay.run, replay.metadata)
        try:
            run = begin(WandbMode.ONLINE, {**labels, "entity": self.entity, "dir": str(self._scratch)}, SETTINGS)
        except Exception as error:  # the network's, the server's, or W&B's own
            raise UserError(
                f"{self.url}: took no run ({type(error).__name__}); the same command sends what is left"
            ) from None
        with nothing_else():
            guarded_run = GuardedWandbRun(run, replay.run, "the same command sends it again")
            for step, row in rows.items():
                guarded_run.log(step, row)
            guarded_run.summarise(replay.summary)
            guarded_run.close(failed=not replay.finished)


@contextmanager
def connected(entity: str | None) -> Iterator[Server]:
    """Yields the server under our policy's environment; what W&B writes on the way is removed.

    Raises:
        UserError: nobody is logged in, the key is refused, or the server does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="drg-sync-") as folder, environment(Path(folder)):
        try:
            yield Server(entity, Path(folder))
        finally:
            end_wandb()  # its process writes into the folder


def _knock(url: str) -> None:
    """Finds at once that nobody listens, where no proxy stands between.

    Raises:
        UserError: nobody does.
    """
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


def missing(replay: Replay, remote: Remote | None) -> Rows | None:
    """Picks the rows that a server lacks of a run; None where it has all of the run, summary and end included."""
    if remote is None:
        return replay.rows
    rows = missing_rows(replay.rows, remote.rows)
    same = remote.config == dict(replay.metadata.config) and all(
        _equal(remote.summary.get(key), value) for key, value in replay.last_values.items()
    )
    return rows if rows or not same or remote.state == "running" else None


def missing_rows(rows: Rows, has: Iterable[Mapping[str, Any]]) -> Rows:
    """Picks what of a run's rows a server's history does not hold; of its repeated steps the last counts.

    >>> rows = {1: {"a": 1.0}, 2: {"a": 2.0, "b": 3.0}}
    >>> missing_rows(rows, [{"trainer/global_step": 1, "a": 1.0}, {"trainer/global_step": 2, "a": 2.0}])
    {2: {'b': 3.0}}
    """
    remote_values: dict[tuple[Any, str], Any] = {}
    for row in has:
        remote_values |= {(row.get(STEP), key): value for key, value in row.items() if value is not None}
    lacking = {
        step: {key: value for key, value in row.items() if not _equal(remote_values.get((step, key)), value)}
        for step, row in rows.items()
    }
    return {step: row for step, row in lacking.items() if row}


def _equal(left: Any, right: Any) -> bool:
    try:
        first, second = float(left), float(right)
    except (TypeError, ValueError):
        return bool(left == right)
    return math.isclose(first, second, rel_tol=1e-12) or (math.isnan(first) and math.isnan(second))


def is_sent(run: Path, server: Server) -> bool:
    """Says whether the run as it is now went to this server before."""
    try:
        receipt = read_json(run / SYNC, {"server": str, "files": dict[str, str]})
    except (OSError, ValueError):
        return False
    return bool(receipt == _receipt(hashes_of_sources(run), server))


def _receipt(files: Mapping[str, str], server: Server) -> dict[str, Any]:
    return {"server": server.url, "entity": server.entity, "files": files}


def send(replays: Sequence[Replay], server: Server) -> Iterator[tuple[Path, str]]:
    """Sends runs that were found clean, and says of each what became of it.

    Raises:
        UserError: the server has another run of this id, or is lost; what was sent before was said, the rest stays.
    """
    unsent = [replay for replay in replays if not is_sent(replay.run, server)]
    yield from ((replay.run, "sent before") for replay in replays if replay not in unsent)
    for replay in track(unsent, total=len(unsent), what="runs sent", unit="run"):
        if not replay.rows and not replay.summary:
            yield replay.run, "holds no record that could be sent"
            continue
        remote, cohort = server.has(replay), replay.metadata.config.get("cohort")
        if remote and remote.config.get("cohort", cohort) != cohort:
            raise UserError(
                f"{replay.run}: {server.url} has a run {replay.metadata.name} of another cohort; rename one of the two"
            )
        rows = missing(replay, remote)
        if rows is not None:
            if not read_clean(replay.run)[0] or replay.files != hashes_of_sources(replay.run):
                raise UserError(
                    f"{replay.run}: changed after its audit; is it going on? run the same command again later"
                )
            server.take(replay, rows)
            _await(replay, server)
        write_json(replay.run / SYNC, _receipt(replay.files, server), indent=2)
        yield replay.run, "the server has all of it" if rows is None else "sent"


def _await(replay: Replay, server: Server) -> None:
    """Returns once the server shows the whole run, for W&B's own word of an upload is no proof of it.

    Raises:
        UserError: it does not, in bounded time.
    """
    until = time.monotonic() + SECONDS
    while missing(replay, server.has(replay)) is not None:
        if time.monotonic() > until:
            raise UserError(f"{server.url}: {replay.run} did not arrive whole; the same command sends what is left")
        time.sleep(1.0)
