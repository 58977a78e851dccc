"""Measures how hard a cohort is: `python -m src.gauge data.dir=COHORT`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import command

if TYPE_CHECKING:
    from src.cohort.prepared import Cohort


@dataclass
class GaugeData:
    """The prepared cohort."""

    dir: str
    """Folder that `python -m src.prepare` wrote."""


@dataclass
class GaugeConfig:
    """Measures how hard a cohort is for TF-IDF and a linear model, by how many words are shown and by horizon."""

    data: GaugeData
    words: list[int]
    """How many words of each note are shown."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        from src.config.cohort_folder import RECORD

        problems = []
        if not (Path(self.data.dir) / RECORD).is_file():
            problems.append(f"data.dir={self.data.dir}: no prepared cohort there; make one with python -m src.prepare")
        if not self.words or min(self.words) < 1:
            problems.append(f"words={self.words}: must be numbers of at least 1")
        return problems


def gauge(cfg: GaugeConfig) -> None:
    """Prints top-1, base-DRG and CC/MCC accuracy of TF-IDF + linear on the test patients, a row a length.

    Where cohorts of horizons were prepared a second table has a row for each of them and for discharge, of whole texts
    and of the test admissions that are still in the house at every horizon.

    Raises:
        UserError: the cohort cannot be read.
    """
    from src.baselines.tfidf import first_words
    from src.cohort.prepared import read_cohort
    from src.cohort.split import Split
    from src.config.cohort_folder import folder_at, prepared_horizons
    from src.config.prepare import NamedHorizon

    folder = Path(cfg.data.dir)
    cohort = read_cohort(folder)
    targets = _targets(cohort)
    print(f"{'words':>9} " + " ".join(f"{name:>9}" for name in targets))
    for words in cfg.words:
        _measure(str(words), cohort, targets, None, partial(first_words, words=words))
    if horizons := prepared_horizons(folder):
        cohorts = {name: read_cohort(folder_at(folder, name)) for name in [*horizons, NamedHorizon.DISCHARGE]}
        admissions = [set(part.notes(Split.TEST)["hadm_id"]) for part in cohorts.values()]
        common = reduce(set.intersection, admissions)
        print(f"\n{len(common):,} of {len(admissions[-1]):,} test admissions are in the house at every horizon:")
        print(f"{'horizon':>9} " + " ".join(f"{name:>9}" for name in targets))
        for name, part in cohorts.items():
            _measure(name, part, targets, common, str)


def _targets(cohort: "Cohort") -> dict[str, Callable[[str], str]]:
    labels = {label.code: label for label in cohort.labels}
    targets: dict[str, Callable[[str], str]] = {"drg": str}
    if cohort.record["drg_version"]:
        targets["base_drg"] = lambda code: str(labels[code].base_drg)
        targets["severity"] = lambda code: str(labels[code].severity)
    return targets


def _measure(
    row: str,
    cohort: "Cohort",
    targets: dict[str, Callable[[str], str]],
    admissions: set[int] | None,
    shown: Callable[[str], str],
) -> None:
    """Prints a row of accuracies on the test notes, or on those of some admissions."""
    from src.baselines.tfidf import TfidfLinear
    from src.cohort.split import Split

    train, test = cohort.notes(Split.TRAIN), cohort.notes(Split.TEST)
    if admissions is not None:
        test = test.filter(test["hadm_id"].is_in(list(admissions)))
    train_texts, test_texts = ([shown(text) for text in part["text"]] for part in (train, test))
    shares = []
    for label in targets.values():
        predicted = TfidfLinear().fit(train_texts, [label(code) for code in train["drg"]]).predict(test_texts)
        target = [label(code) for code in test["drg"]]
        shares.append(sum(a == b for a, b in zip(predicted, target, strict=True)) / max(1, len(target)))
    print(f"{row:>9} " + " ".join(f"{share:>9.3f}" for share in shares), flush=True)


def main() -> None:
    """Runs the command."""
    command(GaugeConfig, "gauge", gauge)


if __name__ == "__main__":
    main()
