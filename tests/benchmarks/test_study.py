from src.benchmarks.study import OUTCOMES, POPULATIONS, held, readings_of


def test_every_outcome_of_simulated_studies_is_counted() -> None:
    shares = held(readings_of(6, 20), POPULATIONS["not quite alike"], studies=60)
    assert len(shares) == len(OUTCOMES)
    assert all(0.85 <= share <= 1 for share in shares)
