"""Measures the service under many clients, beside one client that asks for a note at a time.

`python -m src.benchmarks.service run=DIR notes=FILE [requests=10000] [clients=32]`: the service runs in a process of
its own, and every answer is held against the one that the same note had alone.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import local

import numpy as np
import psutil

from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.inference.model import open_model
from src.service.served_notes import read_encounters

DIFFERENT = 50
"""Notes that are sent in turn."""

GROWTH = 1.05
"""The memory after the last request may be so many times that after a fifth of them."""


@contextmanager
def service_of(run: str) -> Iterator[tuple[int, psutil.Process]]:
    """Starts the service in a process of its own; yields its port and the process.

    Raises:
        UserError: it does not start.
    """
    words = [sys.executable, "-m", "src.serve", f"run={run}", "port=0", "device=cpu"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = (process.stdout.readline() if process.stdout else "").split("/v1")[0]
            if not line.startswith("serving on"):
                raise UserError(f"run={run}: the service did not start")
            yield int(line.rsplit(":", 1)[1]), psutil.Process(process.pid)
        finally:
            process.terminate()


class Client:
    """Asks for proposals over connections that stay open, one a thread."""

    def __init__(self, port: int, texts: Sequence[str]) -> None:
        self.port, self.bodies, self._open = port, [json.dumps({"text": text}) for text in texts], local()

    def ask(self, number: int) -> tuple[float, str]:
        """Sends one note; returns the seconds that the answer took, and the DRGs that it lists."""
        if not hasattr(self._open, "connection"):
            self._open.connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        start = time.perf_counter()
        body = self.bodies[number % len(self.bodies)]
        self._open.connection.request("POST", "/v1/predict", body, {"content-type": "application/json"})
        answer = self._open.connection.getresponse()
        content = json.loads(answer.read())
        if answer.status != 200:
            raise UserError(f"request {number}: answered with {answer.status}; with fewer clients= none is refused")
        (row,) = content["predictions"]
        return time.perf_counter() - start, f"{row['drgs']} {row['decision']}"


def measure(client: Client, requests: int, clients: int, first: int = 0) -> tuple[str, list[str]]:
    """Sends requests from several clients; returns a line of figures, and what was answered."""
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(client.ask, range(first, first + requests)))
    pace = requests / (time.perf_counter() - start)
    half, most = (1000 * float(np.percentile([seconds for seconds, _ in answers], share)) for share in (50, 99))
    line = f"{clients:>3} clients, {requests:>6,} requests: {pace:>6.0f} a second, p50 {half:.0f} ms, p99 {most:.0f} ms"
    return line, [drgs for _, drgs in answers]


def load(run: str, notes: str, requests: int, clients: int) -> None:
    """Measures one client, then many, and prints figures.

    Raises:
        UserError: an answer is lost or another note's, or memory grows.
    """
    texts = read_encounters(Path(notes), open_model(Path(run), "cpu").kept)["text"].to_list()[:DIFFERENT]
    with service_of(run) as (port, process):
        client = Client(port, texts)
        line, expected = measure(client, max(len(texts), requests // 10), 1)
        print(line, flush=True)
        early = requests // 5
        _, answers = measure(client, early, clients)
        before = process.memory_info().rss
        line, later = measure(client, requests - early, clients, early)
        after = process.memory_info().rss
        print(line)
    wrong = sum(drgs != expected[number % len(texts)] for number, drgs in enumerate(answers + later))
    print(f"answers that differ from the note's alone: {wrong} of {len(answers + later):,}")
    print(f"memory: {before / 2**20:,.0f} MiB after {early:,} requests, {after / 2**20:,.0f} MiB at the end")
    if wrong or after > before * GROWTH:
        raise UserError("an answer is not the note's, or memory grew")


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        words = read_settings(sys.argv[1:], {"run": "", "notes": "", "requests": 10000, "clients": 32})
        load(words["run"], words["notes"], words["requests"], words["clients"])


if __name__ == "__main__":
    main()
