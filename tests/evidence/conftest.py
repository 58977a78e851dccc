"""What the tests of evidence share: a cohort in which one sentence decides each note, and finished runs on it."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from src.inference.model import Model, open_model
from src.train import train
from tests.baselines.test_runs import TINY_BERT, configured

FILLER = (
    "He was admitted from home.",
    "Vital signs were stable.",
    "The patient walked with physical therapy.",
    "Diet was advanced.",
    "He was monitored on telemetry.",
    "Home medications were continued.",
)
DECIDES = {"470": "Radiograph showed severe arthritis.", "469": "Cultures grew resistant staphylococcus."}

WORDS = {
    "majority": [],
    "tfidf": [],
    "caml": ["epochs=2", "max_len=40", "labels=two"],
    "clinicalbert": ["epochs=1", "lr=0.01", "labels=joint", *TINY_BERT, "max_len=48"],
}


def planted_note(drg: str, seed: int) -> str:
    """A note of seven sentences in any order, of which one decides the DRG."""
    sentences = [*FILLER, DECIDES[drg]]
    random.Random(seed).shuffle(sentences)
    return "\n".join(sentences)


@pytest.fixture(scope="session")
def planted(once: Callable[..., Path], command: Callable[..., object]) -> Path:
    """A folder with a cohort, and a finished run of each model in `WORDS`, by the model's name."""

    def make(folder: Path) -> None:
        folder.mkdir()
        rows = []
        for number in range(90):
            drg = "470" if number % 2 else "469"
            rows.append(f'p{number},"{planted_note(drg, number)}",{drg}')
        (folder / "notes.csv").write_text("\n".join(["patient,text,drg", *rows]) + "\n", "utf-8")
        (folder / "key").write_text("ab" * 32 + "\n", "utf-8")
        source = [f"data.path={folder / 'notes.csv'}", "data.text=text", "data.label=drg", "data.patient=patient"]
        own = ["data=csv", *source, "data.words=3", f"split_key={folder / 'key'}", f"data.out={folder / 'cohort'}"]
        command("src.prepare", *own)
        for model, words in WORDS.items():
            train(configured(model, folder / "cohort", *words), folder / model)

    return once("planted", make)


@pytest.fixture(scope="session")
def opened(planted: Path) -> dict[str, Model]:
    """The runs as models."""
    return {model: open_model(planted / model, "cpu") for model in WORDS}
