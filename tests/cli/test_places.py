"""Every command meets a place that it cannot write: one sentence before the work, and nothing half-written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, whole_record
from tests.forked import Forks

DRIVER = """
import ctypes, json, os, runpy, sys, traceback
if os.geteuid() == 0:  # root may write everywhere unless it gives its privileges up
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0
for module, words, errors in json.load(sys.stdin):
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    sys.argv = [module, *words]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)
"""
"""Runs commands one after another, each in a child, without the right to write what the file modes forbid."""

Words = Callable[[Path, Path], list[str]]

COMMANDS: dict[str, Words] = {
    "audit": lambda place, run: [f"{place}/run"],
    "compare": lambda place, run: [str(run), str(run.parent / "other"), f"out={place}/new"],
    "dashboard": lambda place, run: [str(run.parent), f"to={place}/new"],
    "demo": lambda place, run: [f"out={place}/new"],
    "evaluate": lambda place, run: [f"run={place}/run"],
    "explain": lambda place, run: [f"run={run}", f"notes={run.parent}", f"out={place}/new/scores.csv"],
    "export": lambda place, run: [f"run={run}", f"out={place}/new"],
    "hospital": lambda place, run: [f"out={place}/new", "admissions=900000"],
    "predict": lambda place, run: [f"run={run}", f"notes={run.parent}", f"out={place}/new/predictions.csv"],
    "prepare": lambda place, run: [f"data.dir={run.parent}", f"data.out={place}/new"],
    "pretrain": lambda place, run: [f"data.dir={run}", f"out={place}/new"],
    "report": lambda place, run: [str(run.parent), f"to={place}/new"],
    "scaling": lambda place, run: [str(run.parent), f"to={place}/new"],
    "serve": lambda place, run: [f"run={run}", f"notes={run}/result.json", f"log={place}/new", "port=0"],
    "status": lambda place, run: [str(run.parent), f"csv={place}/new"],
    "study": lambda place, run: ["plan", f"cases={run}/result.json", "coders=[a,b,c]", f"out={place}/new"],
    "sync": lambda place, run: [f"{place}/run"],
    "train": lambda place, run: [f"data.dir={run}", f"out={place}/new"],
}
"""The words that let each command write below a place."""

WITHOUT_OUTPUT = {"cell", "drg", "gauge"}
"""Commands that print alone; `cell` is started by sweeps, which have made its folder."""

INSTEAD = {
    "audit": "audit.json is written there",
    "dashboard": "name a folder with to=DIR",
    "evaluate": "the report is written there",
    "prepare": "name another with data.out=",
    "report": "name a folder with to=DIR",
    "scaling": "name a folder with to=DIR",
    "serve": "name another with log=",
    "status": "name another with csv=",
    "sync": "audit.json is written there",
}
"""What a message says is to be done where it is not `out=`."""


def written_run(folder: Path) -> Path:
    """A folder that passes for a finished run, an audited one and a cohort as far as a first look goes."""
    (folder / "wandb").mkdir(parents=True)
    (folder / "result.json").write_text(whole_record(), "utf-8")
    (folder / "cohort.json").write_text("{}", "utf-8")
    return folder


def files(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def outcomes(forks: Forks, cases: list[tuple[str, list[str]]], folder: Path) -> list[tuple[int, str]]:
    """The status and the standard error of each command."""
    asked = [(f"src.{name}", words, str(folder / f"{number}.err")) for number, (name, words) in enumerate(cases)]
    done = forks.run(["-c", DRIVER], text=json.dumps(asked))
    assert len(done.stdout.split()) == len(asked), done.stdout + done.stderr
    codes = [int(line) for line in done.stdout.split()]
    return [(code, Path(errors).read_text("utf-8")) for code, (_, _, errors) in zip(codes, asked, strict=True)]


def test_every_command_is_walked_or_said_to_write_nothing() -> None:
    commands = {path.stem for path in (ROOT / "src").glob("*.py") if "def main()" in path.read_text("utf-8")}
    assert commands == set(COMMANDS) | WITHOUT_OUTPUT


@pytest.mark.parametrize("kind", ["read-only", "file", "below a file"])
def test_a_place_that_cannot_be_written_is_one_sentence_before_the_work(
    forks: Forks, kind: str, tmp_path: Path
) -> None:
    run = written_run(tmp_path / "runs" / "run")
    written_run(tmp_path / "runs" / "other")
    place = tmp_path / "place"
    place.mkdir()
    if kind == "read-only":
        written_run(place / "run")
        (place / "run").chmod(0o500)
        place.chmod(0o500)
    elif kind == "file":
        (place / "new").write_text("mine")
        (written_run(place / "run") / "evaluation").write_text("mine")
    else:
        place.rmdir()
        place.write_text("mine")
    before = files(tmp_path)
    skipped = {"file": {"audit", "sync", "status"}}.get(kind, set())  # they write beside that file, or over it
    cases = {name: words(place, run) for name, words in COMMANDS.items() if name not in skipped}
    errors = tmp_path / "errors"
    errors.mkdir()
    for name, (code, said) in zip(cases, outcomes(forks, list(cases.items()), errors), strict=True):
        assert code == 2, (name, said)
        assert "Traceback" not in said, (name, said)
        assert said.startswith("error: "), (name, said)
        assert str(place) in said, (name, said)
        if kind == "read-only":
            expected = INSTEAD.get(name, "name another with out=")
            assert f"cannot be written (Permission denied); {expected}" in said, (name, said)
            assert said.count("\n") == 1, (name, said)
    for path in errors.iterdir():
        path.unlink()
    errors.rmdir()
    assert files(tmp_path) == before
    if kind == "read-only":
        place.chmod(0o700)
        (place / "run").chmod(0o700)
