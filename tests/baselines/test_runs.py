"""Every baseline through the command that trains LLaMA: recorded, scored again, compared."""

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from src.baselines.bert import Pieces, build
from src.baselines.systems import build_predictor
from src.cli.compose import compose, read_command_line
from src.cli.errors import UserError
from src.cli.signals import Stop
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.inference.model import open_model
from src.runs.folder import SCORED, RunFolder
from src.runs.predictions import measure, read_predictions
from src.sweeps.single import run_single
from src.train import train
from src.training.predictor import Predictor
from src.training.run_data import open_data
from tests.inference.test_model import without_its_cohort

TINY_BERT = [
    "model.weights=random",
    "model.hidden_size=16",
    "model.intermediate_size=32",
    "model.layers=1",
    "model.heads=2",
    "model.vocab_size=300",
    "max_len=24",
]
WORDS = {
    "majority": [],
    "tfidf": [],
    "tfidf_cut": ["max_len=40"],
    "fusion": [],
    "structured": ["epochs=2"],
    "codes_upper_bound": ["epochs=2"],
    "caml": ["epochs=2", "max_len=40", "labels=two"],
    "clinicalbert": ["epochs=1", "labels=joint", *TINY_BERT],
}


def configured(model: str, cohort: Path, *words: str) -> TrainConfig:
    """The configuration of a command line on 90 notes a split."""
    same = [f"model={model}", f"data.dir={cohort}", "data.limit=90", "wandb.mode=disabled", "threads=1", "device=cpu"]
    return compose(TrainConfig, read_command_line([*same, *words], "train"))[0]


def loaded(cfg: TrainConfig, folder: Path) -> Predictor:
    """The system that a finished run saved."""
    predictor = build_predictor(open_data(cfg))
    predictor.load(RunFolder(folder).adapter)
    return predictor


@pytest.fixture(scope="module", params=WORDS)
def trained(
    request: pytest.FixtureRequest, cohort: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainConfig, Path]:
    """A configuration and the folder of its run."""
    cfg = configured(request.param, cohort, *WORDS[request.param])
    folder = tmp_path_factory.mktemp("baselines") / request.param
    train(cfg, folder)
    return cfg, folder


def test_a_baseline_leaves_a_record_like_llamas_and_the_same_scores_when_loaded(
    trained: tuple[TrainConfig, Path], runs: dict[str, Path]
) -> None:
    cfg, folder = trained
    record = json.loads((folder / "result.json").read_text())
    llama = json.loads((runs["two"] / "result.json").read_text())
    assert set(record) == set(llama)
    assert set(llama["counts"]) - set(record["counts"]) <= {"base_parameters", "best_step"}
    names = {name for name in llama["metrics"] if "rule_" not in name}
    assert names <= set(record["metrics"])
    low, high = record["intervals"]["test/top5"]
    assert low <= record["metrics"]["test/top5"] <= high
    predictor = loaded(cfg, folder)
    for split in SCORED:
        again = predictor.data.predictions(split, predictor.scores(split, Stop()))
        prefix = "test" if split is Split.TEST else "val"
        for name, value in measure(again, predictor.data.space).items():
            assert value == pytest.approx(record["metrics"][f"{prefix}/{name}"], abs=1e-6)
        for scores in again.heads.values():
            assert np.allclose(np.exp(scores.astype(np.float64)).sum(1), 1, atol=1e-4)


def test_a_baseline_scores_notes_where_its_cohort_is_not(
    trained: tuple[TrainConfig, Path], tmp_path: Path, cohort: Path
) -> None:
    cfg, folder = trained
    rows = open_data(cfg).notes(Split.TEST).rows.drop("drg", "split", "hadm_id").head(7)
    model = open_model(without_its_cohort(folder, tmp_path / "run"), "cpu")
    expected = read_predictions(RunFolder(folder).predictions(Split.TEST), model.space).heads["scores"][:7]
    assert np.allclose(model.predictor.score(rows, Stop())["scores"], expected, atol=1e-5)
    one = model.predictor.score(rows[3:4], Stop())["scores"]
    assert np.allclose(one, expected[3:4], atol=1e-5), "a note's scores do not depend on what stands beside it"


def test_a_baseline_is_evaluated_and_compared_like_llama(
    cohort: Path, tmp_path: Path, runs: dict[str, Path], command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["model=majority", "name=majority", f"data.dir={cohort}", f"out={tmp_path}", "data.limit=48"]
    told = command("src.train", *words, "wandb.mode=offline")
    assert "majority" in told.stdout.strip().splitlines()[-1]
    assert list((tmp_path / "majority" / "wandb").glob("offline-run-*"))
    assert "largest difference" in command("src.evaluate", f"run={tmp_path / 'majority'}").stdout
    assert "two - majority" in command("src.compare", str(tmp_path / "majority"), str(runs["two"])).stdout


def test_majority_scores_are_the_training_counts(cohort: Path, tmp_path: Path) -> None:
    cfg = configured("majority", cohort)
    train(cfg, tmp_path / "run")
    data = open_data(cfg)
    found = read_predictions(tmp_path / "run" / "predictions.parquet", data.space)
    counts = data.notes(Split.TRAIN).rows["drg"].value_counts()
    expected = np.full(757, 0.5)
    for code, count in counts.iter_rows():
        expected[data.space.index[code]] += count
    assert np.allclose(np.exp(found.heads["scores"][0]), expected / expected.sum(), atol=1e-6)


def test_a_dry_run_of_a_baseline_says_what_it_would_read(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_single(configured("fusion", cohort, "dry_run=true"), train)
    told = capsys.readouterr().out
    assert '"kind": "fusion"' in told
    assert " 90 train, " in told
    assert "reads text and sex, age" in told


def test_two_classes_have_a_score_each(cohort: Path) -> None:
    from src.baselines.tfidf import TfidfLinear, linear_scores, vectorizer

    texts = ["chest pain and fever", "chest pain and cough", "broken leg and arm"] * 4
    model = TfidfLinear().fit(texts, [0, 0, 1] * 4)
    vocabulary, weights = model.learnt()
    values = linear_scores(vectorizer(vocabulary, weights["idf"]).transform(texts), None, weights)
    assert np.allclose(values, model.scores(texts)[0], atol=1e-4)
    assert values.argmax(1).tolist() == [0, 0, 1] * 4


def test_schemes_are_refused_where_there_are_no_heads(cohort: Path) -> None:
    with pytest.raises(UserError, match=r"labels=two: model=tfidf scores DRGs only; write labels=single"):
        configured("tfidf", cohort, "labels=two")


def test_facts_are_asked_for_where_the_cohort_has_none(cohort: Path, tmp_path: Path) -> None:
    for name in ("cohort.json", "notes.parquet"):
        (tmp_path / name).write_bytes((cohort / name).read_bytes())
    with pytest.raises(UserError, match=r"no admissions.parquet, which model=fusion needs"):
        train(configured("fusion", tmp_path), tmp_path / "run")


def test_missing_weights_of_bert_are_told_with_what_to_do(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"hf download emilyalsentzer/Bio_ClinicalBERT, or give model.path=FOLDER"):
        train(configured("clinicalbert", cohort, "model.path=no-such/bert"), tmp_path / "run")


def test_a_bert_in_a_folder_is_tuned_from_its_weights(cohort: Path, tmp_path: Path) -> None:
    random = configured("clinicalbert", cohort, *TINY_BERT)
    pieces = Pieces.of(pl.read_parquet(cohort / "notes.parquet")["text"].head(50).to_list(), random)
    network = build(pieces, [], 7, random)
    network.bert.save_pretrained(tmp_path / "bert")
    pieces.save(tmp_path / "bert")
    words = [word for word in TINY_BERT if "weights" not in word]
    cfg = configured("clinicalbert", cohort, *words, f"model.path={tmp_path / 'bert'}", "max_steps=1", "lr=1e-9")
    head = dataclasses.replace(cfg, labels=random.labels)
    train(head, tmp_path / "run")
    model = loaded(head, tmp_path / "run")
    own = dict(model.network.named_parameters())  # type: ignore[attr-defined]
    theirs = dict(network.named_parameters())
    same = "bert.bert.embeddings.word_embeddings.weight"
    assert np.allclose(own[same].detach(), theirs[same].detach(), atol=1e-6)
    assert own["bert.classifier.weight"].shape == (757, 16)


def test_the_head_of_a_bert_has_its_own_rate_and_can_read_the_mean_of_all_tokens(cohort: Path, tmp_path: Path) -> None:
    cfg = configured(
        "clinicalbert", cohort, *TINY_BERT, "pooling=mean", "head_lr=0.1", "lr=1e-9", "warmup=0.5", "max_steps=2"
    )
    model = build_predictor(open_data(cfg))
    train(cfg, tmp_path / "run")
    model.load(RunFolder(tmp_path / "run").adapter)
    network = model.network.eval()  # type: ignore[attr-defined]
    before = build(model.ids, [], 757, cfg)  # type: ignore[attr-defined]
    learnt = {
        name: float((weight - dict(before.named_parameters())[name]).abs().max().detach())
        for name, weight in network.named_parameters()
    }
    # Adam's first steps are of the size of the rate; the first of two is warm-up, at nothing.
    assert learnt.pop("bert.classifier.weight") == pytest.approx(0.1, rel=0.2)
    assert learnt.pop("bert.classifier.bias") == pytest.approx(0.1, rel=0.2)
    assert max(learnt.values()) < 1e-7
    ids = torch.tensor([[2, 9, 8, 3], [2, 7, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool()
    with torch.no_grad():
        together = network(ids, mask)
        for row, count in enumerate((4, 3)):
            states = network.bert(ids[row : row + 1, :count], output_hidden_states=True).hidden_states[-1]
            alone = network.bert.classifier(states.mean(1))
            assert torch.allclose(together[row], alone[0], atol=1e-5)
