"""Logit adjustment after the fact: what theory says of it, and that the test never chooses."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from torch.nn.functional import cross_entropy

from src.evaluation.adjustment import AS_TRAINED, TAUS, Adjustment, adjust, adjustment, as_text, best_tau, log_shares
from src.evaluation.figures import draw_front
from src.metrics.definitions import log_softmax
from src.runs.predictions import Predictions

SHARES = np.array([0.6, 0.25, 0.1, 0.05])


def drawn(seed: int, notes: int = 600) -> Predictions:
    """Scores that know the classes' shares and something of each note."""
    draw = np.random.default_rng(seed)
    truth = draw.choice(4, notes, p=SHARES)
    scores = draw.normal(size=(notes, 4)) + np.log(SHARES)
    scores[np.arange(notes), truth] += 1.5
    return Predictions(np.arange(notes) // 2, np.arange(notes), truth, {"scores": scores.astype(np.float32)})


def shuffled(predictions: Predictions) -> Predictions:
    """The same scores with the truth of other notes."""
    truth = np.random.default_rng(9).permutation(predictions.drg)
    return Predictions(predictions.subject_id, predictions.hadm_id, truth, predictions.heads)


@pytest.fixture(scope="module")
def counts() -> NDArray[np.int64]:
    return (1000 * SHARES).astype(np.int64)


@pytest.fixture(scope="module")
def measured(counts: NDArray[np.int64]) -> Adjustment:
    return adjustment(drawn(0), drawn(1), counts)


def least(kind: NDArray[np.int64], drg: NDArray[np.int64], prior: NDArray[np.float32], tau: float) -> torch.Tensor:
    """Minimises the logit-adjusted loss over a free logit for every kind of note and class."""
    table = torch.zeros(int(kind.max()) + 1, len(prior), dtype=torch.float64, requires_grad=True)
    notes, target, added = torch.as_tensor(kind), torch.as_tensor(drg), tau * torch.as_tensor(prior).double()
    optimiser = torch.optim.LBFGS([table], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(table[notes] + added, target)
        torch.autograd.backward(loss)
        return loss

    optimiser.step(closure)
    return table.detach()


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_what_minimises_the_adjusted_loss_is_cross_entropys_minimiser_adjusted_after_the_fact(tau: float) -> None:
    draw = np.random.default_rng(0)
    kind = draw.integers(0, 5, 2000)
    drg = np.array([draw.choice(4, p=np.roll(SHARES, cell % 3)) for cell in kind])
    prior = log_shares(np.bincount(drg, minlength=4))
    plain, in_loss = (least(kind, drg, prior, strength).float().numpy() for strength in (0.0, tau))
    after = adjust(plain, prior, tau)
    assert np.abs(log_softmax(after) - log_softmax(in_loss)).max() < 1e-4
    assert (after.argmax(1) == in_loss.argmax(1)).all()
    assert np.abs(log_softmax(adjust(in_loss, prior, -tau)) - log_softmax(plain)).max() < 1e-4
    assert np.abs(log_softmax(after) - log_softmax(plain)).max() > 0.1


def test_tau_is_chosen_without_the_test(measured: Adjustment, counts: NDArray[np.int64]) -> None:
    other = adjustment(drawn(0), shuffled(drawn(1)), counts)
    assert measured.points.select("point", "tau").equals(other.points.select("point", "tau"))
    assert measured.front.select("tau", "val_macro_f1").equals(other.front.select("tau", "val_macro_f1"))
    assert not measured.front["macro_f1"].equals(other.front["macro_f1"])
    chosen = adjustment(shuffled(drawn(0)), drawn(1), counts)
    assert not measured.points["tau"].equals(chosen.points["tau"])


def test_the_front_and_the_points_are_those_of_a_plain_count(
    measured: Adjustment, counts: NDArray[np.int64], tmp_path: Path
) -> None:
    test, prior = drawn(1), np.log(counts / counts.sum())
    assert measured.front["tau"].to_list() == list(TAUS)
    predicted = {tau: (test.heads["scores"] - tau * prior).argmax(1) for tau in TAUS}
    for row in measured.front.to_dicts():
        assert row["macro_f1"] == pytest.approx(f1_score(test.drg, predicted[row["tau"]], average="macro"))
        assert row["accuracy_low"] < row["accuracy"] == pytest.approx((test.drg == predicted[row["tau"]]).mean())
    points = measured.points.filter(pl.col("metric") == "macro_f1").to_dicts()
    assert (points[0]["point"], points[0]["tau"], points[0]["difference"]) == (AS_TRAINED, 0.0, None)
    best = measured.front.row(measured.front["val_macro_f1"].arg_max(), named=True)
    assert points[1]["value"] == pytest.approx(best["macro_f1"])
    assert points[1]["difference"] == pytest.approx(best["macro_f1"] - points[0]["value"])
    assert points[1]["difference_low"] < points[1]["difference"] < points[1]["difference_high"]
    assert points[1]["difference"] > 0
    assert f"tau {best['tau']:>5.2f}  {best['macro_f1']:.3f} [" in as_text(points)
    draw_front(tmp_path / "front.png", measured.front, {row["point"]: row["tau"] for row in points}, "made up")
    assert (tmp_path / "front.png").stat().st_size > 10_000


def test_a_class_without_training_notes_is_lifted_as_one_of_a_single_note() -> None:
    shares = log_shares(np.array([98, 1, 0]))
    assert shares[1] == shares[2]
    assert adjust(np.zeros((1, 3), np.float32), shares, 2.0)[0].tolist() == (-2 * shares).tolist()


def test_of_equal_taus_the_one_that_changes_least_is_chosen() -> None:
    assert best_tau({tau: {"macro_f1": 0.5} for tau in TAUS}, "macro_f1") == 0.0


def test_a_test_of_too_few_patients_for_an_interval_has_values_alone(counts: NDArray[np.int64]) -> None:
    few = adjustment(drawn(0), drawn(1, notes=20), counts)
    assert few.points["p_holm"].is_null().all()
    assert few.points["value"].is_finite().all()
    rows = [{key: None if value != value else value for key, value in row.items()} for row in few.points.to_dicts()]
    assert "[-, -]" in as_text(rows)
    assert "corrected" not in as_text(rows)
