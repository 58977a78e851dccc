"""The commands that README and docs print are such as the commands understand, key by key and value by value."""

import importlib
import re
import shlex
import sys

import pytest

from src.cli.compose import compose, read_command_line
from src.cli.errors import UserError
from src.config.train import TrainConfig
from tests.conftest import ROOT

OWN_FOLDER = {"--config-dir", "mine"}
"""Stands in commands that read the reader's own folder."""


def documented() -> list[list[str]]:
    """The words of every command in the pages' code blocks but `drg`, which has a file alone."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    blocks = [block for page in pages for block in re.findall(r"```\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    matches = [re.match(r"(?:\.venv/bin/)?python -m src\.(\w+(?: .*)?)$", line.strip()) for line in lines]
    commands = {tuple(shlex.split(match[1], comments=True)) for match in matches if match}
    return sorted(list(words) for words in commands if words[0] != "drg" and not OWN_FOLDER.issubset(words))


def test_every_documented_command_is_understood(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    commands = documented()
    assert {name for name, *_ in commands} >= {"train", "predict", "explain", "serve", "study", "report"}
    refused = []
    for name, *words in commands:
        if name == "train":  # Hydra shows no multirun
            refused += [f"train {words}: {line}" for line in problems(words) if "no such folder" not in line]
            continue
        monkeypatch.setattr(sys, "argv", [name, *words, "--cfg", "job"])
        try:
            importlib.import_module(f"src.{name}").main()
        except SystemExit as end:
            if end.code:
                refused.append(f"{name} {words}\n{capsys.readouterr().err}")
    assert not refused, "\n".join(refused)


def problems(words: list[str]) -> list[str]:
    """What is wrong with the words of a training, or of a sweep, a line each."""
    try:
        compose(TrainConfig, read_command_line(words, "train"))
    except UserError as error:
        return str(error).splitlines()[1:]
    return []
