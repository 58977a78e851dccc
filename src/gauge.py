"""Measures how hard a cohort is: `python -m src.gauge data.dir=COHORT`."""

from dataclasses import dataclass
from pathlib import Path

from src.cli.command import command


@dataclass
class GaugeData:
    """The prepared cohort."""

    dir: str
    """Folder that `python -m src.prepare` wrote."""


@dataclass
class GaugeConfig:
    """Measures how hard a cohort is: TF-IDF and a linear model, by how many words are shown."""

    data: GaugeData
    words: list[int]
    """How many words of each note are shown."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        from src.cohort.prepared import RECORD

        problems = []
        if not (Path(self.data.dir) / RECORD).is_file():
            problems.append(f"data.dir={self.data.dir}: no prepared cohort there; make one with python -m src.prepare")
        if not self.words or min(self.words) < 1:
            problems.append(f"words={self.words}: must be numbers of at least 1")
        return problems


def gauge(cfg: GaugeConfig) -> None:
    """Prints top-1, base-DRG and CC/MCC accuracy of TF-IDF + linear on the test patients, a row a length.

    Raises:
        UserError: the cohort cannot be read.
    """
    from src.baselines.tfidf import TfidfLinear, first_words
    from src.cohort.prepared import read_cohort
    from src.cohort.split import Split

    cohort = read_cohort(Path(cfg.data.dir))
    labels = {label.code: label for label in cohort.labels}
    train, test = cohort.notes(Split.TRAIN), cohort.notes(Split.TEST)
    targets = {"drg": lambda code: code}
    if cohort.record["drg_version"]:
        targets["base_drg"] = lambda code: str(labels[code].base_drg)
        targets["severity"] = lambda code: str(labels[code].severity)
    print(f"{'words':>6} " + " ".join(f"{name:>9}" for name in targets))
    for words in cfg.words:
        train_texts = [first_words(text, words) for text in train["text"]]
        test_texts = [first_words(text, words) for text in test["text"]]
        right = []
        for label in targets.values():
            predicted = TfidfLinear().fit(train_texts, [label(code) for code in train["drg"]]).predict(test_texts)
            target = [label(code) for code in test["drg"]]
            right.append(sum(a == b for a, b in zip(predicted, target, strict=True)) / len(target))
        print(f"{words:>6} " + " ".join(f"{share:>9.3f}" for share in right), flush=True)


def main() -> None:
    """Runs the command."""
    command(GaugeConfig, "gauge", gauge)


if __name__ == "__main__":
    main()
