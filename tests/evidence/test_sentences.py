import pytest

from src.evidence.sentences import split_sentences

NOTES = [
    "One sentence alone",
    "  \n\n First.   Second!  \n\n\n- third\n",
    "#CHF: EF 2.5 approx. the same.\r\n1. Aspirin 81 mg q.d. was held.\n2) Home",
    "Is it so? (Yes.) Über-\nweisung. \u00a0 Ende",
    ". . .",
]


@pytest.mark.parametrize("text", NOTES)
def test_sentences_cover_all_of_a_text_but_blanks_in_order_and_once(text: str) -> None:
    spans = split_sentences(text)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert "".join("".join(text[start:end] for start, end in spans).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Seen by Dr. Wu at 5 p.m. today. Vitamin K. given.", ["Seen by Dr. Wu at 5 p.m. today.", "Vitamin K. given."]),
        ("Na 135. K 4.2. Well.", ["Na 135.", "K 4.2.", "Well."]),
        ("pt was\nwell. then home.", ["pt was\nwell.", "then home."]),
        ("Plan:\n1. Aspirin\n2. Rest\n-walk\n* eat", ["Plan:", "1. Aspirin", "2. Rest", "-walk", "* eat"]),
        ("# Sepsis\n# AKI on CKD", ["# Sepsis", "# AKI on CKD"]),
        ("Course\n\nHe did well", ["Course", "He did well"]),
        ("s/p CABG x3: stable", ["s/p CABG x3: stable"]),
    ],
)
def test_clinical_text_is_divided_where_a_reader_would(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in split_sentences(text)] == expected
