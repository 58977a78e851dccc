"""The errors that a person at a terminal is meant to read."""

from collections.abc import Sequence


class UserError(ValueError):
    """A problem that the person who typed the command can mend.

    The message names the file, row, key or value, and what to do. Entry points print it without a
    traceback and exit with status 2.
    """


class Interrupted(Exception):
    """A signal asked the process to end, and its work was saved; the same command goes on with it.

    Attributes:
        signal: number of the signal. Entry points exit with 128 plus it, as shells do.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}; the same command goes on from here")
        self.signal = signal


def raise_all(problems: Sequence[str], where: str) -> None:
    """Raises one UserError that lists every problem; does nothing when there are none.

    >>> raise_all([], "train")
    >>> raise_all(["lora.r=0: must be at least 1", "max_len=0: must be at least 8"], "train")
    Traceback (most recent call last):
    src.shell.errors.UserError: train: 2 problems
      lora.r=0: must be at least 1
      max_len=0: must be at least 8
    """
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError("\n  ".join([f"{where}: {count}", *problems]))
