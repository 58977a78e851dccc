"""What validations log are the metrics of `metrics.definitions`, to the bit."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from src.metrics.definitions import measure_choices
from src.training.validation_metrics import NAMES, MeanLoss, validation_metrics


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_of_batches_are_those_of_all_notes_to_the_bit(seed: int) -> None:
    chance = np.random.default_rng(seed)
    classes, notes = 40, 217
    target = chance.integers(0, 25, notes)  # some classes have no note, and are chosen all the same
    predicted = np.where(chance.random(notes) < 0.4, target, chance.integers(0, classes, notes))
    metrics = validation_metrics(classes)
    for start in range(0, notes, 8):
        batch = slice(start, start + 8)
        metrics.update(torch.from_numpy(predicted[batch]), torch.from_numpy(target[batch]))
    measured = {name: float(value) for name, value in metrics.compute().items()}
    assert measured == measure_choices(predicted, target, classes)
    assert list(measured) == list(NAMES)
    oracle = MulticlassAccuracy(classes, average="micro")(torch.from_numpy(predicted), torch.from_numpy(target))
    assert measured["accuracy"] == pytest.approx(float(oracle), abs=1e-6)


def test_a_validation_begins_with_empty_counts() -> None:
    metrics = validation_metrics(3)
    metrics.update(torch.tensor([0, 1]), torch.tensor([2, 2]))
    metrics.compute()
    metrics.reset()
    metrics.update(torch.tensor([1, 1, 0]), torch.tensor([1, 1, 2]))
    assert float(metrics.compute()["accuracy"]) == 2 / 3


def test_the_loss_is_the_mean_over_notes_and_nan_where_one_batch_is() -> None:
    loss = MeanLoss()
    loss.update(torch.tensor(1.0), 8)
    loss.update(torch.tensor(4.0), 4)
    assert float(loss.compute()) == 2.0
    loss.update(torch.tensor(float("nan")), 4)
    assert torch.isnan(loss.compute())
