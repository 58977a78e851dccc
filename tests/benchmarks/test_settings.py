import importlib
import sys

import pytest

import src
from src.benchmarks.settings import own_settings


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("chaos", "cohort out kills=many", "kills=many: must be a whole number of at least 0, as kills=20"),
        ("coverage", "rounds=-1", "rounds=-1: must be a whole number of at least 0, as rounds=400"),
        ("early_cohorts", "summaries=many", "summaries=many: must be a whole number of at least 0"),
        ("evaluation", "notes=1.5", "notes=1.5: must be a whole number"),
        ("evidence", "beam=x", "beam=x: must be a whole number"),
        ("gpu", "device=cpu steps=x", "steps=x: must be a whole number"),
        ("host", "baseline=maybe", "baseline=maybe: must be true or false, as baseline=True"),
        ("inference", "precision=fp8", "precision=fp8: must be one of auto, fp32, "),
        ("memory", "hidden=", "hidden=: must be a whole number"),
        ("prediction", "run hospital rounds=x", "rounds=x: must be a whole number"),
        ("preparation", "hospital bytes=x", "bytes=x: must be a whole number"),
        ("search", "cohort out trials=x", "trials=x: must be a whole number"),
        ("service", "requests=all", "requests=all: must be a whole number of at least 0, as requests=10000"),
        ("strikes", "cohort out minutes=inf", "minutes=inf: must be a number of at least 0, as minutes=600.0"),
        ("study", "studies=x", "studies=x: must be a whole number"),
        ("study", "study=3", "study=3: not known here; there are studies=2000"),
        ("training", "wide=1", "wide=1: must be true or false"),
    ],
)
def test_a_word_that_a_benchmark_cannot_use_is_named(
    name: str, words: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, *words.split()])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"{src.__name__}.benchmarks.{name}").main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_words_that_are_not_a_benchmarks_own_go_to_what_it_starts() -> None:
    assert own_settings(["seed=3", "lr=1", "epochs=2"], {"seed": 0}) == ({"seed": 3}, ["lr=1", "epochs=2"])
