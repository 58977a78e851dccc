"""What tests share: a small hospital, its cohort, and one short run of each label scheme."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from tests.forked import Forks

# Two threads made tiny models ten times slower on a two-core machine.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # in the processes that are started here, which then add up in one order

ROOT = Path(__file__).parents[1]

collect_ignore = ["privacy/canary.py", "models/engine/interpreted.py", "models/engine/compiled.py"]
"""Programs of their own, which tests start; importing one wants its arguments, or Triton as it sets it up."""

SHORT = ["max_len=64", "epochs=1", "data.limit=48", "threads=1", "device=cpu"]
"""A run of seconds on the small base."""


def whole_record(**parts: object) -> str:
    """A `result.json` that a reader takes, with some of its parts given."""
    axes, seconds = {"model": "nano", "params": 1, "max_len": 64, "seed": 0}, {"training": 1.0, "total": 1.0}
    counts = {"train": 1, "test": 1}
    empty = {"config": {}, "axes": axes, "cohort": "", "counts": counts, "metrics": {}, "seconds": seconds}
    return json.dumps({**empty, "tokens_seen": 0, **parts})


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Fails where a test module cannot be imported: `--doctest-ignore-import-errors`, there for `src`, skips it."""
    report = yield
    unread = report.outcome == "skipped" and "unable to import module" in str(report.longrepr)
    if unread and collector.path.is_relative_to(ROOT / "tests"):
        report.outcome, report.longrepr = "failed", f"{collector.nodeid}: {report.longrepr[2]}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests come first, lest one of them be left for the end, when other cores have none.

    Warnings are errors; these few come from inside the libraries and cannot be acted on here.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    for text in (
        "ignore:.*isinstance.treespec:Warning",
        "ignore:.*is_gradient_checkpointing:FutureWarning",
        "ignore:.*in eval mode at the start:Warning",
        "ignore:.*does not have many workers:Warning",
    ):
        for item in items:
            item.add_marker(pytest.mark.filterwarnings(text))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test runs with connections to other machines refused."""
    connect = socket.socket.connect

    def refused(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and not (isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1")):
            raise ConnectionRefusedError(f"a test reached for the network: {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", refused)
    return


@pytest.fixture(scope="session")
def forks(shared: Path) -> Iterator[Forks]:
    """Starts commands in processes that have the libraries already; all workers do so from one."""
    address: Path | None = shared / "forks"
    if len(bytes(address)) > 100:  # a socket's address is no longer
        address = None
    session = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    with FileLock(shared / "forks.lock"):
        server = Forks(address=address, session=session)
    with server:
        yield server


@pytest.fixture(scope="session")
def command(forks: Forks) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m MODULE WORD ...` in a process of its own, as a user would.

    A `fresh` one starts Python itself, for tests of what libraries do, or read of the environment, when imported. That
    no file lacks an import that the processes forked here have made, ruff and mypy hold.
    """

    def run(module: str, *words: str, ok: bool = True, fresh: bool = False) -> subprocess.CompletedProcess[str]:
        if fresh:
            python = [sys.executable, "-m", module, *words]
            done = subprocess.run(python, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
        else:
            done = forks.run([module, *words])
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a session see."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(shared: Path) -> Callable[[str, Callable[[Path], object]], Path]:
    """Makes a folder once for all workers of a session; the first that asks makes it, and the others wait."""

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / name
        with FileLock(folder.with_suffix(".lock")):
            if not (done := folder.with_suffix(".made")).exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def hospital(once: Callable[..., Path], command: Callable[..., object]) -> Path:
    """A hospital of 900 admissions, which all workers read."""
    return once("hospital", lambda out: command("src.hospital", f"out={out}", "admissions=900", "seed=5"))


@pytest.fixture(scope="session")
def cohort(once: Callable[..., Path], hospital: Path, command: Callable[..., object]) -> Path:
    """The hospital's cohort, which all workers read."""
    return once("cohort", lambda out: command("src.prepare", f"data.dir={hospital}", f"data.out={out}"))


@pytest.fixture(scope="session")
def of_v41(once: Callable[..., Path], cohort: Path) -> Path:
    """The cohort's notes whose DRG v41 has too, as a cohort of that version."""

    def make(out: Path) -> None:
        import polars as pl

        from src.cohort.msdrg import load_drgs
        from src.cohort.prepared import read_cohort, write_cohort

        notes = pl.read_parquet(cohort / "notes.parquet").filter(pl.col("drg").is_in(list(load_drgs("v41"))))
        write_cohort(out / "cohort", notes, {**read_cohort(cohort).record, "drg_version": "v41"})

    return once("v41", make) / "cohort"


@pytest.fixture
def early_cohort(tmp_path: Path, cohort: Path) -> Path:
    """The cohort's files, and again as those of each horizon before discharge: enough to compose and plan."""
    folder = tmp_path / "early"
    record = json.loads((cohort / "cohort.json").read_text("utf-8"))
    for name in ("", "triage", "ed", "24h", "48h", "admission"):
        horizon = folder / "horizons" / name if name else folder
        horizon.mkdir(parents=True)
        (horizon / "notes.parquet").symlink_to(cohort / "notes.parquet")
        early = {"horizon": {"name": name, "hours": None}, "fingerprint": f"of {name}"} if name else {}
        (horizon / "cohort.json").write_text(json.dumps({**record, **early}), "utf-8")
    return folder


@pytest.fixture(scope="session")
def runs(
    tmp_path_factory: pytest.TempPathFactory, once: Callable[..., Path], cohort: Path, command: Callable[..., object]
) -> dict[str, Path]:
    """One finished run of each label scheme, by scheme; each worker has a copy, as tests evaluate them."""

    def make(out: Path) -> None:
        for scheme in ("single", "two", "joint"):
            command("src.train", f"data.dir={cohort}", f"out={out}", f"labels={scheme}", f"name={scheme}", *SHORT)

    out = tmp_path_factory.mktemp("runs") / "runs"
    shutil.copytree(once("runs", make), out, symlinks=True)
    return {scheme: out / scheme for scheme in ("single", "two", "joint")}
