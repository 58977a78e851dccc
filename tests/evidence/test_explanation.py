import copy
import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from src.cli.errors import UserError
from src.cli.signals import Stop
from src.config.choices import Kind, Method, Pooling
from src.evidence.attribution import token_scores
from src.evidence.explanation import EMPTY, FURTHER_METHODS, explain_note, methods_of, what_is_read, without
from src.evidence.sentences import split_sentences
from src.evidence.token_readers import TOKEN_READERS, TokenReader
from src.evidence.word_weights import word_scores
from src.inference.model import Model, open_model
from tests.evidence.conftest import DECIDES, planted_note

TEXT = planted_note("469", 1)
NETWORKS = ["llama", "caml", "clinicalbert"]


@pytest.fixture(scope="session")
def models(opened: dict[str, Model], runs: dict[str, Path]) -> dict[str, Model]:
    return {**opened, "llama": open_model(runs["two"], "cpu")}


def log_p(model: Model, text: str, drg: str) -> float:
    return float(model.log_probabilities(pl.DataFrame({"text": [text]}), Stop())[0, model.space.index[drg]])


def reader_of(model: Model) -> TokenReader:
    return TOKEN_READERS[model.predictor.data.cfg.model.kind](model.predictor)


@pytest.mark.parametrize("name", ["tfidf", *NETWORKS])
def test_a_sentences_score_is_what_the_note_loses_when_it_is_scored_without(
    name: str, models: dict[str, Model]
) -> None:
    model = models[name]
    scores = explain_note(model, TEXT, "469")
    against = explain_note(model, TEXT, "469", "470")
    assert [(row.start, row.end) for row in scores] == split_sentences(what_is_read(model, TEXT))
    for row, contrast in zip(scores, against, strict=True):
        shorter = without(what_is_read(model, TEXT), [(row.start, row.end)])
        falls = [log_p(model, TEXT, drg) - log_p(model, shorter, drg) for drg in ("469", "470")]
        assert row.score == pytest.approx(falls[0], abs=2e-5)
        assert contrast.score == pytest.approx(falls[0] - falls[1], abs=2e-5)


@pytest.mark.parametrize(
    ("method", "drg", "against"),
    [
        (Method.OCCLUSION, "469", None),
        (Method.OCCLUSION, "469", "470"),
        (Method.OCCLUSION, "470", "469"),
        (Method.LINEAR, "469", None),
        (Method.LINEAR, "470", None),
        (Method.LINEAR, "470", "469"),
    ],
)
def test_the_sentence_that_decides_comes_first(
    method: Method, drg: str, against: str | None, models: dict[str, Model]
) -> None:
    for seed in range(3):
        text = planted_note(drg, seed)
        best = max(explain_note(models["tfidf"], text, drg, against, method), key=lambda row: row.score)
        assert text[best.start : best.end] == DECIDES[drg]


@pytest.mark.parametrize("name", NETWORKS)
def test_integrated_gradients_add_up_to_what_words_gain_over_blanks(name: str, models: dict[str, Model]) -> None:
    reader = reader_of(models[name])
    reading = reader.read(TEXT)
    blanks = [reader.blank if text else token for token, text in zip(reading.ids, reading.of_text, strict=True)]

    def value(scores: torch.Tensor) -> torch.Tensor:
        return 10 * (scores.double()[:, 3] - scores.double()[:, 9])

    scores = token_scores(reader, reading, value, [], Method.INTEGRATED_GRADIENTS)
    with torch.no_grad():
        full, empty = value(reader.data.scheme.heads(reader.logits([reading.ids, blanks]))["scores"]).tolist()
    assert abs(scores).sum() > 1e-4
    assert scores.sum() == pytest.approx(full - empty, abs=0.01 * abs(scores).sum() + 1e-5)
    assert (scores[~np.array(reading.of_text)] == 0).all()


def test_attingrad_is_attention_times_word_vector_times_gradient(models: dict[str, Model]) -> None:
    model, drg = models["caml"], "469"
    reader: Any = reader_of(model)
    network, reading, scheme = reader.network, reader.read(TEXT), model.predictor.data.scheme
    column = model.space.index[drg]
    logits = [indices[column] for indices in scheme.logit_indices().values()]
    vectors = network.vectors.weight.detach()[reading.ids].requires_grad_()
    seen = network.convolution(vectors.T[None])[0, :, : len(reading.ids)].tanh()
    attention = (network.attention.weight @ seen).softmax(-1)
    read = torch.stack([(row * seen).sum(1) for row in attention])
    whole = (read * network.last.weight).sum(1) + network.last.bias
    scores = torch.log_softmax(scheme.heads(whole[None])["scores"].double() / model.temperature, -1)
    scores[0, column].backward()
    attention, gradient, expected = attention.detach(), vectors.grad, []
    vectors = vectors.detach()
    for token in range(len(reading.ids)):
        weight = sum(float(attention[logit, token]) for logit in logits) / len(logits)
        product = 0.0
        for channel in range(vectors.shape[1]):
            product += float(vectors[token, channel]) * float(gradient[token, channel])
        expected.append(weight * product)
    by_sentence = [
        sum(value for (start, _), value in zip(reading.spans, expected, strict=True) if first <= start < end)
        for first, end in split_sentences(TEXT)
    ]
    scored = [row.score for row in explain_note(model, TEXT, drg, method=Method.ATTINGRAD)]
    assert len(logits) == 2
    assert scored == pytest.approx(by_sentence, rel=1e-4, abs=1e-12)


def test_a_gradient_times_attention_adds_up_its_tokens_and_leaves_the_prompt_out(models: dict[str, Model]) -> None:
    model = models["llama"]
    reader: Any = reader_of(model)
    reading = reader.read(TEXT)
    vectors = reader.vectors(reading.ids).requires_grad_()
    hook = reader.embedding.register_forward_hook(lambda module, args, output: vectors[None])
    scores = model.predictor.data.scheme.heads(reader.logits([reading.ids]))["scores"]
    hook.remove()
    value = torch.log_softmax(scores / model.temperature, -1)[0, model.space.index["469"]]
    (gradient,) = torch.autograd.grad(value, vectors)
    tokens = (vectors * gradient).sum(1) * reader.attention(reading.ids, [0])
    expected = float(tokens.detach()[torch.tensor(reading.of_text)].sum())
    rows = explain_note(model, TEXT, "469", method=Method.GRADIENT_ATTENTION)
    assert sum(row.score for row in rows) == pytest.approx(expected, rel=1e-3, abs=1e-9)
    assert not all(reading.of_text)


def test_the_words_of_a_linear_model_add_up_to_its_value(models: dict[str, Model]) -> None:
    predictor: Any = models["tfidf"].predictor
    index = models["tfidf"].space.index
    classes = predictor.weights["classes"].tolist()
    text = f"{TEXT} Vital signs were stable."
    where, scores = word_scores(predictor.vocabulary, predictor.weights, text, (index["469"], index["470"]))
    values = predictor.score(pl.DataFrame({"text": [text]}), Stop())["scores"][0]
    first, second = (predictor.weights["intercept"][classes.index(index[drg])] for drg in ("469", "470"))
    assert scores.sum() + first - second == pytest.approx(values[index["469"]] - values[index["470"]], abs=1e-4)
    again = [score for span, score in zip(where, scores, strict=True) if text[slice(*span)] == "Vital signs"]
    assert len(again) == 2
    assert again[0] == again[1] != 0


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_model_does_not_read_has_no_score(name: str, models: dict[str, Model]) -> None:
    model = models[name]
    long = " ".join([TEXT] * 12)
    read = what_is_read(model, long)
    assert long.startswith(read)
    assert 0 < len(read) < len(long)
    assert what_is_read(model, read) == read
    assert log_p(model, read, "469") == pytest.approx(log_p(model, long, "469"), abs=1e-5)
    for method in methods_of(model):
        assert explain_note(model, long, "469", method=method)[-1].end == len(read)


def test_a_note_of_one_sentence_is_held_against_an_empty_one(models: dict[str, Model]) -> None:
    for model in (models["llama"], models["tfidf"], models["caml"]):
        (row,) = explain_note(model, "Chest pain.", "469")
        assert row.score == pytest.approx(log_p(model, "Chest pain.", "469") - log_p(model, EMPTY, "469"), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("tfidf", ("", "469"), "the note is empty"),
        ("llama", (" \n ", "469"), "the note is empty"),
        ("tfidf", ("Pain.", "abc"), r"drg=abc: .* knows no such label; its \d+ are 001, "),
        ("tfidf", ("Pain.", "469", "abc"), "against=abc: .* knows no such label"),
        ("tfidf", ("Pain.", "469", "469"), "against=469: is the DRG that is explained"),
        ("tfidf", ("Pain.", "469", None, Method.ATTINGRAD), "which has occlusion, linear; write method=occlusion"),
        ("llama", ("Pain.", "469", None, Method.LINEAR), "model=nano, which has occlusion, gradient_attention, integ"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(
    name: str, words: tuple[Any, ...], expected: str, models: dict[str, Model]
) -> None:
    with pytest.raises(UserError, match=expected):
        explain_note(models[name], *words)


def test_a_model_that_reads_no_word_owes_nothing_to_any_sentence(models: dict[str, Model]) -> None:
    assert methods_of(models["majority"]) == (Method.OCCLUSION,)
    assert {row.score for row in explain_note(models["majority"], TEXT, "469")} == {0.0}


def configured_otherwise(opened: Model, /, **values: object) -> Model:
    """The same run as if it were of another configuration."""
    predictor = copy.copy(opened.predictor)
    cfg: Any = dataclasses.replace(predictor.data.cfg, **values)  # type: ignore[arg-type]
    predictor.data = dataclasses.replace(predictor.data, cfg=cfg)
    return dataclasses.replace(opened, predictor=predictor)


def test_a_model_that_reads_facts_of_the_admission_cannot_be_asked(models: dict[str, Model]) -> None:
    kind = dataclasses.replace(models["tfidf"].predictor.data.cfg.model, name="fusion", kind=Kind.FUSION)
    with pytest.raises(UserError, match="model=fusion reads the admission's facts, which a note does not hold"):
        explain_note(configured_otherwise(models["tfidf"], model=kind), TEXT, "469")


def test_a_head_that_reads_the_mean_has_no_attention_of_its_own(models: dict[str, Model]) -> None:
    mean = configured_otherwise(models["llama"], pooling=Pooling.MEAN)
    with pytest.raises(UserError, match="which has occlusion, integrated_gradients; write method=occlusion"):
        explain_note(mean, TEXT, "469", method=Method.GRADIENT_ATTENTION)


def test_every_method_is_of_some_model() -> None:
    assert {method for methods in FURTHER_METHODS.values() for method in methods} == set(Method) - {Method.OCCLUSION}


def test_spans_that_are_left_out_keep_what_is_around_them() -> None:
    spans = split_sentences(TEXT)
    assert without(TEXT, []) == TEXT
    assert without(TEXT, spans) == EMPTY
    assert without(TEXT, spans[::-1][:2]) == TEXT[: spans[-2][0]] + TEXT[spans[-2][1] : spans[-1][0]]
    assert all(TEXT[end:start] == "\n" for (_, end), (start, _) in pairwise(spans))
