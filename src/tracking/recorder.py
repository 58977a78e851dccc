"""A run's recorder writes every number into its history, and sends it to W&B where that is on."""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import DummyLogger, Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from src.cli.files import private_folder
from src.cohort.disclosure import MIN_GROUP_PATIENTS
from src.config.choices import WandbMode
from src.config.train import WandbConfig
from src.runs.history import History
from src.tracking.guard import guarded
from src.tracking.policy import asked_mode, environment, logged_in, nothing_else
from src.tracking.replay import rows_of
from src.tracking.run_metadata import RunMetadata, write_metadata
from src.tracking.wandb_run import GuardedWandbRun, open_line, say


class Recorder(Logger):
    """Is Lightning's logger over a run's history and its W&B run; every value passes the guard."""

    def __init__(self, line: GuardedWandbRun | None, history: History, metadata: RunMetadata) -> None:
        super().__init__()
        self._line, self._history, self._metadata = line, history, metadata
        if line and metadata.few:
            say(f"metrics of {', '.join(metadata.few)} are not sent: of fewer than {MIN_GROUP_PATIENTS} patients")

    @property
    def name(self) -> str:
        """Names the project, as Lightning asks."""
        return "drg-llama"

    @property
    def version(self) -> str:
        """Names the run's folder, as Lightning asks."""
        return self._history.run_dir.name

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the axes were given when the run began."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs scalars against the optimiser's step; those that are not finite are left out.

        Raises:
            LeakError: one is not a number under a name of ours.
            ValueError: the step is left out; a start that goes on does not know it otherwise.
        """
        row = {name: value for name, value in guarded(metrics).items() if math.isfinite(value)}
        if step is None:
            raise ValueError("log_metrics: the step is left out")
        self._history.add(step, row)
        if self._line and (many := self._metadata.of_many(row)):
            self._line.log(step, many)

    @rank_zero_only
    def log_summary(self, metrics: Mapping[str, float]) -> None:
        """Sets the final metrics as the run's summary."""
        summary = guarded(metrics)
        if self._line:
            self._line.summarise(self._metadata.of_many(summary))

    def send_again(self, rows: Mapping[int, Mapping[str, float]]) -> None:
        """Sends the rows of an earlier start: which arrived, nobody knows, and of repeated steps the last counts."""
        for step, row in rows.items():
            if self._line and (many := self._metadata.of_many(row)):
                self._line.log(step, many)


@contextmanager
def recording(
    cfg: WandbConfig, run_dir: Path, metadata: RunMetadata | Mapping[str, Any], is_rank_zero: bool = True
) -> Iterator[Any]:
    """Yields the recorder of this run, and ends its W&B run whatever happens; other ranks record nothing.

    What is logged goes into the run's own history first, with W&B and without. A run that goes on sends what W&B may
    not have from there, so that the last of its offline files, and the server, hold the whole of it. `tracking.json`
    keeps what it is found by, so that `src.sync` can send it at any time.

    Args:
        cfg: where to. Offline unless asked to be online; an unreachable server makes the run an offline one.
        run_dir: the run's folder.
        metadata: what the run is found by; a configuration alone stands for a run that its folder names.
        is_rank_zero: whether this process tells of the run.

    Raises:
        LeakError: something other than numbers and known names would be sent.
    """
    if not is_rank_zero:
        yield DummyLogger()
        return
    metadata = metadata if isinstance(metadata, RunMetadata) else RunMetadata(metadata)
    private_folder(run_dir, whole=True)
    history, mode = History(run_dir), asked_mode(cfg.mode)
    if mode is WandbMode.DISABLED:
        yield Recorder(None, history, metadata)
        return
    if mode is WandbMode.ONLINE and not logged_in():
        say("nobody is logged in (wandb login); recording offline")
        mode = WandbMode.OFFLINE
    with ExitStack() as stack:
        stack.enter_context(environment(run_dir))
        line = open_line(cfg, mode, run_dir, metadata)
        write_metadata(run_dir, cfg, metadata)
        recorder, failed = Recorder(line, history, metadata), True
        try:
            if line:
                stack.enter_context(nothing_else())
                recorder.send_again(rows_of(run_dir))
            yield recorder
            failed = False
        finally:
            if line:
                line.close(failed)
                private_folder(run_dir, whole=True)  # another process's W&B, which we may share, writes as it likes
