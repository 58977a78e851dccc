"""A run's line to W&B is opened, used and closed here; whatever breaks it, training goes on and nothing is lost."""

import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from src.config.choices import WandbMode
from src.config.train import WandbConfig
from src.display.catalog import STEP
from src.tracking.guard import guarded, guarded_config, guarded_label, guarded_tags, public_name
from src.tracking.policy import SECONDS_TO_FINISH, end_wandb, lock, no_defaults, settings
from src.tracking.run_metadata import RunMetadata

T = TypeVar("T")


class GuardedWandbRun:
    """Wraps one W&B run: what is logged passes the guard, and the run itself stays out of reach."""

    def __init__(self, run: Any, folder: Path, instead: str = "training goes on without W&B") -> None:
        """Locks the run; `instead` says what happens where W&B fails."""
        self._folder, self._instead = folder, instead
        lock(run)
        self._send: Callable[[dict[str, float]], None] | None = lambda row: run.log(row)
        self._sum: Callable[[dict[str, float]], None] = lambda row: run.summary.update(row)
        self._end: Callable[[bool], None] = lambda failed: run.finish(exit_code=int(failed))
        self._drop: Callable[[], None] = lambda: _forget(run)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Sends one row of metrics by name, at an optimiser step."""
        if self._send:
            self._try(self._send, guarded({**values, STEP: step}))

    def summarise(self, values: Mapping[str, float]) -> None:
        """Sets the final metrics."""
        if self._send:
            self._try(self._sum, guarded(values))

    def close(self, failed: bool) -> None:
        """Ends the run, in bounded time; what a lost server did not take stays in the run's folder."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._send:
                self._try(self._end, failed)
            if not self._send:
                self._drop()

    def _try(self, act: Callable[[T], None], value: T) -> None:
        try:
            act(value)
        except Exception as error:  # whatever W&B raises: the run's own record is elsewhere
            self._send = None
            say(f"{type(error).__name__}; {self._folder} keeps the run's history, and {self._instead}")


def open_line(cfg: WandbConfig, mode: WandbMode, run_dir: Path, metadata: RunMetadata) -> GuardedWandbRun | None:
    """Begins the W&B run, offline when nobody answers; None where W&B fails altogether.

    Raises:
        LeakError: what it is to be found by is not allowed; nothing is sent then.
    """
    labels = guarded_labels(cfg, run_dir, metadata)
    for attempted in dict.fromkeys([mode, WandbMode.OFFLINE]):
        try:
            return GuardedWandbRun(begin(attempted, {**labels, "dir": str(run_dir)}), run_dir)
        except Exception as error:  # the network's, the server's, the disk's, or W&B's own
            _forget()
            if attempted is WandbMode.ONLINE:
                say(f"{type(error).__name__}; recording offline, send it later with python -m src.sync {run_dir}")
            else:
                say(f"{type(error).__name__}; {run_dir} keeps the run's history, and it goes on without W&B")
    return None


def guarded_labels(cfg: WandbConfig, run_dir: Path, metadata: RunMetadata) -> dict[str, Any]:
    """Checks what a run is found by, and words it as `wandb.init` takes it.

    Raises:
        LeakError: a label or a value of the configuration is not allowed.
    """
    name = guarded_label("name", metadata.name or public_name(run_dir.name))
    return {
        "project": guarded_label("project", cfg.project),
        "group": guarded_label("group", cfg.group) if cfg.group else None,
        "job_type": guarded_label("job type", metadata.job_type),
        "tags": guarded_tags(metadata.tags),
        "id": name,
        "name": name,
        "config": guarded_config(metadata.config),
    }


def say(message: str) -> None:
    """Prints on stderr what became of W&B: kinds of errors, never their words."""
    print(f"W&B: {message}", file=sys.stderr, flush=True)


def begin(mode: WandbMode, labels: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> Any:
    """Begins a run of W&B under our policy, online as the run of this id that is there; `extra` are more settings."""
    import wandb
    from wandb.sdk.wandb_init import init

    with no_defaults():
        return init(
            **labels,
            mode=str(mode),  # type: ignore[arg-type]
            resume="allow" if mode is WandbMode.ONLINE else None,
            reinit="create_new",
            settings=wandb.Settings(**settings(), **(extra or {})),
        )


def _forget(run: Any = None) -> None:
    """Ends W&B where no other run of ours needs it: what failed holds its run's id, and may be dead."""
    from wandb.sdk import wandb_setup

    with suppress(Exception):
        if run:
            wandb_setup.singleton().remove_active_run(run)
        end_wandb(SECONDS_TO_FINISH)
