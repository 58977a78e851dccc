from src.benchmarks.study import POPULATIONS, held, readings_of


def test_each_kind_of_interval_is_counted_on_the_same_studies() -> None:
    shares = held(readings_of(6, 20), POPULATIONS["not quite alike"], studies=60, rounds=40)
    assert list(shares) == ["log seconds", "accuracy", "accuracy, assisted", "median seconds"]
    for kinds in shares.values():
        assert all(share is None or 0.85 <= share <= 1 for share in kinds)
    ours, satterthwaite, *_ = shares["log seconds"]
    assert ours is not None
    assert satterthwaite is not None
    assert ours <= satterthwaite
