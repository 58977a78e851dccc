"""`src.predict` from the files that people have to the files that they get."""

import os
import signal
import stat
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from src.cli.compose import compose, read_command_line
from src.cli.errors import Interrupted, UserError
from src.cli.progress import Clock, listening
from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.inference import parts
from src.inference.model import open_models
from src.inference.prediction_file import write_file
from src.inference.proposals import COLUMNS
from src.predict import PredictConfig, predict, with_runs_listed
from src.runs.folder import RunFolder
from src.runs.predictions import read_predictions
from src.train import train
from tests.forked import Forks


def predicted(*words: str) -> None:
    (cfg,) = compose(PredictConfig, read_command_line(with_runs_listed([*words, "device=cpu"]), "predict"))
    predict(cfg)


def own_test(run: Path) -> pl.DataFrame:
    """What a run itself said of its test notes: `id`, `drg` and `probability`."""
    models = open_models([run], "cpu")
    kept = read_predictions(RunFolder(run).predictions(Split.TEST), models.space)
    probabilities = np.exp(models.first.calibrated(kept.heads["scores"]))
    codes = np.array(models.space.codes)[probabilities.argmax(1)]
    ids = [str(admission) for admission in kept.hadm_id]
    return pl.DataFrame({"id": ids, "drg": codes.tolist(), "own": probabilities.max(1)})


def originals(hospital: Path, ids: list[str], folder: Path) -> Path:
    """The hospital's original summaries of some admissions, with an addendum and a later summary of each."""
    (path,) = (hospital / "note").glob("discharge.csv*")
    rows = pl.read_csv(path).filter(pl.col("hadm_id").cast(pl.String).is_in(ids))
    added = rows.with_columns(note_id=pl.col("note_id") + "9", text=pl.lit("Brief Hospital Course:\nanother " * 50))
    addenda = rows.with_columns(note_id=pl.col("note_id").str.replace("-DS-", "-AD-"), text=pl.lit("An addendum."))
    (folder / "note").mkdir()
    pl.concat([addenda, added, rows]).write_csv(folder / "note" / "discharge.csv")
    return folder / "note"


def test_predictions_of_the_original_notes_are_the_runs_own(
    runs: dict[str, Path], hospital: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = own_test(runs["two"])
    notes, out = originals(hospital, own["id"].to_list(), tmp_path), tmp_path / "new" / "out.parquet"
    predicted(f"run={runs['two']}", f"notes={notes}", f"out={out}", "top=3")
    rows = pl.read_parquet(out)
    assert tuple(rows.columns) == COLUMNS
    both = rows.join(own, "id", suffix="_own")
    assert both.height == rows.height == own.height == 48
    assert both["drg"].to_list() == both["drg_own"].to_list()
    assert np.allclose(both["probability"], both["own"], atol=1e-5)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert [path.name for path in out.parent.iterdir()] == ["out.parquet"]
    printed = capsys.readouterr()
    assert f"{48:>9}  encounters" in printed.out
    assert " tokens/s\n" in printed.out
    assert printed.out.endswith(f"predictions: {out}\n")
    assert "which have one prediction each: 96" in printed.err


def test_a_model_that_reads_facts_takes_them_from_hosp(hospital: Path, cohort: Path, tmp_path: Path) -> None:
    words = ["model=fusion", f"data.dir={cohort}", "data.limit=90", "wandb.mode=disabled", "threads=1", "device=cpu"]
    (cfg,) = compose(TrainConfig, read_command_line(words, "train"))
    train(cfg, tmp_path / "run")
    own = own_test(tmp_path / "run")
    asked = [f"run={tmp_path / 'run'}", f"notes={originals(hospital, own['id'].to_list(), tmp_path)}"]
    with pytest.raises(UserError, match=r"model=fusion reads facts of the admission; name .* hosp=DIR"):
        predicted(*asked, f"out={tmp_path / 'out.csv'}")
    predicted(*asked, f"out={tmp_path / 'out.parquet'}", f"hosp={hospital}")
    both = pl.read_parquet(tmp_path / "out.parquet").join(own, "id", suffix="_own")
    assert both.height == own.height
    assert both["drg"].to_list() == both["drg_own"].to_list()
    assert np.allclose(both["probability"], both["own"], atol=1e-5)


@pytest.fixture
def courses(cohort: Path, tmp_path: Path) -> list[str]:
    """Words that name six hospital courses of the cohort, without headings."""
    texts = read_cohort(cohort).notes(Split.TEST, 6)["text"]
    pl.DataFrame({"case": [f"=e{row}" for row in range(6)], "course": texts}).write_csv(tmp_path / "notes.csv")
    return [f"notes={tmp_path / 'notes.csv'}", "text=course", "id=case", "sections=false"]


def test_every_kind_of_file_says_the_same(runs: dict[str, Path], courses: list[str], tmp_path: Path) -> None:
    both = f"run={runs['two']},{runs['single']}"
    predicted(both, *courses, f"out={tmp_path / 'out.parquet'}", "top=3", "aim=1")
    rows = pl.read_parquet(tmp_path / "out.parquet")
    assert rows["id"].to_list() == [f"=e{row}" for row in range(6)]
    assert all(name.count("+") == 1 for name in rows["model"])
    for name in ("out.csv", "out.csv.gz", "out.jsonl", "out.jsonl.gz"):
        write_file(tmp_path / name, rows.lazy(), 3)
    assert pl.read_ndjson(tmp_path / "out.jsonl").to_dicts() == rows.to_dicts()
    assert pl.read_ndjson(tmp_path / "out.jsonl.gz").height == 6
    table = pl.read_csv(tmp_path / "out.csv", infer_schema=False)
    assert pl.read_csv(tmp_path / "out.csv.gz", infer_schema=False).equals(table)
    assert table["id"][0] == "'=e0", "a spreadsheet would compute it"
    assert table["drg_3"].to_list() == rows["drgs"].list.get(2).to_list()
    assert table["probability_2"].cast(pl.Float64).to_list() == rows["probabilities"].list.get(1).to_list()
    assert table["reasons"].to_list() == rows["reasons"].list.join("; ").to_list()
    assert "drgs" not in table.columns


class Signalled:
    """A listener that has a signal sent to this process when a number of notes are done."""

    def __init__(self, done: int, number: signal.Signals) -> None:
        self.done, self.number, self.reached = done, number, list[int]()

    def advanced(self, clock: Clock, elapsed: float) -> None:
        if clock.what == "predicting":
            self.reached.append(clock.done)
            if clock.done == self.done:
                os.kill(os.getpid(), self.number)

    def measured(self, accuracy: float, notes: int) -> None:
        """Nothing is validated here."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_at_a_part_and_the_same_command_goes_on(
    number: signal.Signals,
    runs: dict[str, Path],
    courses: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(parts, "FIRST", 2)
    monkeypatch.setattr(parts, "MOST", 2)
    words, home = [f"run={runs['two']}", *courses], tmp_path / ".out.jsonl.parts"
    whole, stopped = Signalled(0, number), Signalled(2, number)
    with listening(stopped), pytest.raises(Interrupted):
        predicted(*words, f"out={tmp_path / 'out.jsonl'}")
    assert stopped.reached == [2]
    assert not (tmp_path / "out.jsonl").exists()
    assert [path.name for path in home.rglob("*.parquet")] == ["0000000000-0000000002.parquet"]
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in [home, *home.rglob("*.parquet")])
    with listening(whole):
        predicted(*words, f"out={tmp_path / 'out.jsonl'}")
    assert whole.reached == [2, 4], "two of six were there"
    assert "goes on behind 2 of 6 encounters" in capsys.readouterr().err
    assert not home.exists()
    predicted(*words, f"out={tmp_path / 'again.jsonl'}")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def test_a_killed_process_leaves_whole_parts_and_the_same_command_goes_on(
    runs: dict[str, Path],
    courses: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forks: Forks,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(parts, "FIRST", 2)
    monkeypatch.setattr(parts, "MOST", 2)
    words = [f"run={runs['two']}", *courses, f"out={tmp_path / 'out.csv'}"]
    code = (
        "import os, signal, sys\nimport src.inference.parts as parts\nfrom src.predict import main\n"
        "parts.FIRST = parts.MOST = 2\nwrite = parts.pl.DataFrame.write_parquet\n"
        "def struck(rows, path, *more):\n    write(rows, path, *more)\n"
        "    if rows['id'][0] == '=e2':\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"parts.pl.DataFrame.write_parquet = struck\nsys.argv = {['predict', *words, 'device=cpu']!r}\nmain()\n"
    )
    assert forks.run(["-c", code]).returncode == -signal.SIGKILL
    assert {path.name for path in tmp_path.iterdir()} == {"notes.csv", ".out.csv.parts"}
    predicted(*words)
    assert "goes on behind 2 of 6 encounters" in capsys.readouterr().err
    predicted(*words[:-1], f"out={tmp_path / 'again.csv'}")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"notes.csv", "out.csv", "again.csv"}


def test_parts_of_another_question_are_not_gone_on_with(
    runs: dict[str, Path], courses: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "FIRST", 2)
    words = [f"run={runs['two']}", *courses, f"out={tmp_path / 'out.csv'}"]
    for changed in ([], ["aim=0.5"], [f"run={runs['single']}"]):
        again = Signalled(2, signal.SIGTERM)
        with listening(again), pytest.raises(Interrupted):
            predicted(*[word for word in words if not changed or not word.startswith(changed[0][:4])], *changed)
        assert again.reached == [2]
        assert len(list((tmp_path / ".out.csv.parts").rglob("*.parquet"))) == 1


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    mine = parts.Parts(tmp_path / "out.csv", "0123")
    with mine.alone(), pytest.raises(UserError, match=r"out\.csv: another process is writing it; wait"), mine.alone():
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_part_is_named_with_what_to_do(tmp_path: Path) -> None:
    mine = parts.Parts(tmp_path / "out.csv", "0123")
    with mine.alone():
        mine.add(pl.DataFrame({"id": ["a"]}))
        mine.paths[0].write_bytes(b"PAR1")
        with pytest.raises(UserError, match=r"\.parquet: damaged .*; remove .*\.out\.csv\.parts, and run it again"):
            list(mine.frames())


def test_a_full_disk_is_one_sentence_and_leaves_no_half_of_a_file(
    runs: dict[str, Path], courses: list[str], tmp_path: Path, forks: Forks
) -> None:
    words = ["predict", f"run={runs['two']}", *courses, f"out={tmp_path / 'out.csv'}", "device=cpu"]
    code = (
        "import resource, signal, sys\nfrom src.predict import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, 1_500))\n"
        f"sys.argv = {words!r}\nmain()\n"
    )
    done = forks.run(["-c", code])
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.csv"]


def test_nothing_of_wandb_is_imported_and_no_word_of_a_note_printed(
    runs: dict[str, Path], courses: list[str], cohort: Path, tmp_path: Path, forks: Forks
) -> None:
    words = ["predict", f"run={runs['two']}", *courses, f"out={tmp_path / 'out.jsonl'}", "device=cpu"]
    code = (
        "import sys\nfor name in [name for name in sys.modules if name.split('.')[0] == 'wandb']:\n"
        "    del sys.modules[name]\nsys.modules['wandb'] = None  # an import of it fails\n"
        f"from src.predict import main\nsys.argv = {words!r}\nmain()\n"
    )
    done = forks.run(["-c", code])
    assert done.returncode == 0, done.stderr
    rows = read_cohort(cohort).notes(Split.TEST, 6)
    for text in rows["text"]:
        for start in range(0, len(text) - 30, 30):
            assert text[start : start + 30] not in done.stdout + done.stderr
            assert text[start : start + 30] not in (tmp_path / "out.jsonl").read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir() if path.name != "notes.csv"] == ["out.jsonl"]


def test_a_run_that_is_not_finished_and_a_file_that_is_there_are_refused(courses: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(UserError) as refusal:
        predicted(f"run={tmp_path / 'run'}", *courses, f"out={tmp_path / 'out.csv'}")
    assert f"run={tmp_path / 'run'}: no result.json there; it is the folder of a finished run" in str(refusal.value)
    assert f"out={tmp_path / 'out.csv'}: is there already; name another, or remove it first" in str(refusal.value)
    assert (tmp_path / "out.csv").read_text() == "mine"
