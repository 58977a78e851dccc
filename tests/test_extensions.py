"""Each extension of docs/extending.md, made in a copy of the project and used through its commands."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.extensions import PAGE, copied, counted, sections
from tests.forked import Forks

SMALL = ["data.limit=40", "max_len=32", "max_steps=2", "threads=1", "device=cpu", "wandb.mode=disabled", "model=femto"]


@pytest.fixture
def extended(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the project with the changes of one section."""
    folder = copied(tmp_path)
    changes = sections()[request.param]
    assert changes
    for change in changes:
        change.make(folder)
    return folder


Run = Callable[..., str]


@pytest.fixture
def run(forks: Forks, extended: Path) -> Run:
    """Runs `python -m WORDS` in the copy; what it printed."""

    def ran(*words: str) -> str:
        done = forks.run([*words], cwd=extended)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return ran


def extension(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("extended", [name], indirect=True)


def test_the_page_counts_files_and_lines_and_every_section_is_tried() -> None:
    text = PAGE.read_text("utf-8")
    assert text.partition("<!-- counts -->\n")[2].partition("<!-- end of counts -->")[0] == counted()
    tried = re.findall(r'^@extension\("(.*)"\)', Path(__file__).read_text("utf-8"), flags=re.MULTILINE)
    assert sorted(tried) == sorted(sections())


@extension("Callback")
def test_a_callback(run: Run, cohort: Path) -> None:
    printed = run("src.train", "callbacks=[{class: mine.SayAccuracy}]", f"data.dir={cohort}", *SMALL)
    assert re.search(r"validated: 0\.\d", printed)


@extension("Data source: columns of a file")
def test_a_data_source_of_other_columns(run: Run, extended: Path) -> None:
    rows = [f"{number};letter {number} of some more words;{classes}" for number, classes in enumerate("ab" * 30)]
    (extended / "letters.csv").write_text("\n".join(["PID;LETTER;DRG_CODE", *rows]) + "\n")
    words = ["data=ours", "data.path=letters.csv", "data.out=cohort"]
    run("src.prepare", "--config-dir", "mine", *words)
    assert json.loads((extended / "cohort" / "cohort.json").read_text())["drg_version"] is None
    assert pl.read_parquet(extended / "cohort" / "notes.parquet").height == len(rows)


@extension("Data source: a format of files")
def test_a_data_source_of_another_format(run: Run, extended: Path) -> None:
    texts = [f"letter {number} of some words" for number in range(60)]
    pl.DataFrame({"text": texts, "label": ["a", "b"] * 30}).write_ipc(extended / "letters.arrow")
    words = ["data=csv", "data.path=letters.arrow", "data.text=text", "data.label=label", "data.out=cohort"]
    run("src.prepare", *words)
    assert set(pl.read_parquet(extended / "cohort" / "notes.parquet")["text"]) == set(texts)


@extension("Metric")
def test_a_metric(run: Run, extended: Path, cohort: Path) -> None:
    words = [f"data.dir={cohort}", "name=majority", "data.limit=40", "wandb.mode=offline"]
    assert "share missed" in run("src.train", "model=majority", *words)
    metrics = json.loads((extended / "runs" / "majority" / "result.json").read_text())["metrics"]
    assert metrics["test/misses"] == pytest.approx(1 - metrics["test/accuracy"])


@extension("Label scheme")
def test_a_label_scheme(run: Run, cohort: Path) -> None:
    run("src.train", "labels=smooth", f"data.dir={cohort}", "name=smooth", *SMALL)
    assert "largest difference" in run("src.evaluate", "runs/smooth")
    assert "gives the run's logits" in run("src.export", "runs/smooth", "out=exported", "device=cpu")


@extension("Baseline")
def test_a_baseline(run: Run, cohort: Path) -> None:
    words = [f"data.dir={cohort}", "name=bayes", "data.limit=90", "wandb.mode=offline"]
    assert "bayes" in run("src.train", "model=bayes", *words)
    assert "largest difference" in run("src.evaluate", "runs/bayes")
    grid = run("src.train", "-m", "model=bayes", "lora.r=4,8", f"data.dir={cohort}", "dry_run=true")
    assert "model=bayes: does not read lora.r; 2 cells are one run" in grid


@extension("Launcher")
def test_a_launcher(run: Run, extended: Path, cohort: Path) -> None:
    words = ["-m", "hydra/launcher=inline", "model=majority,tfidf", f"data.dir={cohort}", "data.limit=90", "threads=1"]
    assert "multirun: 2 cells: 2 waiting" in run("src.train", *words, "wandb.mode=disabled")
    assert len(list(extended.glob("runs/*/result.json"))) == 2
    assert "2 finished" in run("src.train", *words, "wandb.mode=disabled")
