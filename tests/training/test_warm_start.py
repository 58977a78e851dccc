"""A run that starts from another's weights: over the same labels whole, over another version's where they fit."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from src.cli.errors import UserError
from src.cohort.crosswalk import one_to_one
from src.cohort.msdrg import load_drgs
from src.config.choices import Labels
from src.evaluation.reopen import reopen
from src.models.classifier import Classifier, read_trained
from src.models.labelspace import LabelSpace
from src.models.schemes import Scheme, build_scheme
from src.runs.folder import RunFolder
from src.runs.record import read_record
from src.train import train
from src.training.fit import begin
from src.training.llama import Llama
from src.training.run_data import open_data
from src.training.warm_start import head_rows
from tests.training.stepping import configured, opened

SCHEMES = ("single", "two", "joint", "levels")


@pytest.fixture(scope="module")
def former(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of v34 of each scheme."""
    out = tmp_path_factory.mktemp("former")
    for labels in SCHEMES:
        train(configured(cohort, f"labels={labels}", "lr=0.01"), out / labels)
    return {labels: out / labels for labels in SCHEMES}


def begun(cohort: Path, out: Path, run: Path, *words: str) -> Any:
    learner = opened(cohort, out, f"init_from={run}", *words)
    begin(learner)
    return learner


def logits_of(classifier: Classifier, learner: Any, rows: list[int]) -> torch.Tensor:
    """Some logits alone: a product of another width may round its last columns otherwise."""
    with torch.no_grad():
        readings = classifier.eval().readings(learner.notes["test"].batch([0, 1, 2]).notes)
        logits = classifier(learner.notes["test"].batch([0, 1, 2]).notes)
        own = torch.nn.functional.linear(readings, classifier.head.weight[rows])
    assert torch.allclose(logits[:, rows], own, atol=1e-5)
    return own


def test_the_same_version_moves_every_row_and_scores_notes_as_the_run_did(
    cohort: Path, former: dict[str, Path], tmp_path: Path
) -> None:
    for labels, run in former.items():
        learner = begun(cohort, tmp_path, run, f"labels={labels}")
        then = reopen(read_record(run), run, "cpu", None)
        then.load(RunFolder(run).adapter)
        assert isinstance(then, Llama)
        rows = list(range(learner.scheme.width))
        assert torch.equal(logits_of(learner.classifier, learner, rows), logits_of(then.trained, learner, rows)), labels
        assert learner.data.warm_start.counts == {"moved_rows": learner.scheme.width, "fresh_rows": 0}
        assert not any(row.remark for row in learner.data.warm_start.rows)


@pytest.mark.parametrize("labels", SCHEMES)
def test_another_version_moves_the_rows_that_correspond_exactly_and_leaves_the_others_fresh(
    of_v41: Path, former: dict[str, Path], tmp_path: Path, labels: str
) -> None:
    run = former[labels]
    learner, fresh = begun(of_v41, tmp_path, run, f"labels={labels}"), opened(of_v41, tmp_path, f"labels={labels}")
    then = reopen(read_record(run), run, "cpu", None)
    then.load(RunFolder(run).adapter)
    assert isinstance(then, Llama)
    rows = learner.data.warm_start.rows
    moved = [row for row in rows if row.source is not None]
    here = logits_of(learner.classifier, learner, [row.logit for row in moved])
    assert torch.equal(here, logits_of(then.trained, learner, [row.source for row in moved]))
    assert sorted(row.logit for row in rows) == list(range(learner.scheme.width))
    for row in rows:
        if row.source is None:
            assert torch.equal(learner.classifier.head.weight[row.logit], fresh.classifier.head.weight[row.logit])
            assert row.remark
    named = {row.meaning: row for row in rows if row.kind == "DRG"}
    if labels == "two":
        bases = {row.meaning for row in rows if row.kind == "base DRG" and row.source is not None}
        assert "HEART FAILURE AND SHOCK" in bases
        assert len(bases) == 318
        assert "PERCUTANEOUS CARDIOVASCULAR PROCEDURES WITH INTRALUMINAL DEVICE" not in bases
    else:
        codes = [code for code in load_drgs("v41") if one_to_one(code, "v41", "v34")]
        assert [code for code, row in named.items() if row.source is not None] == codes
        assert len(codes) == 719
        assert named["008"].remark == "019 of v41 has some of its cases"
        assert named["321"].remark == "321 of another version may be 246 or 248 in v34: the stent's kind decides"
    kinds = {row.kind for row in rows if row.source is None}
    assert kinds <= {"DRG", "base DRG"}


def test_base_drgs_correspond_as_their_drgs_do_whatever_they_are_called() -> None:
    spaces = {version: LabelSpace.from_labels(list(load_drgs(version).values())) for version in ("v34", "v41")}
    schemes: dict[str, Scheme] = {name: build_scheme(Labels.TWO, space, 0.5) for name, space in spaces.items()}
    rows = head_rows(schemes["v41"], "v41", schemes["v34"], "v34")
    moved = [row for row in rows if row.kind == "base DRG" and row.source is not None]
    assert any(row.meaning != row.source_meaning for row in moved)
    for row in moved:
        members = {code for code, drg in load_drgs("v41").items() if drg.base_drg == row.meaning}
        sources = {code for code, drg in load_drgs("v34").items() if drg.base_drg == row.source_meaning}
        assert {one_to_one(code, "v41", "v34") for code in members} == sources
    states = {row.meaning: row.source_meaning for row in rows if row.kind == "severity"}
    assert states == {name: name for name in states}
    assert len(states) == 5


def test_a_whole_run_says_what_was_moved_keeps_the_table_and_is_evaluated_without_the_other(
    of_v41: Path, former: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(former["single"], tmp_path / "old")
    record = train(configured(of_v41, f"init_from={run}"), tmp_path / "new")
    said = capsys.readouterr().err
    assert f"init_from={run}: its adapters, and of its head (MS-DRG v34 to MS-DRG v41) 719 of 766 rows by DRG" in said
    assert "to be learnt anew, DRG: 018; 019; 140; " in said
    assert (record.counts["moved_rows"], record.counts["fresh_rows"]) == (719, 47)
    assert (record.config["init_from"], record.drg_version, record.axes["warm_start"]) == (str(run), "v41", True)
    with RunFolder(tmp_path / "new").head_rows.open(encoding="utf-8", newline="") as file:
        table = {row["row"]: row for row in csv.DictReader(file)}
    assert len(table) == 766
    assert sum(row["start"] == "moved" for row in table.values()) == 719
    assert (table["291"]["from"], table["291"]["title"]) == ("291", load_drgs("v41")["291"].title.lower())
    assert table["018"]["start"] == "learnt anew"
    shutil.rmtree(run)
    again = reopen(read_record(tmp_path / "new"), tmp_path / "new", "cpu", None)
    again.load(RunFolder(tmp_path / "new").adapter)


def test_a_plan_names_what_would_be_moved(of_v41: Path, former: dict[str, Path]) -> None:
    lines = Llama(open_data(configured(of_v41, f"init_from={former['single']}"))).plan_lines()
    assert any("719 of 766 rows by DRG" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["labels=two"], r"that run differs in labels \(two, there single\)"),
        (["lora.r=2"], r"that run differs in lora.r \(2, there 8\)"),
        (["pooling=mean"], r"differs in pooling \(mean, there last\)"),
        (["model=pico"], r"differs in model.path \(src/models/pico, there src/models/femto\)"),
        (["model=tfidf"], "model=tfidf has no adapters to start from; leave it out"),
        (["init_from=nowhere"], "init_from=nowhere: no such folder; name a run's"),
    ],
)
def test_runs_whose_weights_fit_not_are_refused_before_a_folder_is_made(
    of_v41: Path, former: dict[str, Path], tmp_path: Path, words: list[str], message: str
) -> None:
    start = [] if words[0].startswith("init_from") else [f"init_from={former['single']}"]
    with pytest.raises(UserError, match=message):
        train(configured(of_v41, *start, *words), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_run_of_other_classes_damaged_or_unfinished_is_refused(
    of_v41: Path, former: dict[str, Path], tmp_path: Path
) -> None:
    run = shutil.copytree(former["single"], tmp_path / "run")
    kept = json.loads(RunFolder(run).cohort.read_text("utf-8"))
    RunFolder(run).cohort.write_text(json.dumps({**kept, "drg_version": "apr", "labels": ["194-1", "194-2"]}), "utf-8")
    cfg = configured(of_v41, f"init_from={run}")
    with pytest.raises(UserError, match=r"its labels are APR-DRG, those of .* MS-DRG v41; only the versions of"):
        open_data(cfg).warm_start  # noqa: B018
    RunFolder(run).cohort.write_text(json.dumps({**kept, "drg_version": "v36"}), "utf-8")
    with pytest.raises(UserError, match="its head has 757 rows, its labels need 761"):
        open_data(cfg).warm_start  # noqa: B018
    RunFolder(run).cohort.write_text(json.dumps(kept), "utf-8")
    assert len(read_trained(RunFolder(run).adapter)["head.weight"]) == 757
    (RunFolder(run).adapter / "head.safetensors").unlink()
    with pytest.raises(UserError, match=r"head.safetensors: no such file"):
        open_data(cfg).warm_start  # noqa: B018
    RunFolder(run).record.unlink()
    with pytest.raises(UserError, match="is not a finished run"):
        open_data(cfg).warm_start  # noqa: B018
