import polars as pl
import pytest

from src.cli.errors import UserError
from src.evidence.plausibility import plausibility


def sentences(*scores: float) -> pl.DataFrame:
    """A note of sentences of ten letters."""
    rows = [{"id": "a", "start": 10 * i, "end": 10 * i + 10, "score": score} for i, score in enumerate(scores)]
    return pl.DataFrame(rows)


def spans(*edges: tuple[int, int], key: str = "a") -> pl.DataFrame:
    return pl.DataFrame([{"id": key, "start": start, "end": end} for start, end in edges])


def test_top_sentences_and_their_letters_are_held_against_the_spans() -> None:
    measured = plausibility(sentences(0.9, 0.1, 0.5, -0.2), spans((2, 6), (31, 36)), top=2)
    assert measured["precision"] == 1 / 2
    assert measured["recall"] == 1 / 2
    assert measured["f1"] == 1 / 2
    assert measured["letter_precision"] == 4 / 20
    assert measured["letter_recall"] == 4 / 9
    assert measured["letter_f1"] == pytest.approx(2 * 4 / (20 + 9))
    assert measured["letter_iou"] == 4 / 25


def test_a_span_over_two_sentences_is_found_in_both_and_one_behind_the_end_is_missed() -> None:
    over_two = plausibility(sentences(0.9, 0.8, 0.1), spans((8, 12)), top=2)
    assert (over_two["precision"], over_two["recall"]) == (1, 1)
    behind = plausibility(sentences(0.9, 0.8, 0.1), spans((8, 12), (50, 60)), top=2)
    assert (behind["precision"], behind["recall"]) == (1, 2 / 3)


def test_perfect_sentences_are_perfect_and_notes_count_alike() -> None:
    two = pl.concat([sentences(1.0, 0.0), sentences(0.0, 1.0).with_columns(id=pl.lit("b"))])
    true = pl.concat([spans((0, 10)), spans((0, 10), key="b"), spans((0, 5), key="elsewhere")])
    alone = plausibility(sentences(1.0, 0.0), spans((0, 10)), top=1)
    assert set(alone.values()) == {1}
    assert set(plausibility(two, true, top=1).values()) == {0.5}


def test_notes_without_a_span_are_refused() -> None:
    with pytest.raises(UserError, match="none of the spans is of a note that was explained"):
        plausibility(sentences(1.0), spans((0, 4), key="b"))
