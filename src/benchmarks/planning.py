"""Times how long 500 cells take to plan, submit to a Slurm of this machine, and report, and the command line to answer.

`python -m src.benchmarks.planning COHORT`: the jobs are held, so that none runs.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.testing.slurm_here import SlurmHere, install

GRID = ["-m", "seed=range(125)", "labels=single,two", "lora.r=4,8"]
"""500 cells."""

ROUNDS = 5


def measure(cohort: str, slurm: SlurmHere, out: Path) -> None:
    """Prints the seconds of each command as a user waits for it."""
    submit = [
        "src.train",
        *GRID,
        f"data.dir={cohort}",
        f"out={out}",
        "hydra/launcher=slurm",
        "hydra.launcher.wait=false",
    ]
    submit += ["+hydra.launcher.additional_parameters.hold=true"]
    for label, words in (
        ("--help", ["src.train", "--help"]),
        ("--cfg job", ["src.train", "--cfg", "job"]),
    ):
        print(f"{label}: {median(_seconds(words, slurm)[0] for _ in range(ROUNDS)):.2f} s, median of {ROUNDS}")
    seconds, output = _seconds(submit, slurm)
    print(f"500 cells planned and submitted: {seconds:.1f} s; {output.strip().splitlines()[-1]}")
    again, output = _seconds(submit, slurm)
    print(f"the same again, all joined: {again:.1f} s; {output.strip().splitlines()[-1]}")
    seconds, output = _seconds(["src.status", "multirun", f"out={out}"], slurm)
    print(f"their status: {seconds:.1f} s; {output.strip().splitlines()[-1]}")


def _seconds(words: list[str], slurm: SlurmHere) -> tuple[float, str]:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *words], env=slurm.environment, capture_output=True, text=True, check=True
    )
    return time.monotonic() - start, re.sub(r"\x1b\S*", "", done.stdout + done.stderr)


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        if len(sys.argv) != 2:
            raise UserError("python -m src.benchmarks.planning COHORT")
        if not install():
            raise UserError("no Slurm here, and apt cannot install it")
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)  # munge refuses keys below a folder that others may write
            slurm = SlurmHere(Path(folder) / "slurm", port=27800)
            slurm.start()
            try:
                measure(sys.argv[1], slurm, Path(folder) / "runs")
            finally:
                slurm.stop()


if __name__ == "__main__":
    main()
