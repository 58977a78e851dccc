import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from src.metrics.definitions import log_softmax, measure_scores, truth_ranks

KEYS = {
    *("accuracy", "top5", "top10", "macro_f1", "macro_f1_all", "micro_f1", "micro_f1_all"),
    *("macro_auc", "micro_auc"),
}


def oracle(scores: NDArray[np.float32], truth: NDArray[np.int64]) -> dict[str, float]:
    """The metrics by scikit-learn, top-k by sorting in plain Python."""
    notes, drgs = scores.shape
    predicted = scores.argmax(1)
    present = np.unique(truth)
    logp = log_softmax(scores)
    one_hot = np.eye(drgs)[truth]
    ranked = [sorted(range(drgs), key=lambda d, row=row: (-row[d], d)) for row in scores.tolist()]
    macro = [roc_auc_score(one_hot[:, d], logp[:, d]) for d in present if 0 < one_hot[:, d].sum() < notes]
    return {
        "accuracy": accuracy_score(truth, predicted),
        **{f"top{k}": np.mean([t in row[:k] for t, row in zip(truth, ranked, strict=True)]) for k in (5, 10)},
        "macro_f1": f1_score(truth, predicted, labels=present, average="macro", zero_division=0),
        "macro_f1_all": f1_score(truth, predicted, labels=range(drgs), average="macro", zero_division=0),
        "micro_f1": f1_score(truth, predicted, labels=present, average="micro", zero_division=0),
        "micro_f1_all": f1_score(truth, predicted, labels=range(drgs), average="micro", zero_division=0),
        "macro_auc": np.mean(macro) if macro else np.nan,
        "micro_auc": roc_auc_score(one_hot.ravel(), logp.ravel()) if drgs > 1 else np.nan,
    }


def cases() -> dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]:
    draw = np.random.default_rng(0)
    random = draw.normal(size=(400, 30)).astype(np.float32)
    truth = np.minimum(draw.geometric(0.2, 400) - 1, 29)
    helped = random.copy()
    helped[np.arange(400), truth] += 2
    return {
        "random": (random, truth),
        "long tail, half right": (helped, truth),
        "tied": (np.round(helped), truth),
        "all equal": (np.zeros_like(random), truth),
        "absent classes": (helped, np.minimum(truth, 4)),
        "extreme": (helped * np.float32(1e37), truth),
        "extreme and tied": (np.sign(helped) * np.float32(3e38), truth),
        "impossible": (np.where(helped > -1, helped, -np.inf).astype(np.float32), truth),
        "offset rows": (helped + draw.normal(size=(400, 1)).astype(np.float32) * 100, truth),
        "four DRGs": (helped[:, :4], np.minimum(truth, 3)),
        "one member": (helped, np.r_[np.zeros(399, dtype=np.int64), 7]),
    }


@pytest.mark.parametrize("case", cases())
def test_all_metrics_equal_scikit_learn(case: str) -> None:
    scores, truth = cases()[case]
    found = measure_scores(scores, truth)
    assert set(found) == KEYS
    assert found == pytest.approx(
        oracle(np.where(np.isneginf(scores), np.float32(-3e38), scores), truth), abs=1e-7, rel=0
    )


small = st.integers(1, 12).flatmap(
    lambda notes: st.integers(2, 12).flatmap(
        lambda drgs: st.tuples(
            st.lists(st.integers(-2, 2), min_size=notes * drgs, max_size=notes * drgs).map(
                lambda flat: np.array(flat, dtype=np.float32).reshape(notes, drgs)
            ),
            st.lists(st.integers(0, drgs - 1), min_size=notes, max_size=notes).map(np.array),
        )
    )
)


@settings(max_examples=150, deadline=None)
@given(small)
def test_small_shapes_equal_scikit_learn(case: tuple[NDArray[np.float32], NDArray[np.int64]]) -> None:
    assert measure_scores(*case) == pytest.approx(oracle(*case), abs=1e-7, rel=0, nan_ok=True)


@pytest.mark.filterwarnings("ignore:No positive samples")
def test_torchmetrics_agrees_with_the_settings_that_the_docstrings_name() -> None:
    import torch
    from torchmetrics.functional import classification as tm

    scores, truth = cases()["absent classes"]
    logp, target = torch.from_numpy(log_softmax(scores)), torch.from_numpy(truth)
    present = np.unique(truth)
    found = measure_scores(scores, truth)
    drgs = scores.shape[1]
    areas = tm.multiclass_auroc(logp.exp(), target, num_classes=drgs, average="none", thresholds=None)
    assert found["macro_auc"] == pytest.approx(float(areas[present].mean()), abs=1e-6)
    flat = torch.nn.functional.one_hot(target, drgs).ravel()
    assert found["micro_auc"] == pytest.approx(float(tm.binary_auroc(logp.exp().ravel(), flat)), abs=1e-6)
    f1 = tm.multiclass_f1_score(logp.argmax(1), target, num_classes=drgs, average="none")
    assert found["macro_f1"] == pytest.approx(float(f1[present].mean()), abs=1e-6)
    top5 = tm.multiclass_accuracy(logp, target, num_classes=drgs, average="micro", top_k=5)
    assert found["top5"] == pytest.approx(float(top5), abs=1e-6)


def test_top10_of_fewer_than_ten_drgs_is_one() -> None:
    assert measure_scores(np.zeros((3, 9), dtype=np.float32), np.array([0, 5, 8]))["top10"] == 1.0


def test_equal_scores_are_ranked_in_the_order_of_the_drgs() -> None:
    scores = np.zeros((12, 12), dtype=np.float32)
    assert truth_ranks(scores, np.arange(12)).tolist() == list(range(12))


def test_micro_f1_leaves_out_predictions_of_drgs_that_are_not_present() -> None:
    scores = np.log(np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]], dtype=np.float32))
    found = measure_scores(scores, np.array([0, 0]))
    assert found["micro_f1"] == pytest.approx(2 / 3)
    assert found["micro_f1_all"] == found["accuracy"] == 0.5


def test_metrics_do_not_depend_on_what_is_added_to_a_whole_row() -> None:
    scores, truth = cases()["long tail, half right"]
    shifted = scores.astype(np.float64) + np.arange(400)[:, None]
    assert measure_scores(shifted, truth) == pytest.approx(measure_scores(scores, truth), abs=1e-9)


def test_an_auc_without_positives_or_negatives_is_nan() -> None:
    found = measure_scores(np.zeros((2, 1), dtype=np.float32), np.array([0, 0]))
    assert np.isnan(found["macro_auc"])
    assert np.isnan(found["micro_auc"])
    assert found["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 3]), r"truth runs from 0 to 3: must be in 0..2"),
        (np.zeros((2, 3)), np.array([-1, 2]), "truth runs from -1"),
        (np.zeros((2, 3)), np.array([0]), "must be"),
        (np.zeros((0, 3)), np.array([], dtype=np.int64), "above 0"),
        (np.array([[0.0, 1.0], [np.nan, 1.0]]), np.array([0, 0]), "note 1 are not numbers"),
        (np.array([[np.inf, 1.0]]), np.array([0]), "note 0 are not numbers"),
        (np.array([[-np.inf, -np.inf]]), np.array([0]), "all -inf"),
    ],
)
def test_what_cannot_be_measured_is_refused(scores: NDArray, truth: NDArray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_scores(scores, truth)
