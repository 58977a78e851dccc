"""One W&B run for one training run, offline when nobody is logged in or nobody answers."""

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import DummyLogger, Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from src.config.train import WandbConfig, WandbMode
from src.tracking.guard import guarded
from src.tracking.history import History
from src.tracking.policy import logged_in, set_environment, settings

SECONDS_TO_FINISH = 60.0
"""A server that was lost in the middle must not hold a job of a sweep."""


class Recorder(Logger):
    """Lightning's logger over a W&B run; every value passes the guard."""

    def __init__(self, run: Any, history: History) -> None:
        super().__init__()
        self._run, self._history, self._step = run, history, 0

    @property
    def name(self) -> str:
        """The project."""
        return "drg-llama"

    @property
    def version(self) -> str:
        """The run's id."""
        return self._history.run_dir.name

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the axes were given when the run began."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs scalars against the trainer's step."""
        self._step = self._step if step is None else max(self._step, step)
        told = guarded(dict(metrics))
        self._history.add(self._step, told)
        if self._run:
            self._run.log({**told, "trainer/global_step": self._step})

    @rank_zero_only
    def log_summary(self, metrics: Mapping[str, float]) -> None:
        """Sets the final metrics as the run's summary."""
        if self._run:
            self._run.summary.update(guarded(dict(metrics)))


@contextmanager
def recording(cfg: WandbConfig, run_dir: Path, axes: Mapping[str, Any], leads: bool = True) -> Iterator[Any]:
    """Yields the logger of this run, and ends its W&B run whatever happens; of several processes one `leads`.

    What is logged also goes into the run's own history, with W&B and without.

    An unreachable server makes the run an offline one; `wandb sync` sends it later.
    """
    mode = cfg.mode
    if mode is WandbMode.AUTO:
        mode = WandbMode.ONLINE if logged_in() else WandbMode.OFFLINE
    if not leads:
        yield DummyLogger()
        return
    history = History(run_dir)
    if mode is WandbMode.DISABLED:
        yield Recorder(None, history)
        return
    run = _start(cfg, mode, run_dir, guarded(axes))
    failed = True
    try:
        yield Recorder(run, history)
        failed = False
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run.finish(exit_code=int(failed))


def _start(cfg: WandbConfig, mode: WandbMode, run_dir: Path, axes: dict[str, Any]) -> Any:
    run_dir.mkdir(parents=True, exist_ok=True)
    set_environment(run_dir)
    import wandb

    def begin(how: WandbMode) -> Any:
        return wandb.init(
            project=cfg.project,
            group=cfg.group,
            id=run_dir.name,
            name=run_dir.name,
            config=axes,
            dir=str(run_dir),
            mode=str(how),  # type: ignore[arg-type]
            resume="allow" if how is WandbMode.ONLINE else None,
            reinit="create_new",
            settings=wandb.Settings(**settings(), finish_timeout=SECONDS_TO_FINISH),
        )

    try:
        return begin(mode)
    except wandb.errors.Error as error:
        if mode is WandbMode.OFFLINE:
            raise
        print(f"W&B: {type(error).__name__}; recording offline, send it later with wandb sync", file=sys.stderr)
        wandb.teardown()  # the failed start still holds the run's id
        return begin(WandbMode.OFFLINE)
