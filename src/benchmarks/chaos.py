"""Strikes the nano sweep on a cluster of this machine at random, beside the same sweep left in peace.

`python -m src.benchmarks.chaos COHORT OUT [kills=20] [seed=0] [on=slurm] [KEY=VALUE ...]`; further words are the
sweep's. With `on=processes` it is the local launcher's two processes; with `on=ray` one of two nodes is killed instead,
and another one joins.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from src.benchmarks.settings import own_settings
from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.cli.progress import minutes
from src.runs.find import run_folders
from src.runs.folder import RunFolder
from src.runs.lock import held_by
from src.runs.record import read_record
from src.runs.state import RunStatus
from src.sweeps.status_table import read_rows
from src.sweeps.worker import ENDED
from src.testing.slurm_here import SlurmHere, install

KINDS = ("job process", "node", "controller", "submitter", "cancel", "requeue")
SECONDS_BETWEEN = (2.0, 9.0)
SECONDS_BETWEEN_LOCAL = (0.5, 4.0)
CELLS = 24


class Submitter:
    """Keeps the process that runs a sweep, and starts it again when it is gone."""

    def __init__(self, words: list[str], out: Path, environment: dict[str, str] | None = None) -> None:
        self.words, self.out, self.environment = words, out, environment
        self.starts = 0
        self._start()

    def _start(self) -> None:
        self.starts += 1
        with (self.out / "submitter.log").open("ab") as log:
            self.process = subprocess.Popen(self.words, env=self.environment, stdout=log, stderr=log)

    def keep(self) -> None:
        """Starts the sweep again when its process is gone."""
        if self.process.poll() is not None:
            self._start()


class Chaos:
    """Strikes one sweep on one Slurm with kills and commands."""

    def __init__(self, slurm: SlurmHere, words: list[str], out: Path, seed: int) -> None:
        self.slurm, self.out, self.chance = slurm, out, random.Random(seed)
        self.done: Counter[str] = Counter()
        self.submitter = Submitter(words, out, slurm.environment)

    def keep_submitting(self) -> None:
        """Starts the sweep again when its process is gone; gives back nodes that Slurm drained after a power cut."""
        for node in self.slurm.run("sinfo", "-h", "-N", "-p", "batch", "-t", "drain,down", "-o", "%N").split():
            self.slurm.run("scontrol", "update", f"nodename={node}", "state=resume")
        self.submitter.keep()

    def strike(self, kind: str) -> bool:
        """Makes one kill or command; False when there was nothing to strike."""
        struck = {
            "job process": self._job_process,
            "node": self._node,
            "controller": self._controller,
            "submitter": self._submitter,
            "cancel": lambda: self._command("scancel"),
            "requeue": lambda: self._command("scontrol", "requeue"),
        }[kind]()
        if struck:
            self.done[kind] += 1
            print(f"{sum(self.done.values()):>3}  {kind:<12} {struck}", flush=True)
        return bool(struck)

    def _job_process(self) -> str:
        rows = [row for row in read_rows("nano", self.out) if row.look.holder]
        if not rows:
            return ""
        row = self.chance.choice(rows)
        try:
            os.kill(row.look.holder.pid, 9)  # type: ignore[union-attr]
        except ProcessLookupError:
            return ""
        return row.name

    def _node(self) -> str:
        node = self.chance.choice(self.slurm.nodes)
        self.slurm.kill_node(node)
        time.sleep(self.chance.uniform(0.5, 4))
        self.slurm.start_node(node)
        return node

    def _controller(self) -> str:
        self.slurm.kill_controller()
        time.sleep(self.chance.uniform(0.5, 5))
        self.slurm.start_controller()
        return "slurmctld"

    def _submitter(self) -> str:
        submitter = self.submitter.process
        if submitter.poll() is not None:
            return ""
        submitter.kill()
        submitter.wait()
        return f"pid {submitter.pid}"

    def _command(self, *words: str) -> str:
        running = self.slurm.run("squeue", "-h", "-r", "-t", "R", "-o", "%i").split()
        if not running:
            return ""
        job = self.chance.choice(running)
        self.slurm.run(*words, job)
        return job


def under_slurm(words: list[str], out: Path, kills: int, seed: int) -> str:
    """Runs the sweep on a Slurm of two nodes while it is struck `kills` times; says what was done to it."""
    if not install():
        raise UserError("no Slurm here, and apt cannot install it")
    slurm = SlurmHere(out.parent / "slurm")
    slurm.start()
    try:
        chaos = Chaos(slurm, words, out, seed)
        plan = [*KINDS, *(chaos.chance.choice(KINDS) for _ in range(kills))][:kills]
        chaos.chance.shuffle(plan)
        time.sleep(15)
        while len(ended(out)) < CELLS:
            if plan and chaos.strike(plan[0]):
                plan.pop(0)
            elif plan:
                chaos.chance.shuffle(plan)
            time.sleep(chaos.chance.uniform(*SECONDS_BETWEEN) if plan else 2)
            chaos.keep_submitting()
        chaos.submitter.process.wait(timeout=120)
        left = slurm.run("squeue", "-h", "-t", "R,PD")
    finally:
        slurm.stop()
    strikes = ", ".join(f"{count} {kind}" for kind, count in sorted(chaos.done.items()))
    return (
        f"{sum(chaos.done.values())} strikes ({strikes}), {chaos.submitter.starts} starts, "
        f"{len(left.split())} jobs left"
    )


class LocalChaos:
    """Strikes one sweep in processes of this machine with kills and signals."""

    KINDS = ("cell", "cell", "cell stops", "fork server", "submitter", "submitter stops")

    def __init__(self, words: list[str], out: Path, seed: int) -> None:
        self.out, self.chance = out, random.Random(seed)
        self.done: Counter[str] = Counter()
        self.submitter = Submitter(words, out)

    def strike(self) -> None:
        """Makes one kill or signal, where there is something to strike; a sweep that is gone is started again."""
        self.submitter.keep()
        kind = self.chance.choice(self.KINDS)
        number = self.chance.choice((signal.SIGTERM, signal.SIGINT)) if kind.endswith("stops") else signal.SIGKILL
        if kind.startswith("cell"):
            pids = []
            with suppress(UserError):  # the sweep has not begun
                pids = [row.look.holder.pid for row in read_rows("nano", self.out) if row.look.holder]
        else:
            submitter = self.submitter.process.pid
            children = map(int, Path(f"/proc/{submitter}/task/{submitter}/children").read_text().split())
            servers = [pid for pid in children if b"forkserver" in _command(pid)]
            pids = servers if kind == "fork server" else [submitter]
        if pids:
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(pids), number)
                self.done[kind] += 1


def under_processes(words: list[str], out: Path, kills: int, seed: int) -> str:
    """Runs the sweep in two processes while it is struck `kills` times; says what was done to it."""
    chaos = LocalChaos(words, out, seed)
    while len(ended(out)) < CELLS:
        time.sleep(chaos.chance.uniform(*SECONDS_BETWEEN_LOCAL))
        if chaos.done.total() < kills:
            chaos.strike()
        else:
            chaos.submitter.keep()
    chaos.submitter.process.wait(timeout=120)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(chaos.done.items()))
    return f"{chaos.done.total()} strikes ({kinds}), {chaos.submitter.starts} starts"


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def under_ray(words: list[str], out: Path, seed: int) -> str:
    """Runs the sweep on a Ray cluster of two nodes, of which one is killed; says what was done to it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        with (out / "submitter.log").open("ab") as log:
            sweep = subprocess.Popen([*words, f"hydra.launcher.address={cluster.address}"], stdout=log, stderr=log)
            while len(ended(out)) < 5 and sweep.poll() is None:
                time.sleep(0.2)
            cluster.remove_node(random.Random(seed).choice(nodes), allow_graceful=False)
            cluster.add_node(num_cpus=1)
            status = sweep.wait()
    finally:
        cluster.shutdown()
    return f"one of two nodes killed after 5 cells, another joined; the sweep ended with status {status}"


def ended(out: Path) -> list[Path]:
    """Lists the folders of finished cells."""
    return run_folders(out, lambda path: RunFolder(path).record.exists())


def verdict(calm: Path, out: Path) -> list[str]:
    """Lists what is not as it should be; nothing when all is well."""
    rows, wrong = read_rows("nano", out), []
    if len(ended(out)) != CELLS:
        wrong.append(f"{len(ended(out))} records instead of {CELLS}")
    wrong += [f"{row.name}: {row.look.standing}" for row in rows if row.look.standing is not RunStatus.FINISHED]
    for folder in ended(out):
        ends = (RunFolder(folder).log).read_text("utf-8").count(ENDED)
        if ends != 1:
            wrong.append(f"{folder.name}: trained to the end {ends} times")
        if holder := held_by(folder):
            wrong.append(f"{folder.name}: {holder} holds it still")
        if read_record(folder).metrics != read_record(calm / folder.name).metrics:
            wrong.append(f"{folder.name}: other metrics than undisturbed")
    return wrong


def overheads(out: Path) -> str:
    """Takes the median seconds of cells by part; `beyond training` is what comes before the first step."""
    parts: dict[str, list[float]] = {}
    for folder in ended(out):
        laps = json.loads((RunFolder(folder).state).read_text("utf-8"))["seconds"]
        if laps:
            laps["beyond training"] = laps["start"] + laps["load"]
            for part, seconds in laps.items():
                parts.setdefault(part, []).append(seconds)
    medians = {part: sorted(values)[len(values) // 2] for part, values in parts.items()}
    return ", ".join(f"{part} {seconds:.1f} s" for part, seconds in medians.items())


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        if len(sys.argv) < 3:
            raise UserError("python -m src.benchmarks.chaos COHORT OUT [kills=20] [seed=0] [on=slurm] [KEY=VALUE ...]")
        own, given = own_settings(sys.argv[3:], {"kills": 20, "seed": 0, "on": "slurm"})
        out = Path(sys.argv[2]).absolute()
        base = [sys.executable, "-m", "src.train", "--config-dir", "sweeps", "--config-name", "nano"]
        base += [f"data.dir={sys.argv[1]}", *given]
        calm, struck = out / "calm", out / own["on"]
        struck.mkdir(parents=True, exist_ok=True)
        local = [*base, f"out={calm}", "hydra/launcher=processes", "hydra.launcher.workers=2"]
        _timed("undisturbed, two processes", lambda: str(subprocess.run(local, check=True).returncode))
        print(f"a cell, median: {overheads(calm)}")
        words = [*base, f"out={struck}", f"hydra/launcher={own['on']}", "hydra.launcher.retries=9"]
        if own["on"] == "ray":
            _timed("Ray", lambda: under_ray(words, struck, own["seed"]))
        elif own["on"] == "processes":
            words += ["hydra.launcher.workers=2"]
            _timed("processes", lambda: under_processes(words, struck, own["kills"], own["seed"]))
        else:
            words += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.poll_s=1"]
            _timed("Slurm", lambda: under_slurm(words, struck, own["kills"], own["seed"]))
        print(f"a cell, median: {overheads(struck)}")
        wrong = verdict(calm, struck)
        print("\n".join(wrong) or f"{CELLS} records, each trained to the end once, metrics bit-equal, no lock held")
        sys.exit(bool(wrong))


def _timed(phase: str, work: Callable[[], str]) -> None:
    start = time.monotonic()
    outcome = work()
    print(f"{phase}: {minutes(time.monotonic() - start)}, {outcome}", flush=True)


if __name__ == "__main__":
    main()
