"""Settings under which W&B sees numbers and short names, and nothing of the machine or the notes.

Source: https://docs.wandb.ai/ref/python/settings; the version is pinned, for unknown settings raise.
"""

import os
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_SAVE_CODE": "false",
    "WANDB_SILENT": "true",
}

FOLDERS = {
    "WANDB_CACHE_DIR": "cache",
    "WANDB_DATA_DIR": "data",
    "WANDB_ARTIFACT_DIR": "artifacts",
    "WANDB_CONFIG_DIR": "config",
}

IGNORED = tuple("/".join(["*"] * depth) for depth in range(1, 7))
"""No file of the run's folder is uploaded; `**` does not work here."""


def set_environment(folder: Path) -> None:
    """Sets W&B's environment before it is imported; caches stay in the run's folder."""
    os.environ.update(ENVIRONMENT)
    os.environ.update(
        {name: str(folder / "wandb" / leaf) for name, leaf in FOLDERS.items() if name != "WANDB_CONFIG_DIR"}
    )


def settings() -> dict[str, Any]:
    """Arguments of `wandb.Settings`."""
    return {
        "console": "off",
        "capture_loggers": None,
        "disable_code": True,
        "save_code": False,
        "disable_git": True,
        "disable_job_creation": True,
        "x_disable_meta": True,
        "x_save_requirements": False,
        "host": "redacted",
        "username": "redacted",
        "email": "redacted",
        "program": "drg",
        "program_relpath": "drg",
        "sync_tensorboard": False,
        "sagemaker_disable": True,
        "x_transaction_log_flush_interval": 1.0,
        "ignore_globs": IGNORED,
        "silent": True,
    }


def logged_in() -> bool:
    """Whether W&B has a key for its server: in the environment or in netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    import netrc

    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0].split(":")[0]
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
