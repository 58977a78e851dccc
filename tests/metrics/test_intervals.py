import numpy as np
import pytest

from src.benchmarks.coverage import POPULATIONS, draw_test_set
from src.cohort.msdrg import load_drgs
from src.metrics.intervals import SubsampledMetric, difference, estimate, estimates, holm, subsample
from src.metrics.weighted import WeightedMetric
from src.models.labelspace import LabelSpace
from src.runs.predictions import Predictions, Task, measure, tasks

SPACE = LabelSpace.from_labels(list(load_drgs().values()))


def made(notes: int = 300, seed: int = 0) -> Predictions:
    draw = np.random.default_rng(seed)
    truth = np.minimum(draw.geometric(0.03, notes), 757) - 1
    scores = np.round(draw.normal(size=(notes, 757)), 1).astype(np.float32)
    scores[np.arange(notes), truth] += draw.normal(3, 1, notes)
    heads = {
        "scores": scores,
        "base_scores": draw.normal(size=(notes, 340)).astype(np.float32),
        "severity_scores": draw.normal(size=(notes, 5)).astype(np.float32),
    }
    return Predictions(np.sort(draw.integers(0, notes // 2, notes)), np.arange(notes), truth, heads)


def tallies(predictions: Predictions) -> list[WeightedMetric]:
    return [tally for task in tasks(predictions, SPACE) for tally in task.tallies()]


def over(predictions: Predictions, weights: np.ndarray) -> dict[str, float]:
    return {name: values[0] for tally in tallies(predictions) for name, values in tally.over(weights[None]).items()}


def test_tallies_over_the_whole_set_are_the_metrics() -> None:
    predictions = made()
    assert over(predictions, np.ones(300)) == pytest.approx(measure(predictions, SPACE), abs=1e-7)


def test_tallies_over_a_part_are_the_metrics_of_its_notes() -> None:
    predictions, part = made(), np.random.default_rng(1).random(300) < 0.6
    heads = {name: scores[part] for name, scores in predictions.heads.items()}
    alone = Predictions(predictions.subject_id[part], predictions.hadm_id[part], predictions.drg[part], heads)
    found, expected = over(predictions, part.astype(np.float64)), measure(alone, SPACE)
    exact = {name for name in expected if "auc" not in name}
    assert {name: found[name] for name in exact} == pytest.approx({name: expected[name] for name in exact}, abs=1e-7)
    areas = set(expected) - exact  # to first order only
    assert {name: found[name] for name in areas} == pytest.approx({name: expected[name] for name in areas}, abs=0.02)


def test_the_error_of_accuracy_is_the_one_of_a_mean_over_patients() -> None:
    test = draw_test_set(POPULATIONS[2], np.random.default_rng(0))
    hit = test.predicted[0] == test.target
    error = subsample(test.tallies(0, 738), test.patients)["accuracy"].error
    count = np.bincount(test.patients)
    residual = np.bincount(test.patients, hit - hit.mean())
    assert error == pytest.approx(np.sqrt((residual**2).sum()) / count.sum(), rel=0.15)


@pytest.mark.slow
def test_the_error_of_macro_f1_is_its_spread_over_test_sets_where_the_bootstrap_falls_short() -> None:
    population, draw = POPULATIONS[5], np.random.default_rng(0)
    sets = [draw_test_set(population, draw) for _ in range(60)]
    parts = [subsample(test.tallies(0, 738), test.patients, rounds=200) for test in sets]
    spread = np.std([each["macro_f1"].whole for each in parts], ddof=1)
    assert np.mean([each["macro_f1"].error for each in parts]) == pytest.approx(spread, rel=0.2)


def test_a_run_does_not_differ_from_itself() -> None:
    parts = subsample(tallies(made()), made().subject_id, rounds=20)
    for each in parts.values():
        found = difference(each, each)
        assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    draw = np.random.default_rng(0)
    patients, truth = np.arange(2000), np.zeros(2000, dtype=np.int64)
    one = (draw.random(2000) < 0.5).astype(np.int64)
    other = np.where(draw.random(2000) < 0.05, 0, one)
    first, second = (subsample(Task("", truth, chosen, 2).tallies(), patients) for chosen in (one, other))
    found = difference(second["accuracy"], first["accuracy"])
    assert found.error < 0.5 * first["accuracy"].error
    assert 0 < found.low < found.value < found.high
    assert found.p < 1e-6


def test_too_few_patients_have_no_interval() -> None:
    predictions = made(300)
    parts = subsample(tallies(predictions), predictions.subject_id % 15)
    told = estimates(parts, 15)["accuracy"]
    assert np.isnan([told.error, told.low, told.high]).all()
    assert np.isnan(difference(parts["accuracy"], parts["accuracy"]).p)


def test_an_interval_stays_within_0_and_1() -> None:
    for value in (0.0, 0.001, 0.999, 1.0):
        told = estimate(value, 0.01, 40)
        assert 0 <= told.low <= value <= told.high <= 1
        assert told.low < told.high


def test_holm_equals_its_definition() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        p = draw.random(7) ** 3
        order = np.argsort(p)
        steps = [min(1.0, max((7 - j) * p[order[j]] for j in range(k + 1))) for k in range(7)]
        assert np.array(holm(p.tolist()))[order] == pytest.approx(steps)
    assert holm([]) == []


def test_the_variance_never_falls_faster_than_with_the_patients() -> None:
    halves, quarters = np.array([[0.0, 1.0]]), np.array([[0.0, 9.0, 0.0, 9.0]])
    assert SubsampledMetric(0.5, halves, quarters).error == pytest.approx(0.5)
