"""Makes a whole small run of `python -m src.train` on the device, from a synthetic hospital to its record."""

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from src.benchmarks.gpu_lines import LeftOut, Row, Unit
from src.runs.folder import RunFolder

NEEDED = (
    "hydra",
    "omegaconf",
    "polars",
    "pytorch_lightning",
    "torchmetrics",
    "scipy",
    "matplotlib",
    "isal",
    "drgpy",
    "drg",
    "psutil",
    "filelock",
)
"""What a run imports beside torch, transformers and peft, by the names of the modules."""

SIZE = ("model=nano", "max_len=64", "epochs=1", "data.limit=48", "threads=1", "wandb.mode=disabled")


def train_units(device: str) -> list[Unit]:
    """Runs cohort, training, test and record, each command in a process of its own."""
    return [Unit({"part": "train"}, lambda: _train(device))]


def _train(device: str) -> Row:
    if missing := [name for name in NEEDED if not _is_here(name)]:
        raise LeftOut(f"a run also needs {', '.join(missing)}; install the project with pip install -e .")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hospital, cohort, runs = folder / "hospital", folder / "cohort", folder / "runs"
        _command("src.hospital", f"out={hospital}", "admissions=900", "seed=5")
        _command("src.prepare", f"data.dir={hospital}", f"data.out={cohort}")
        _command("src.train", f"data.dir={cohort}", f"out={runs}", "name=run", f"device={device}", *SIZE)
        record = json.loads((RunFolder(runs / "run").record).read_text("utf-8"))
    return {
        "device": record["device"],
        "steps": record["counts"]["steps"],
        "accuracy": record["metrics"]["test/accuracy"],
        "run_seconds": record["seconds"]["total"],
        "seconds": time.monotonic() - start,
    }


def _is_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def _command(module: str, *words: str) -> None:
    """Runs a command of the project.

    Raises:
        RuntimeError: it fails; the message is its last line, and all it wrote is on standard error.
    """
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", module, *words], cwd=root, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        raise RuntimeError(f"python -m {module}: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
