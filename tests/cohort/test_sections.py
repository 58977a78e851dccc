import pytest

from src.cohort.sections import discharge_diagnosis, hospital_course

AFTER = "\n \nMedications on Admission:\n1. Aspirin\n \nDischarge Diagnosis:\nPneumonia\n \nDischarge Condition:\nGood"


@pytest.mark.parametrize(
    "heading",
    [
        "Brief Hospital Course:",
        "BRIEF HOSPITAL COURSE:",
        "Brief hospital course:",
        "HOSPITAL COURSE:",
        "___ Hospital Course:",
        "Brief ___ Course:",
        "rief Hospital Course:",
    ],
)
def test_every_form_of_the_heading_is_found(heading: str) -> None:
    assert hospital_course(f"Pertinent Results:\n___\n{heading}\nShe improved.{AFTER}") == "She improved."


def test_text_on_the_headings_line_is_kept() -> None:
    assert hospital_course(f"Brief Hospital Course: She improved.{AFTER}") == "She improved."


def test_the_first_later_heading_ends_the_course() -> None:
    text = (
        f"Brief Hospital Course:\nShe improved.\n___ on Admission:\n1. Aspirin\nDischarge Medications:\n2. Iron{AFTER}"
    )
    assert hospital_course(text) == "She improved."


def test_a_heading_named_inside_a_sentence_does_not_end_the_course() -> None:
    text = f"Brief Hospital Course:\nHer medications on admission were held: all of them.{AFTER}"
    assert hospital_course(text) == "Her medications on admission were held: all of them."


def test_a_sentence_about_a_hospital_course_does_not_start_one() -> None:
    assert hospital_course("History of Present Illness:\nHer hospital course was long.") is None


def test_the_diagnosis_section_is_found_beside_the_course() -> None:
    assert discharge_diagnosis(f"Brief Hospital Course:\nShe improved.{AFTER}") == "Pneumonia"
