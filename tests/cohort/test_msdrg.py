from collections import Counter, defaultdict
from itertools import chain, combinations

import pytest
from drgpy._runtime_data import load_runtime_data

from src.cohort.msdrg import VERSIONS, DrgType, Severity, load_drgs, package_table, recombine, split_title

DRGS = load_drgs()


def states_of_bases() -> dict[str, frozenset[int]]:
    states = defaultdict(set)
    for drg in DRGS.values():
        states[drg.base_drg].add(int(drg.severity))
    return {base: frozenset(found) for base, found in states.items()}


def test_v34_has_757_drgs_and_340_base_drgs() -> None:
    assert len(DRGS) == 757
    assert len(states_of_bases()) == 340


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_version_read_alone_is_the_packages(version: str) -> None:
    assert package_table(version) == load_runtime_data(version).drgmap


def test_only_four_sets_of_states_exist() -> None:
    counts = Counter(states_of_bases().values())
    assert counts == {frozenset({0, 1, 2}): 154, frozenset({4}): 77, frozenset({2, 3}): 66, frozenset({0, 1}): 43}


@pytest.mark.parametrize("version", VERSIONS)
def test_in_every_version_a_base_drg_has_one_of_these_sets_of_states(version: str) -> None:
    states = defaultdict(set)
    for drg in load_drgs(version).values():
        states[drg.base_drg].add(int(drg.severity))
        assert drg.title == " ".join(drg.title.split())
    assert {frozenset(members) for members in states.values()} == set(states_of_bases().values())


def test_base_and_severity_name_one_drg() -> None:
    pairs = Counter((drg.base_drg, drg.severity) for drg in DRGS.values())
    assert len(pairs) == 757


def test_codes_ascend_and_keep_their_zeros() -> None:
    assert list(DRGS) == sorted(DRGS)
    assert all(len(code) == 3 and code == drg.code for code, drg in DRGS.items())
    assert "001" in DRGS


@pytest.mark.parametrize("code", ["765", "766", "767", "774", "775", "781", "782", "685"])
def test_codes_that_later_versions_retired_are_there(code: str) -> None:
    assert code in DRGS


@pytest.mark.parametrize("code", ["783", "788", "807", "833", "018", "521"])
def test_codes_that_later_versions_added_are_not_there(code: str) -> None:
    assert code not in DRGS


def test_known_drgs_read_as_the_manual_prints_them() -> None:
    failure = DRGS["291"]
    assert (failure.mdc, failure.type, failure.severity) == ("05", DrgType.MEDICAL, Severity.WITH_MCC)
    assert DRGS["470"].severity is Severity.WITHOUT_MCC
    assert DRGS["765"].severity is Severity.WITH_CC
    assert DRGS["313"].severity is Severity.NONE


def test_every_title_splits_into_its_base_and_severity() -> None:
    for drg in DRGS.values():
        base, severity = split_title(drg.title)
        assert severity is drg.severity
        assert base == drg.base_drg or drg.code == "837"


def test_a_predicted_state_that_the_base_has_is_kept() -> None:
    for allowed in set(states_of_bases().values()):
        assert all(recombine(allowed, state) == state for state in allowed)


@pytest.mark.parametrize(
    ("allowed", "predicted", "expected"),
    [
        ({4}, 2, 4),
        ({0, 1, 2}, 3, 0),
        ({0, 1, 2}, 4, 0),
        ({2, 3}, 0, 3),
        ({2, 3}, 1, 3),
        ({2, 3}, 4, 3),
        ({0, 1}, 2, 1),
        ({0, 1}, 3, 0),
        ({0, 1}, 4, 0),
    ],
)
def test_the_rule_sends_other_states_where_the_paper_does(allowed: set[int], predicted: int, expected: int) -> None:
    assert recombine(allowed, predicted) == expected


def test_every_base_gets_a_state_it_has() -> None:
    for allowed in chain.from_iterable(combinations(range(5), size) for size in (1, 2, 3)):
        if frozenset(allowed) in set(states_of_bases().values()):
            assert all(recombine(set(allowed), predicted) in allowed for predicted in range(5))
