"""A program of its own: tries the fast path on several stacks of library versions, each in a throw-away environment.

    make test-stacks
    make test-stacks stacks=oldest,newest

A stack is what `pyproject.toml` allows, narrowed: `oldest` to the lowest version of every range, `pinned` by
`constraints.txt`, and the others by their pins in `[tool.drg-llama.stacks]`. pip reads its own settings, so that
`PIP_EXTRA_INDEX_URL` or `PIP_FIND_LINKS` may name builds of torch for a CPU, which are gigabytes smaller.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]

TOOLS = {"pytest", "pytest-timeout", "triton"}
"""The tests below need these of the extra `dev`."""

SHOWN = ("torch", "triton", "transformers", "peft", "pytorch-lightning", "wandb")
"""The columns of the table; all other versions stand in the line that follows an installation."""

WHOLE_RUN = (
    "test_a_run_leaves_its_record",
    "test_a_fresh_process_reproduces_the_numbers",
    "test_an_evaluation_leaves_tables_and_pictures",
)

TESTS = (
    (
        "-m",
        "not slow",
        "tests/models",
        "tests/training",
        "tests/tracking",
        "tests/privacy",
        *(f"tests/test_run.py::{name}" for name in WHOLE_RUN),
    ),
    ("-m", "slow", "tests/models/engine/test_kernels.py"),
)
"""The words of each call of pytest; the second compiles the fused kernels and runs them in Triton's interpreter."""

COUNTS = ("tests", "failures", "errors", "skipped")
"""These are counted by pytest's report."""


@dataclass
class Outcome:
    """An outcome says what became of a stack."""

    stack: str
    versions: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    installed: float = 0.0
    """Seconds that installing took."""
    tested: float = 0.0
    """Seconds that the tests took."""
    passed: bool = False

    def row(self) -> list[str]:
        """An outcome is one row of the table."""
        failed = self.counts["failures"] + self.counts["errors"]
        passed = self.counts["tests"] - failed - self.counts["skipped"]
        numbers = [passed, failed, self.counts["skipped"], round(self.installed), round(self.tested)]
        verdict = "passed" if self.passed else "FAILED" if self.versions else "NOT INSTALLED"
        return [self.stack, *(self.versions.get(name, "-") for name in SHOWN), *map(str, numbers), verdict]


HEADER = ["stack", *SHOWN, "passed", "failed", "skipped", "install s", "tests s", "verdict"]


def lowest(requirement: str) -> str:
    """The lowest version of a range becomes its only one.

    >>> lowest("peft>=0.20,<0.22"), lowest("triton>=3.4; platform_system == 'Linux'"), lowest("drg==1.0.0")
    ('peft==0.20', "triton==3.4; platform_system == 'Linux'", 'drg==1.0.0')
    """
    return re.sub(r">=([^,;\s]+)[^;]*", r"==\1", requirement)


def name_of(requirement: str) -> str:
    """A requirement begins with the name of its package.

    >>> name_of("hydra-core>=1.3.2,<1.4")
    'hydra-core'
    """
    return re.split(r"[<>=!~;\[\s]", requirement, maxsplit=1)[0]


def requirements(project: dict[str, Any]) -> tuple[list[str], list[str]]:
    """A stack installs the project's dependencies with its extra for GPUs, and what runs the tests."""
    extras = project["optional-dependencies"]
    tools = [requirement for requirement in extras["dev"] if name_of(requirement) in TOOLS]
    return [*project["dependencies"], *extras["gpu"]], tools


def pins_of_stacks(settings: dict[str, Any]) -> dict[str, list[str]]:
    """Each stack narrows the ranges by its pins, here by the stack's name."""
    pinned = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    libraries, tools = requirements(settings["project"])
    derived = {"oldest": [lowest(requirement) for requirement in libraries + tools], "pinned": pinned}
    named: dict[str, list[str]] = settings["tool"]["drg-llama"]["stacks"]
    return derived | named


def install(python: Path, libraries: list[str], tools: list[str], pins: list[str], folder: Path) -> dict[str, str]:
    """pip installs libraries and tools within the pins.

    Returns:
        The version of each by its name; empty where pip failed, which says why itself.
    """
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins), "utf-8")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    # The tools come second: asked for at once, the newest Triton would win over the newest torch, which names its own.
    for wanted in (libraries, tools):
        if subprocess.run([*pip, "install", "--quiet", *wanted, "-c", str(constraints)], check=False).returncode:
            return {}
    listed = subprocess.run([*pip, "list", "--format=json"], capture_output=True, text=True, check=True).stdout
    versions = {package["name"].lower().replace("_", "-"): package["version"] for package in json.loads(listed)}
    return {name: versions[name] for name in map(name_of, libraries + tools) if name in versions}


def run_tests(python: Path, folder: Path) -> tuple[bool, dict[str, int]]:
    """pytest is called for each part of the tests: whether all calls passed, and the sum of what they count."""
    passed, counts = True, dict.fromkeys(COUNTS, 0)
    for number, words in enumerate(TESTS):
        report = folder / f"report{number}.xml"
        # Warnings are errors of `make test`, on its versions; elsewhere what the libraries deprecate is no failure.
        pytest = [str(python), "-m", "pytest", "-W", "default", "-p", "no:cacheprovider", f"--junitxml={report}"]
        passed &= subprocess.run([*pytest, *words], cwd=ROOT, check=False).returncode == 0
        if report.exists():
            for suite in ElementTree.parse(report).iter("testsuite"):
                counts = {name: count + int(suite.get(name, 0)) for name, count in counts.items()}
    return passed, counts


def try_stack(stack: str, project: dict[str, Any], pins: list[str]) -> Outcome:
    """A stack's environment is built, the tests run in it, and it is removed."""
    outcome, began = Outcome(stack), time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"stack-{stack}-") as path:
        folder = Path(path)
        print(f"{stack}: installing", flush=True)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        outcome.versions = install(python, *requirements(project), pins, folder)
        outcome.installed = time.monotonic() - began
        if outcome.versions:
            versions = " ".join(f"{name}=={version}" for name, version in outcome.versions.items())
            print(f"{stack}: testing with {versions}", flush=True)
            outcome.passed, outcome.counts = run_tests(python, folder)
            outcome.tested = time.monotonic() - began - outcome.installed
    return outcome


def table(rows: list[list[str]]) -> str:
    """Rows become aligned columns.

    >>> print(table([["stack", "passed"], ["oldest", "7"]]))
    stack   passed
    oldest  7
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def main() -> None:
    """The stacks named on the command line are tried, else all; the exit status is 1 unless all pass."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    stacks = pins_of_stacks(settings)
    chosen = [name for word in sys.argv[1:] for name in word.split(",") if name] or list(stacks)
    if unknown := [name for name in chosen if name not in stacks]:
        sys.exit(f"stacks={','.join(unknown)}: the stacks are {', '.join(stacks)}")
    outcomes = []
    for stack in chosen:
        outcomes.append(try_stack(stack, settings["project"], stacks[stack]))
        print(f"\n{table([HEADER, *(outcome.row() for outcome in outcomes)])}\n", flush=True)
    sys.exit(not all(outcome.passed for outcome in outcomes))


if __name__ == "__main__":
    main()
