"""A canary hospital goes through every command; its ids, names and phrases stand in local files alone."""

import csv
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from src.cohort.disclosure import LOCAL
from src.display.spreadsheet import original
from src.testing.wandb_here import WandbHere
from tests.conftest import SHORT
from tests.forked import Forks

Command = Callable[..., subprocess.CompletedProcess[str]]

LABELS = ["=cmd|'/C calc'!A0 Featherstone", "<script>Okonkwo</script>", "\x1b[31mAgnarsson \\input{x}", "Quillfeather"]
NAMES = ["Featherstone", "Okonkwo", "Agnarsson", "Quillfeather"]
PHRASE = "zebra lantern quilted"
IDS = [f"{form}{n:02d}" for form in ("MR12345", "003456", "734-56-10") for n in range(60)]
ANY_ID = rb"(?<![\dA-Za-z])(?:%s)(?!\d)" % b"|".join(re.escape(who).encode() for who in IDS)


@pytest.fixture(scope="module")
def hospital_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("canary") / "n.csv"
    rows = [
        {
            "who": who,
            "text": f"Patient {number} has a cough and {PHRASE} in bed {number}, seen by Dr. {NAMES[number % 4]}.",
            "y": LABELS[3] if number % 60 == 7 else LABELS[number % 3],
        }
        for number, who in enumerate(IDS)
    ]
    pl.DataFrame(rows).write_csv(path)
    return path


@pytest.fixture(scope="module")
def prepared(hospital_file: Path, command: Command) -> Path:
    out = hospital_file.with_name("cohort")
    words = ["data=csv", f"data.path={hospital_file}", "data.text=text", "data.label=y", "data.patient=who"]
    shares = ["test_share=0.3", "validation_share=0.2"]
    printed = command("src.prepare", *words, *shares, "data.words=1", f"data.out={out}")
    assert "\x1b" not in printed.stdout + printed.stderr
    return out


def shared_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is not marked local, nor within a folder that is."""
    for path in sorted(folder.rglob("*")):
        inside = [folder.name, *path.relative_to(folder).parts]
        if path.is_file() and not any(part.endswith(name) for part in inside for name in LOCAL):
            yield path


def slips(held: bytes) -> set[str]:
    """What of the canary hospital stands in some bytes."""
    small = held.lower()
    return {word for word in [*NAMES, PHRASE] if word.lower().encode() in small} | {
        who.decode() for who in re.findall(ANY_ID, held)
    }


@pytest.mark.slow
def test_nothing_of_a_canary_hospital_stands_in_what_leaves(
    prepared: Path, command: Command, tmp_path: Path, forks: Forks
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "exported"
    command("src.train", f"data.dir={prepared}", f"out={runs}", "labels=single", "name=one", *SHORT, fresh=True)
    printed = [
        command(module, *words)
        for module, *words in [
            ("src.evaluate", f"run={runs / 'one'}"),
            ("src.report", str(runs), f"to={tmp_path / 'report'}"),
            ("src.report", f"data.dir={prepared}", "model=nano", f"to={tmp_path / 'page'}"),
            ("src.scaling", str(runs), f"to={tmp_path / 'scaling'}"),
            ("src.export", f"run={runs / 'one'}", f"out={out}", "notes=8"),
            ("src.dashboard", str(runs), f"to={tmp_path / 'dashboard'}"),
            ("src.audit", str(runs / "one")),
        ]
    ]
    assert not [done.args for done in printed if slips((done.stdout + done.stderr).encode())]
    with WandbHere() as server:
        sent = forks.run(["src.sync", str(runs / "one")], env=server.env())
        assert "sent, " in sent.stdout, sent.stderr
        assert not slips(server.sent())
        assert not slips((sent.stdout + sent.stderr).encode())
    seen = [path for folder in (prepared, tmp_path) for path in shared_files(folder)]
    assert slips((prepared / "cohort.json").read_bytes()) >= set(NAMES[:2])
    assert {path: found for path in seen if (found := slips(path.read_bytes()))} == {}
    every = [path for folder in (prepared, tmp_path) for path in folder.rglob("*")]
    assert len(every) > 60
    # Links point to W&B's own log of its service, which knows no run's content.
    assert [path for path in every if not path.is_symlink() and path.stat().st_mode & 0o077] == []
    for name in ("split.csv", "report.html", "report.json", "config.json", "drgs.csv", "README.md", "results.csv"):
        assert name in {path.name for path in seen}
    assert set(json.loads((out / "config.json").read_text())["label2id"]) == {f"class_000{n}" for n in (1, 2, 3, 4)}
    with (tmp_path / "exported-classes.csv").open(newline="", encoding="utf-8") as file:
        names = {original(row["name"]) for row in csv.DictReader(file)}
    assert {name for name in names if "Agnarsson" not in name} == {name for name in LABELS if "Agnarsson" not in name}


@pytest.mark.slow
def test_a_report_on_five_test_patients_prints_no_metric(prepared: Path, command: Command, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    command("src.train", f"data.dir={prepared}", f"out={runs}", "name=few", *SHORT, "data.limit=5", "labels=single")
    command("src.evaluate", f"run={runs / 'few'}")
    metrics = json.loads((runs / "few" / "result.json").read_text())["metrics"]
    assert "test/accuracy" in metrics
    printed = command("src.report", str(runs), f"to={tmp_path / 'report'}").stdout
    assert not re.search(r"accuracy|F1|AUC", printed)
    assert "metrics of 1 runs are left out" in (tmp_path / "report" / "report.html").read_text().lower()
    with (tmp_path / "report" / "tables" / "results.csv").open(encoding="utf-8") as file:
        here = [row for row in csv.DictReader(file) if row["source"] == "here"]
    assert here
    assert not [row for row in here if row.get("accuracy") or row.get("macro_f1")]
    assert not list((tmp_path / "report" / "tables").glob("errors_*"))
