"""A run records which code trained it: commit, a hash of all that decides a result, versions of packages."""

import hashlib
import subprocess
from collections.abc import Iterable
from contextlib import suppress
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
    """Names the commit, null outside a checkout, and hashes the sources as they lie on the disk."""
    return {"commit": _commit(), "source": _source_hash(ROOT / "src")}


def package_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Looks up the version of each package, null for one that is not installed.

    >>> package_versions(["no-such-package"])
    {'no-such-package': None}
    """
    versions: dict[str, str | None] = dict.fromkeys(names)
    for name in versions:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _source_hash(src: Path) -> str:
    """Hashes the deciding files' names and contents into twelve hex digits.

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
