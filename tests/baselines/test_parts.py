from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from src.baselines.bert import Pieces
from src.baselines.caml import Network, Words
from src.baselines.features import Facts
from src.baselines.loop import BestEpoch, Encoded
from src.baselines.systems import predictor_class
from src.cli.compose import compose, read_command_line
from src.cli.errors import UserError
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.models.tokenizer import train_word_pieces
from src.runs.identity import identity
from src.train import train
from src.training.run_data import open_data

ROWS = pl.DataFrame(
    {
        "age": [50, 100, None],
        "days": [2.0, 4.0, 1.0],
        "sex": ["F", "M", "F"],
        "admission_type": ["URGENT"] * 3,
        "admission_location": [None, "CLINIC", "CLINIC"],
        "insurance": ["Other"] * 3,
        "services": [["MED", "CMED"], None, ["MED"]],
        "diagnoses": [["10:I10", "10:E119"], ["10:E119"], None],
        "procedures": [None, ["10:02703DZ"], None],
    }
)


def test_facts_are_numbers_and_one_column_for_each_common_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.baselines.features.FEWEST", 2)
    facts = Facts(coded=False)
    found = facts.fit(ROWS).toarray()
    assert list(facts.columns) == [
        "admission_location=CLINIC",
        "admission_type=URGENT",
        "insurance=Other",
        "services=MED",
        "sex=F",
    ]
    assert found[0].tolist() == [0.5, 0.5, 0, 1, 1, 1, 1]
    assert found[1].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert found[2][0] < 0  # not known
    again = Facts.from_learnt(facts.learnt())
    assert np.array_equal(again.of(ROWS).toarray(), found)


def test_codes_are_read_as_an_upper_bound_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.baselines.features.FEWEST", 1)
    plain, coded = Facts(coded=False), Facts(coded=True)
    plain.fit(ROWS)
    coded.fit(ROWS)
    assert set(coded.columns) - set(plain.columns) == {
        "diagnoses=10:I10",
        "diagnoses=10:E119",
        "principal=10:I10",
        "principal=10:E119",
        "procedures=10:02703DZ",
    }


def test_words_are_lower_case_and_hold_a_letter() -> None:
    words = Words({"chf": 2, "b12": 3}, 3)
    assert words.encode(["CHF, 40 mg B12!", "12 34"]) == [[2, 1, 3], [1]]


def test_words_and_pieces_beyond_what_a_network_reads_are_counted() -> None:
    texts = ["chest pain", "chest pain at rest, 40 mg"]
    words = Words({"chest": 2}, 3)
    assert [len(ids) for ids in words.encode(texts)] == [2, 3]
    assert words.lengths(texts) == [2, 5]
    pieces = Pieces(train_word_pieces(texts, 40), 4)
    whole = Pieces(pieces.tokenizer, 10_000)
    assert [len(ids) for ids in pieces.encode(texts)] == [4, 4]
    assert pieces.lengths(texts) == [len(ids) for ids in whole.encode(texts)]
    assert min(pieces.lengths(texts)) >= 4
    assert pieces.lengths([]) == words.lengths([]) == []


def test_caml_scores_a_note_alike_alone_and_beside_a_longer_one() -> None:
    torch.manual_seed(0)
    network = Network(Words({str(place): place for place in range(2, 30)}, 50), 4).eval()
    notes = Encoded([[2, 3, 4], list(range(2, 25))], np.zeros(2, dtype=np.int64))

    def scores(order: list[int]) -> torch.Tensor:
        ids, there, _, _ = next(notes.batches(order, 2, "cpu"))
        return network(ids, there)

    with torch.inference_mode():
        assert torch.allclose(scores([0])[0], scores([0, 1])[0], atol=1e-6)


def test_an_epoch_reads_every_note_once_in_batches_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 500, 205)
    notes = Encoded([[2] * length for length in lengths], np.zeros(205, dtype=np.int64))
    order = notes.order(10, 0, 0)
    assert sorted(order) == list(range(205))
    assert order != notes.order(10, 0, 1)
    assert order == notes.order(10, 0, 0)
    spread = [np.ptp(lengths[order[start : start + 10]]) for start in range(0, 200, 10)]
    assert max(spread) < 60


def test_caml_attends_to_each_label_by_its_own_vector() -> None:
    torch.manual_seed(0)
    network = Network(Words({str(place): place for place in range(2, 30)}, 50), 3).eval()
    ids = torch.arange(2, 20)[None]
    with torch.inference_mode():
        seen = network.convolution(network.vectors(ids).transpose(1, 2))[:, :, :18].tanh()[0].T
        for label in range(3):
            share = (seen @ network.attention.weight[label]).softmax(0)
            expected = share @ seen @ network.last.weight[label] + network.last.bias[label]
            assert torch.allclose(network(ids, torch.ones_like(ids, dtype=torch.bool))[0, label], expected, atol=1e-5)


def test_training_notes_of_one_class_are_refused_by_every_model(cohort: Path, tmp_path: Path) -> None:
    words = [f"data.dir={cohort}", "data.limit=1", f"out={tmp_path}", "device=cpu", "max_len=64"]
    for model in ("tfidf", "structured", "fusion", "caml", "majority", "nano"):
        (cfg,) = compose(TrainConfig, read_command_line([*words, f"model={model}"], "train"))
        with pytest.raises(UserError, match="1 class in 1 training notes, and a model needs two"):
            open_data(cfg)


def test_a_llama_and_a_folder_without_words_are_no_bert(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "vocab_size": 200}', "utf-8")
    for path, message in (("src/models/nano", "is a llama, no BERT"), (str(tmp_path), "has no vocabulary")):
        words = [f"data.dir={cohort}", "model=clinicalbert", f"model.path={path}"]
        (cfg,) = compose(TrainConfig, read_command_line(words, "train"))
        with pytest.raises(UserError, match=message):
            Pieces.of([], cfg)


def test_what_a_baseline_can_do_without_memory_is_said_without_reading_its_cohort(cohort: Path, tmp_path: Path) -> None:
    (cfg,) = compose(TrainConfig, read_command_line(["model=tfidf", f"data.dir={cohort}"], "train"))
    cfg.data.dir = str(tmp_path / "gone")
    assert (
        predictor_class(cfg).out_of_memory_line(cfg).startswith("out of memory: model=tfidf needs less with data.limit")
    )


def test_training_ends_after_patience_epochs_without_a_better_one_and_the_best_weights_are_kept(cohort: Path) -> None:
    network = torch.nn.Linear(1, 1)
    best = BestEpoch(network, 2)
    ended = []
    for epoch, accuracy in enumerate([0.1, 0.3, 0.3, 0.2], 1):
        torch.nn.init.constant_(network.bias, float(epoch))
        ended.append(best.add(accuracy))
    assert ended == [False, False, False, True]
    assert best.weights["bias"].item() == 2
    (cfg,) = compose(TrainConfig, read_command_line(["model=caml", f"data.dir={cohort}"], "train"))
    assert best.reason(cfg) == (
        "2 epochs without a better validation accuracy ended training after epoch 4; the weights of epoch 2 are kept"
    )
    best.add(0.9)
    assert best.reason(cfg).startswith("epochs=200 ended training after epoch 5; the weights of epoch 5")


@pytest.mark.parametrize(("words", "ended"), [(["epochs=40"], "1 rounds without"), (["epochs=1"], "epochs=1 ended")])
def test_patience_ends_trees_and_a_cap_that_came_first_is_told(
    words: list[str], ended: str, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = ["model=structured", "patience=1", "data.limit=60", "wandb.mode=disabled", "threads=1", f"data.dir={cohort}"]
    (cfg,) = compose(TrainConfig, read_command_line([*same, *words], "train"))
    train(cfg, tmp_path / "run")
    assert f"structured: {ended}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["max_len=48"], ["max_len=24", "prompt=none"], []])
def test_tfidf_reads_the_text_that_the_tokens_of_a_llama_keep(words: list[str], cohort: Path) -> None:
    same = [f"data.dir={cohort}", "data.limit=60", *words]
    llama, linear = (
        open_data(compose(TrainConfig, read_command_line([*same, f"model={model}"], "train"))[0])
        for model in ("nano", "tfidf_cut")
    )
    assert linear.cfg.max_len == llama.cfg.max_len
    assert linear.cfg.prompt == llama.cfg.prompt
    read = llama.tokenised(Split.TEST).ids
    around = read.template
    expected = [ids[len(around.first) : len(ids) - len(around.last)] for ids in read]
    texts = linear.kept_texts(linear.notes(Split.TEST).texts)
    assert texts == [llama.tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in expected]
    whole = linear.notes(Split.TEST).texts
    assert [text != kept for text, kept in zip(whole, texts, strict=True)] == llama.cut(Split.TEST).tolist()


@pytest.mark.parametrize(
    ("model", "word", "another"),
    [
        ("tfidf", "max_len=48", False),
        ("tfidf_cut", "max_len=48", True),
        ("tfidf_cut", "prompt=none", True),
        ("tfidf_cut", "patience=3", False),
        ("structured", "patience=3", True),
        ("caml", "patience=3", True),
    ],
)
def test_what_a_baseline_reads_decides_which_run_it_is(model: str, word: str, another: bool, cohort: Path) -> None:
    same = [f"data.dir={cohort}", f"model={model}"]
    plain, changed = (compose(TrainConfig, read_command_line(words, "train"))[0] for words in (same, [*same, word]))
    assert (identity(plain, "0") != identity(changed, "0")) == another
