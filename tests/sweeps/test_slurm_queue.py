"""Missing commands of Slurm, and a controller that does not answer, are named at once and while it is waited for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from src.cli.errors import UserError
from src.sweeps.launchers import slurm_queue
from src.sweeps.launchers.slurm_queue import Queue, ask

SILENT = "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1"


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a `squeue` that runs these lines first on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    script = tmp_path / "squeue"

    def write(lines: str) -> None:
        script.write_text(f"#!/bin/sh\n{lines}\n", "utf-8")
        script.chmod(0o700)

    return write


def test_a_controller_that_does_not_answer_the_first_question_ends_the_start(
    squeue: Callable[[str], None], tmp_path: Path
) -> None:
    squeue(SILENT)
    with pytest.raises(UserError, match=r"squeue has no answer of Slurm's controller \(slurm_load_jobs error: Unable"):
        Queue(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["squeue"]


def test_a_hanging_controller_ends_the_start_too(
    squeue: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue("exec sleep 30")
    monkeypatch.setattr(slurm_queue, "ASKED_S", 0.2)
    with pytest.raises(UserError, match="nothing in 0 s"):
        Queue(tmp_path)


def test_a_controller_that_goes_away_later_is_waited_for_and_said_so(
    squeue: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    squeue("")
    queue = Queue(tmp_path)
    squeue(f'if [ ! -e "{tmp_path}/back" ]; then touch "{tmp_path}/back"; {SILENT}; fi')
    queue.refresh()
    said = capsys.readouterr().err
    assert said.startswith("Slurm's controller does not answer (slurm_load_jobs error: Unable to contact")
    assert said.count("\n") == 1


def test_patience_ends_with_the_reason(squeue: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    squeue(SILENT)
    monkeypatch.setattr(slurm_queue, "PATIENCE_S", 0.0)
    with pytest.raises(UserError, match=r"has not answered for 0 s \(slurm_load_jobs.*the same command joins them"):
        ask(["squeue"])


def test_a_missing_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no squeue here"):
        Queue(tmp_path)
