from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from src.baselines.bert import Pieces
from src.cli.signals import Stop
from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.cohort.weights import weights_for
from src.inference.model import open_models
from src.inference.proposals import COLUMNS, Proposer


@pytest.fixture(scope="module")
def texts(cohort: Path) -> list[str]:
    return read_cohort(cohort).notes(Split.TEST)["text"].to_list()[:4]


def proposer(run: Path, aim: float) -> Proposer:
    return Proposer(open_models([run], "cpu"), weights_for("v34"), count=3, aim=aim)


def encounters(*texts: str | None) -> pl.DataFrame:
    return pl.DataFrame({"id": [f"e{n}" for n in range(len(texts))], "text": pl.Series(texts, dtype=pl.String)})


def test_proposals_are_the_likeliest_drgs_with_what_is_known_of_them(runs: dict[str, Path], texts: list[str]) -> None:
    asked = proposer(runs["two"], 0.9)
    rows = encounters(*texts)
    proposed = asked.propose(rows, Stop())
    probabilities = asked.models.probabilities(rows, Stop())
    codes = asked.models.space.codes
    assert tuple(proposed.columns) == COLUMNS
    assert proposed["id"].to_list() == rows["id"].to_list()
    assert proposed["drg"].to_list() == [codes[best] for best in probabilities.argmax(1)]
    assert np.allclose(proposed["probability"], probabilities.max(1))
    assert proposed["drgs"].list.len().to_list() == [3] * len(texts)
    assert all(pairs == sorted(pairs, reverse=True) for pairs in proposed["probabilities"].to_list())
    drg = next(label for label in asked.models.first.predictor.data.cohort.labels if label.code == proposed["drg"][0])
    assert (proposed["mdc"][0], proposed["base_drg"][0]) == (drg.mdc, drg.base_drg)
    assert proposed["model"][0].startswith(runs["two"].name + ":")


def test_each_reason_to_defer_is_told(runs: dict[str, Path], texts: list[str]) -> None:
    foreign = "El paciente ingresa por dolor abdominal intenso con fiebre alta durante varias semanas seguidas"
    long = " ".join(texts * 4)
    asked = proposer(runs["two"], 1.1)
    proposed = asked.propose(encounters(None, "  ", "Fever.", foreign, long), Stop())
    reasons = proposed["reasons"].to_list()
    assert reasons[0] == reasons[1] == ["no section: hospital course"]
    assert proposed["drg"].to_list()[:2] == [None, None]
    fewest = asked.models.first.kept.record["fewest_words"]
    short = [f"too short: 1 words, the cohort's notes have {fewest} or more"] if fewest > 1 else []
    assert [reason for reason in reasons[2] if reason.startswith("too short")] == short
    assert any(reason.startswith("unlike the training notes: ") for reason in reasons[3])
    assert reasons[4][-1].endswith("tokens not read")
    assert all("not sure enough: validation notes are never right as often as 110 %" in row for row in reasons[2:])
    assert proposed["decision"].to_list() == ["defer"] * 5


def test_tokens_that_are_not_read_defer_no_note(runs: dict[str, Path], texts: list[str]) -> None:
    proposed = proposer(runs["two"], 0.0).propose(encounters(" ".join(texts)), Stop())
    assert proposed["unread_tokens"][0] > 0
    assert proposed["reasons"].to_list() == [[f"{proposed['unread_tokens'][0]:,} tokens not read"]]
    assert proposed["decision"].to_list() == ["decide"]


@pytest.mark.parametrize("whose", ["llama", "bert"])
def test_one_thread_cuts_texts_while_another_counts_whole_ones(
    whose: str, runs: dict[str, Path], texts: list[str]
) -> None:
    data = proposer(runs["two"], 0.9).models.first.predictor.data
    pieces = Pieces(data.tokenizer, 16)
    cut = data.kept_texts if whose == "llama" else pieces.encode
    count = data.cut_texts if whose == "llama" else pieces.lengths
    several = [[text[start:] for text in texts * 4] for start in range(40)]  # no list is cached
    expected = [(cut(some), list(count(some))) for some in several]
    with ThreadPoolExecutor(2) as threads:
        begun = [(threads.submit(cut, some), threads.submit(count, some)) for some in several]
        assert [(cuts.result(), list(counts.result())) for cuts, counts in begun] == expected


def test_a_note_less_sure_than_the_threshold_is_deferred(runs: dict[str, Path], texts: list[str]) -> None:
    asked = proposer(runs["two"], 0.9)
    asked.__dict__["threshold"] = 2.0
    (reasons,) = asked.propose(encounters(texts[0]), Stop())["reasons"].to_list()
    assert reasons[0].startswith("not sure enough: ")
    assert reasons[0].endswith("needed are 200 %")
