import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.cli.files import (
    STALE_S,
    appending,
    atomic_folder,
    atomic_write,
    exchanging_folder,
    guarded,
    may_write,
    private_folder,
)
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in [folder, *sorted(folder.rglob("*"))]
    }


def killed(code: str, tmp_path: Path) -> None:
    """Runs code in a process that then kills itself."""
    start = "import os\nfrom pathlib import Path\nfrom src.cli.files import *\n"
    whole = f"{start}tmp_path = Path({str(tmp_path)!r})\n{code}\nos.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", whole], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr


def test_what_takes_its_place_is_private_under_the_usual_umask(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with atomic_write(out / "a.txt") as tmp:
        assert stat.S_IMODE(tmp.stat().st_mode) == 0o600
        tmp.unlink()  # as a library does that renames its own file
        tmp.write_text("a")
    with atomic_folder(out / "folder") as tmp:
        (tmp / "deep").mkdir()
        (tmp / "deep" / "b.txt").write_text("b")
        os.symlink("deep/b.txt", tmp / "link")
    for _ in range(2):
        with exchanging_folder(out / "report", lambda folder: True, "") as tmp:
            (tmp / "c.txt").write_text("c")
    with appending(out / "d.jsonl") as file:
        file.write(b"d\n")
    assert {mode for name, mode in modes(out).items()} == {0o600, 0o700}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert sorted(path.name for path in out.iterdir()) == ["a.txt", "d.jsonl", "folder", "report"]


def test_a_folder_that_was_there_becomes_private_when_it_is_ours_and_no_other_does(tmp_path: Path) -> None:
    for name in ("ours", "of the user"):
        (tmp_path / name).mkdir(mode=0o755)
    private_folder(tmp_path / "ours" / "inner")
    private_folder(tmp_path / "ours")
    with atomic_write(tmp_path / "of the user" / "table.csv") as tmp:
        tmp.write_text("")
    assert modes(tmp_path / "ours") == {".": 0o700, "inner": 0o700}
    assert modes(tmp_path / "of the user") == {".": 0o755, "table.csv": 0o600}


def test_a_group_reads_by_a_named_choice_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRG_LLAMA_ACCESS", "group")
    with atomic_folder(tmp_path / "cohort") as tmp:
        (tmp / "notes").write_text("")
    assert modes(tmp_path / "cohort") == {".": 0o750, "notes": 0o640}
    with report_user_errors():
        (tmp_path / "by a library").write_text("")
    assert stat.S_IMODE((tmp_path / "by a library").stat().st_mode) == 0o640
    monkeypatch.setenv("DRG_LLAMA_ACCESS", "everyone")
    with pytest.raises(SystemExit) as ended, report_user_errors():
        raise AssertionError("the work begins")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: DRG_LLAMA_ACCESS=everyone: must be group, or not set\n"
    assert os.umask(0o022) == 0o022


def test_the_next_start_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    killed(
        "a = atomic_write(tmp_path / 'a.txt')\na.__enter__().write_text('half')\n"
        "b = atomic_folder(tmp_path / 'folder')\n(b.__enter__() / 'notes').write_text('half')",
        tmp_path,
    )
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_write(tmp_path / "c.txt") as tmp:
        tmp.write_text("c")
    assert [path.name for path in tmp_path.iterdir()] == ["c.txt"]


def test_what_a_living_process_writes_is_left_here_and_on_another_machine(tmp_path: Path) -> None:
    living = atomic_write(tmp_path / "a.txt")
    mine = living.__enter__()
    machine = mine.name.split(".by-")[1].split("-")[0]
    elsewhere = mine.with_name(mine.name.replace(f"by-{machine}", "by-" + "0" * 8))
    old = mine.with_name(f".{'b.txt'}.12345678")
    others = tmp_path / ".theirs.12345678"
    young = tmp_path / ".b.txt.87654321"
    gone = elsewhere.with_name(elsewhere.name[:-1] + ("0" if elsewhere.name[-1] != "0" else "1"))
    for path in (elsewhere, old, others, young, gone):
        path.write_text("")
    past = mine.stat().st_mtime - 2 * STALE_S
    for path in (mine, old, others, gone):
        os.utime(path, (past, past))
    with atomic_write(tmp_path / "b.txt") as tmp:
        tmp.write_text("b")
    assert set(tmp_path.iterdir()) == {mine, elsewhere, others, young, tmp_path / "b.txt"}
    mine.write_text("a")
    living.__exit__(None, None, None)
    assert (tmp_path / "a.txt").read_text() == "a"


def test_nothing_takes_its_place_in_a_folder_that_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, order = tmp_path / "run", []
    run.mkdir()
    (run / "result.json").write_text("of the new holder")
    (tmp_path / "link").symlink_to(run)

    def check() -> None:
        order.append("check")
        if lost:
            raise UserError("lost")

    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("replace"), replace(*paths)))
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), fsync(handle)))
    with guarded(run, check):
        lost = False
        with atomic_write(tmp_path / "link" / "a", former=tmp_path / "link" / "before") as tmp:
            tmp.write_text("")
        assert order == ["fsync", "check", "replace", "fsync"]
        lost = True
        for path in (run / "result.json", tmp_path / "link" / "result.json"):
            with pytest.raises(UserError, match="lost"), atomic_write(path) as tmp:
                tmp.write_text("of the old holder")
        with pytest.raises(UserError, match="lost"), atomic_folder(run / "adapter") as tmp:
            pass
        with pytest.raises(UserError, match="lost"), appending(run / "history.jsonl"):
            pass
        with atomic_write(tmp_path / "elsewhere") as tmp:
            tmp.write_text("")
    may_write(run)
    assert (run / "result.json").read_text() == "of the new holder"
    assert sorted(path.name for path in run.iterdir()) == ["a", "result.json"]


def test_a_file_and_its_folder_are_on_the_disk_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, replace, fsync = [], os.replace, os.fsync

    def synced(handle: int) -> None:
        order.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("replace"), replace(*paths)))
    monkeypatch.setattr(os, "fsync", synced)
    with atomic_folder(tmp_path / "folder") as tmp:
        (tmp / "deep").mkdir()
        (tmp / "deep" / "b.txt").write_text("b")
    assert order == [str(tmp / "deep" / "b.txt"), str(tmp / "deep"), str(tmp), "replace", str(tmp_path)]


def test_the_former_file_is_kept_under_its_other_name(tmp_path: Path) -> None:
    for text in ("1", "2", "3"):
        with atomic_write(tmp_path / "last", former=tmp_path / "before") as tmp:
            tmp.write_text(text)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"last": "3", "before": "2"}
