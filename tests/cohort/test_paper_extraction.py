from hypothesis import given, settings
from hypothesis import strategies as st

from src.benchmarks.preparation import PATTERNS
from src.cohort.paper_extraction import paper_course


def by_backtracking(text: str) -> str | None:
    for pattern in PATTERNS:
        if found := pattern.search(text):
            return found.group(1)
    return None


PIECES = st.sampled_from(
    [
        "Brief Hospital Course", "Medications on Admission", "___ on Admission", "___  on Admission",
        "Discharge Medications", "Gap-___", "Mg-1.___", "\n", " ", ":", "é stable", "BRIEF HOSPITAL COURSE",
        "\r\n",
    ]
)  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(notes=st.lists(st.lists(PIECES, max_size=14).map("".join), min_size=1, max_size=6))
def test_the_linear_extractor_is_the_backtracking_one(notes: list[str]) -> None:
    found = [None if course is None else course.decode() for course in paper_course([note.encode() for note in notes])]
    assert found == [by_backtracking(note) for note in notes]


def test_a_later_heading_is_not_tried_when_the_first_has_no_terminator_below() -> None:
    assert paper_course([b"Brief Hospital Course:\nHome.\nDischarge Condition:\nGood"]) == [None]
