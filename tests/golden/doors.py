"""The doors through which golden tests reach the project: the commands that a user types, and what has no command."""

import importlib
import sys
from pathlib import Path
from unittest.mock import patch


def call(command: str, *words: str) -> None:
    """Runs `python -m src.COMMAND WORD ...` in this process; fails where it ends with an error."""
    module = importlib.import_module(f"src.{command}")
    with patch.object(sys, "argv", [command, *words]):
        module.main()


def named(words: list[str], fingerprint: str) -> tuple[Path, str]:
    """The folder that a command line of `src.train` trains in, and its identity on the cohort of a fingerprint."""
    from src.cli.compose import compose, read_command_line
    from src.config.train import TrainConfig
    from src.runs.identity import identity, run_dir

    (cfg,) = compose(TrainConfig, read_command_line(words, "train"))
    return run_dir(cfg), identity(cfg, fingerprint)
