from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from src.benchmarks.evidence import main
from src.evidence.explanation import explain_note
from src.evidence.faithfulness import Ablated, ablate, faithfulness, normalised, random_order, shuffled_drg
from src.evidence.sentences import split_sentences
from src.inference.model import Model
from src.train import train
from tests.baselines.test_runs import configured
from tests.evidence.conftest import planted_note


class Drawn:
    """A probability for each text, drawn once, and how often one was asked for."""

    def __init__(self, seed: int) -> None:
        self.draw, self.known, self.asked = np.random.default_rng(seed), dict[str, float](), 0

    def __call__(self, texts: list[str]) -> NDArray[np.float64]:
        self.asked += len(texts)
        return np.array([self.known.setdefault(text, float(self.draw.random())) for text in texts])


def ablated(count: int, seed: int = 0) -> Ablated:
    text = " ".join(f"Sentence number{index}." for index in range(count))
    return Ablated(Drawn(seed), text, split_sentences(text))


def additive(values: list[float]) -> Ablated:
    """A note whose sentences each add their own share to the probability."""
    text = " ".join(f"x{index}." for index in range(len(values)))

    def probability(texts: list[str]) -> NDArray[np.float64]:
        return np.array([sum(value for index, value in enumerate(values) if f"x{index}." in text) for text in texts])

    return Ablated(probability, text, split_sentences(text))


@pytest.mark.parametrize("seed", range(3))
def test_exact_limits_are_the_lowest_and_highest_of_all_orders(seed: int) -> None:
    note = ablated(5, seed)
    areas = [note.aopc(order) for order in permutations(range(5))]
    assert note.limits() == pytest.approx((min(areas), max(areas)))
    low, high = note.limits(exact=4, beam=2)
    assert min(areas) - 1e-12 <= low < high <= max(areas) + 1e-12


def test_the_area_is_the_mean_fall_as_sentences_go() -> None:
    note = additive([0.5, 0.3, 0.1])
    assert note.aopc([0, 2, 1]) == pytest.approx((0.5 + 0.6 + 0.9) / 3)
    assert note.limits(exact=0, beam=1) == pytest.approx(((0.1 + 0.4 + 0.9) / 3, (0.5 + 0.8 + 0.9) / 3))


def test_true_scores_are_as_faithful_as_can_be_and_reversed_ones_as_little() -> None:
    note = additive([0.1, 0.5, 0.05, 0.3])
    limits = note.limits()
    best = faithfulness(note, [0.1, 0.5, 0.05, 0.3], limits)
    worst = faithfulness(note, [-0.1, -0.5, -0.05, -0.3], limits)
    assert (best.comprehensiveness, best.sufficiency) == pytest.approx((1, 0))
    assert (worst.comprehensiveness, worst.sufficiency) == pytest.approx((0, 1))


def test_normalised_values_are_the_same_for_a_model_of_half_the_confidence() -> None:
    values, scores = [0.1, 0.5, 0.05, 0.3], [0.5, 0.1, 0.2, 0.3]
    sure, unsure = additive(values), additive([value / 2 for value in values])
    assert sure.aopc([0, 1, 2, 3]) == pytest.approx(2 * unsure.aopc([0, 1, 2, 3]))
    results = [faithfulness(note, scores, note.limits()) for note in (sure, unsure)]
    assert results[0].comprehensiveness == pytest.approx(results[1].comprehensiveness)


def test_random_orders_lie_halfway_where_sentences_add_up_and_win_nothing_over_each_other() -> None:
    note = additive([0.1, 0.5, 0.05, 0.3])
    limits = note.limits()
    every = [normalised(note.aopc(order), limits) for order in permutations(range(4))]
    assert np.mean(every) == pytest.approx(0.5)
    drawn = [random_order(note, limits, seed) for seed in range(40)]
    assert np.mean([result.comprehensiveness for result in drawn]) == pytest.approx(0.5, abs=0.03)
    assert all(result.comprehensiveness == result.sufficiency for result in drawn)


def test_a_note_of_one_sentence_or_of_equal_ones_has_no_order_to_measure() -> None:
    for note in (ablated(1), additive([0.2, 0.2, 0.2])):
        limits = note.limits()
        result = faithfulness(note, [1.0] * note.count, limits)
        assert np.isnan([result.comprehensiveness, result.sufficiency, random_order(note, limits).sufficiency]).all()


def test_each_set_of_sentences_is_scored_once() -> None:
    note = ablated(6)
    note.limits()
    random_order(note, note.limits())
    drawn = note.probability
    assert isinstance(drawn, Drawn)
    assert drawn.asked == 2**6


def test_both_controls_lose_to_a_method_on_notes_of_which_one_sentence_decides(opened: dict[str, Model]) -> None:
    model, won = opened["tfidf"], []
    for seed in range(6):
        text = planted_note("469", seed)
        note = ablate(model, text, "469")
        limits = note.limits()
        drgs = ("469", shuffled_drg(model, "469", seed))
        assert drgs[1] != "469"
        own, lost = (faithfulness(note, [row.score for row in explain_note(model, text, drg)], limits) for drg in drgs)
        random = random_order(note, limits, seed)
        assert own.comprehensiveness > random.comprehensiveness
        assert own.sufficiency < random.sufficiency
        won.append((own.comprehensiveness - lost.comprehensiveness, lost.sufficiency - own.sufficiency))
    assert (np.mean(won, axis=0) > 0.1).all()


def test_the_benchmark_prints_a_row_for_each_method_with_plausibility_where_the_hospital_is_given(
    hospital: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(configured("tfidf", cohort), tmp_path / "tfidf")
    words = [f"cohort={cohort}", f"runs={tmp_path / 'tfidf'}", "notes=3", "exact=3", "beam=1", f"hospital={hospital}"]
    monkeypatch.setattr("sys.argv", ["evidence", *words])
    capsys.readouterr()
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [["tfidf", "occlusion"], ["tfidf", "linear"]]
    assert len(lines[1].split()) - 1 == len(lines[2].split()) == 14
    assert all(0 <= float(share) <= 1 for line in lines[2:] for share in line.split()[-3:])
    monkeypatch.setattr("sys.argv", ["evidence", *words, "sentences=1"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "error: sentences=1: every test note has more; name a larger number\n"


def test_the_benchmark_asks_for_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["evidence", "cohort=none"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "error: runs: not given; write runs=DIR\n"
