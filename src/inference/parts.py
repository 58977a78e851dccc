"""Keeps predictions part by part in a folder beside their file, so that the same command goes on where it was."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from filelock import FileLock, Timeout

from src.cli.errors import UserError
from src.cli.files import atomic_write, private_folder
from src.cli.json_files import Damaged
from src.cli.progress import Clock
from src.cli.signals import Stop
from src.inference.encounters import Encounters
from src.inference.proposals import Proposer, ReadNotes
from src.models.devices import is_cpu

FIRST, MOST = 64, 1_024
"""Encounters of the first part, and of the largest: its scores and tokens are in memory."""

SECONDS = 20.0
"""A part is written this often or more, as far as `FIRST` allows: what a process that is killed loses."""

PART = re.compile(r"(\d+)-(\d+)\.parquet")


@dataclass(frozen=True)
class Parts:
    """Holds the parts of one output; those of other notes, models or options are removed."""

    out: Path
    fingerprint: str
    """Of all that decides on them, see `Proposer.fingerprint`."""

    @property
    def home(self) -> Path:
        """Is the folder beside the output."""
        return self.out.with_name(f".{self.out.name}.parts")

    @property
    def paths(self) -> list[Path]:
        """Lists the parts that follow on each other from the first."""
        paths, end = list[Path](), 0
        for path in sorted((self.home / self.fingerprint).glob("*.parquet")):
            if (match := PART.fullmatch(path.name)) and int(match[1]) == end:
                paths.append(path)
                end = int(match[2])
        return paths

    @property
    def done(self) -> int:
        """Counts the encounters of the parts."""
        paths = self.paths
        return int(paths[-1].stem.split("-")[1]) if paths else 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Makes the folder, and keeps other processes out of it; it goes where there is no part at the end.

        Raises:
            UserError: another process writes the same output.
        """
        private_folder(self.home)
        lock = FileLock(self.home / "lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise UserError(f"{self.out}: another process is writing it; wait for it, or name another out=") from None
        try:
            for path in self.home.iterdir():
                if path.is_dir() and path.name != self.fingerprint:
                    shutil.rmtree(path)
            private_folder(self.home / self.fingerprint)
            yield
        finally:
            if not self.paths:
                self.remove()
            lock.release()

    def add(self, rows: pl.DataFrame) -> None:
        """Writes the next part."""
        start = self.done
        name = f"{start:010d}-{start + rows.height:010d}.parquet"
        with atomic_write(self.home / self.fingerprint / name) as tmp:
            rows.write_parquet(tmp)

    def frames(self) -> Iterator[pl.DataFrame]:
        """Reads the parts in order.

        Raises:
            UserError: one is damaged.
        """
        for path in self.paths:
            try:
                yield pl.read_parquet(path)
            except (pl.exceptions.PolarsError, OSError) as error:
                raise Damaged(path, type(error).__name__, f"remove {self.home}, and run it again") from None

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.home, ignore_errors=True)


def propose_all(proposer: Proposer, encounters: Encounters, parts: Parts, stop: Stop) -> None:
    """Predicts the encounters that no part holds yet, a part at a time, while a thread reads the notes of the next.

    Raises:
        Interrupted: a signal came; whole parts stay.
    """
    start, count = parts.done, FIRST
    if all(is_cpu(model.predictor.device) for model in proposer.models.members):
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # more threads would take the networks' cores

    def read(start: int, count: int) -> ReadNotes:
        return proposer.read(encounters.piece(start, count))

    with (
        Clock(total=len(encounters) - start, what="predicting", unit="note") as clock,
        ThreadPoolExecutor(1) as reader,
    ):
        ahead = reader.submit(read, start, count)
        while start < len(encounters):
            begun = time.monotonic()
            stop.check()
            notes = ahead.result()
            start += notes.ids.height
            if start < len(encounters):
                ahead = reader.submit(read, start, count)
            parts.add(proposer.decide(notes, stop))
            clock.reach(clock.done + notes.ids.height)
            if time.monotonic() - begun < SECONDS / 2:
                count = min(2 * count, MOST)
