"""Grows gradient-boosted trees (LightGBM) of the admission's facts, without a word of the note.

Boosting ends by validation, as Zhang and Yu (2005) have it: when `patience` rounds bring no lower loss. Each tree's
share is 0.1: a smaller one takes more rounds to the same place (Friedman 2001).
"""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.baselines.baseline import Baseline
from src.baselines.features import Facts
from src.baselines.linear import expand_to_all_drgs
from src.cli.progress import Clock
from src.cli.signals import Stop
from src.cohort.split import Split
from src.training.predictor import OpenRun, Scores, Training
from src.training.run_data import RunData

SETTINGS = {
    "objective": "multiclass",
    "learning_rate": 0.1,
    "num_leaves": 15,
    "min_data_in_leaf": 10,
    "max_bin": 63,
    "lambda_l2": 10.0,
    "feature_fraction": 0.5,
    "verbose": -1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
}
"""Small trees: one is grown a round for each of several hundred DRGs. Without the penalty a leaf with one note of a
rare DRG has a value that drowns all others."""

PATIENCE = 5
"""Rounds without a lower validation loss after which boosting ends; `patience=` goes first."""


class Boosted(Baseline):
    """Grows trees over the facts; `epochs` is the most rounds, and validation notes choose how many are kept."""

    coded: ClassVar[bool] = False
    """Whether it reads the codes that are given after the stay."""

    def __init__(self, data: RunData) -> None:
        super().__init__(data)
        self.facts = Facts(coded=self.coded)
        self.classes: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.booster: Any = None

    def fit(self, run: OpenRun) -> Training:
        import lightgbm as lgb

        train, validation = (self.data.notes(split) for split in (Split.TRAIN, Split.VALIDATION))
        self.classes = np.unique(train.drg)
        learnable = np.isin(validation.drg, self.classes)
        label = np.searchsorted(self.classes, train.drg)
        dataset = lgb.Dataset(self.facts.fit(train.rows).tocsr(), label, free_raw_data=False)
        seen = self.facts.of(validation.rows)[np.flatnonzero(learnable)]
        held_out = lgb.Dataset(seen, np.searchsorted(self.classes, validation.drg[learnable]), reference=dataset)
        name, rounds, patience = self.data.cfg.model.name, self.data.cfg.epochs, self.data.cfg.patience or PATIENCE
        clock = Clock(total=rounds, what=name, unit="round")
        settings = {**SETTINGS, "num_class": len(self.classes), "seed": self.data.cfg.seed}
        callbacks: list[Any] = [lgb.early_stopping(patience, verbose=False), lambda _: clock.step()]
        self.booster = lgb.train(settings, dataset, rounds, valid_sets=[held_out], callbacks=callbacks)
        print(f"{name}: {ending(clock.done, self.booster.best_iteration, rounds, patience)}")
        return Training({"trainable_parameters": self.booster.num_trees(), "steps": self.booster.best_iteration})

    def score(self, rows: pl.DataFrame, stop: Stop) -> Scores:
        shares = self.booster.predict(self.facts.of(rows), num_iteration=self.booster.best_iteration)
        values = np.log(np.maximum(shares, 1e-12))
        return {"scores": expand_to_all_drgs(values, self.classes, len(self.data.space.codes))}

    def write(self, folder: Path) -> None:
        self.booster.save_model(folder / "trees.txt", num_iteration=self.booster.best_iteration)
        learnt = {"classes": self.classes.tolist(), "facts": self.facts.learnt()}
        (folder / "trees.json").write_text(json.dumps(learnt), "utf-8")

    def read(self, folder: Path) -> None:
        import lightgbm as lgb

        self.booster = lgb.Booster(model_file=str(folder / "trees.txt"))
        learnt = json.loads((folder / "trees.json").read_text("utf-8"))
        self.classes, self.facts = np.array(learnt["classes"], dtype=np.int64), Facts.from_learnt(learnt["facts"])


def ending(grown: int, best: int, most: int, patience: int) -> str:
    """Says what ended boosting.

    >>> ending(grown=43, best=38, most=1000, patience=5)
    '5 rounds without a lower validation loss ended boosting after round 43; 38 rounds are kept'
    >>> ending(grown=60, best=58, most=60, patience=5)
    'epochs=60 ended boosting, not validation, whose loss was lowest after round 58; write more epochs'
    """
    if grown - best < patience:
        return (
            f"epochs={most} ended boosting, not validation, whose loss was lowest after round {best}; write more epochs"
        )
    return (
        f"{patience} rounds without a lower validation loss ended boosting after round {grown}; {best} rounds are kept"
    )


class BoostedWithCodes(Boosted):
    """Reads the codes of the stay too, from which the DRG was grouped: an upper bound."""

    coded: ClassVar[bool] = True
