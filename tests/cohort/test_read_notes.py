from hypothesis import example, given, settings
from hypothesis import strategies as st

from src.cohort.read_notes import count_words

TEXT = st.text(st.sampled_from("ab \n\t\r\x0b\x1c\x1f\x01é\u00a0\u2003\u0085"), max_size=20)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.none() | TEXT, max_size=6))
@example(texts=["a\x1cb", None, ""])
def test_words_are_those_of_str_split(texts: list[str | None]) -> None:
    counted = count_words([None if text is None else text.encode() for text in texts])
    assert counted.to_list() == [None if text is None else len(text.split()) for text in texts]
