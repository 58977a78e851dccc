"""Which code trained a run: the commit, a hash of everything that decides a result, and versions of packages."""

import hashlib
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]

DECIDING = (
    "train.py", "config/train.py", "cohort", "models", "metrics", "runs/predictions.py", "training", "baselines"
)  # fmt: skip
"""Parts of `src` that decide what comes out; launchers, status and tracking do not."""


@cache
def code_version() -> dict[str, str | None]:
    """The commit, null outside a checkout, and the hash of the sources as they lie on the disk."""
    return {"commit": _commit(), "source": _source_hash(ROOT / "src")}


def package_versions(names: Iterable[str]) -> dict[str, str | None]:
    """The version of each package by its name, null for one that is not installed.

    >>> package_versions(["no-such-package"])
    {'no-such-package': None}
    """
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _source_hash(src: Path) -> str:
    """Twelve hex digits that follow from the deciding files' names and contents.

    Shipped weights count by their size alone.
    """
    digest = hashlib.sha256()
    for part in DECIDING:
        files = [src / part] if part.endswith(".py") else sorted(path for path in (src / part).rglob("*"))
        for path in files:
            if path.suffix in (".py", ".json", ".csv"):
                digest.update(str(path.relative_to(src)).encode() + b"\0" + path.read_bytes() + b"\0")
            elif path.suffix == ".safetensors":
                digest.update(f"{path.relative_to(src)} {path.stat().st_size}\0".encode())
    return digest.hexdigest()[:12]


def _commit() -> str | None:
    try:
        command = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
