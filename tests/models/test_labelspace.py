from types import SimpleNamespace

import numpy as np
import pytest

from src.cli.errors import UserError
from src.models.labelspace import LabelSpace


def drg(code: str, base: str | None, severity: int | None, mdc: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(code=code, base_drg=base, severity=severity, mdc=mdc, type=None if mdc is None else "M")


HEART = [drg("291", "HEART FAILURE", 2), drg("292", "HEART FAILURE", 1), drg("293", "HEART FAILURE", 0)]
SPACE = LabelSpace.from_labels([*HEART, drg("313", "CHEST PAIN", 4)])


def test_logits_stand_in_the_order_of_the_labels() -> None:
    assert SPACE.codes == ("291", "292", "293", "313")
    assert [SPACE.index[code] for code in SPACE.codes] == [0, 1, 2, 3]


def test_base_and_severity_lead_back_to_the_drg() -> None:
    assert np.array_equal(SPACE.drg[SPACE.base, SPACE.severity], np.arange(4))
    assert SPACE.states.sum() == 4
    assert [SPACE.severities[s] for s in SPACE.severity] == [2, 1, 0, 4]
    assert [SPACE.bases[k] for k in SPACE.base] == ["HEART FAILURE"] * 3 + ["CHEST PAIN"]


def test_one_label_without_a_base_leaves_the_space_without_severity() -> None:
    space = LabelSpace.from_labels([*HEART, drg("palliative care", None, None)])
    assert not space.has_severity
    assert space.states.shape == (0, 0)


def test_one_label_without_an_mdc_leaves_the_space_without_levels() -> None:
    stroke, none, fall = drg("064", "STROKE", 2, "01"), drg("998", "INVALID", 4, ""), drg("fall", "FALL", 4)
    space = LabelSpace.from_labels([stroke, none])
    assert (space.mdcs, space.mdc.tolist(), space.types, space.type.tolist()) == (("", "01"), [1, 0], ("M",), [0, 0])
    assert LabelSpace.from_labels([stroke, none, fall]).mdcs == ()


def test_all_757_codes_of_v34_are_told_apart_by_base_and_severity() -> None:
    msdrg = pytest.importorskip("src.cohort.msdrg")
    space = LabelSpace.from_labels(tuple(msdrg.load_drgs("v34").values()))
    assert (len(space.codes), len(space.bases), len(space.severities)) == (757, 340, 5)
    assert np.array_equal(space.drg[space.base, space.severity], np.arange(757))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "no labels"),
        ([HEART[0], HEART[0]], "291 comes twice"),
        ([HEART[0], drg("999", "HEART FAILURE", 2)], "291 and 999 have the same base DRG and severity"),
    ],
)
def test_labels_that_no_head_can_tell_apart_are_refused(labels: list[SimpleNamespace], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LabelSpace.from_labels(labels)
