"""Progress of training: a bar on a terminal, a line now and then elsewhere."""

import sys
from typing import Any

from src.cli.progress import Clock, measured


class StepsDone:
    """Steps done, time gone, time left, loss; and each validation."""

    def __init__(self, name: str, steps: int, quiet: bool) -> None:
        self.name, self.steps, self.quiet = name, steps, quiet
        self._clock = Clock(total=steps, what=name, unit="step")
        self._bar: Any = None

    def step(self, loss: float) -> None:
        """Counts one step."""
        if self.quiet:
            return
        if not sys.stderr.isatty():
            self._clock.step(lambda: f"loss {loss:.3f}")
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=self.steps, desc=self.name, unit=" step", file=sys.stderr)
        self._bar.update()
        self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        if self._bar.n >= self.steps:
            self._bar.close()

    def validated(self, run: str, epoch: int, accuracy: float, notes: int) -> None:
        """Tells of a run's validation on so many notes."""
        measured(accuracy, notes)
        if not self.quiet:
            print(f"{run}: epoch {epoch}, validation accuracy {accuracy:.3f}", flush=True)


def quiet_libraries() -> None:
    """Leaves the terminal to our own lines: no tips, no loading bars, no warnings about how a loop is built."""
    import logging
    import warnings

    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it wherever it is installed
    for message in (
        ".*isinstance.treespec.*",
        ".*in eval mode at the start.*",
        ".*Could not find a config file.*",
        ".*is_gradient_checkpointing.*",
        ".*srun. command is available.*",
        ".*FSDP2-wrapped module .* returned a view.*",
    ):
        warnings.filterwarnings("ignore", message=message)
