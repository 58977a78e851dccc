"""Divides a linear model's value for a class among the words of a note: exactly, as it is their sum."""

import re
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from src.baselines.tfidf import WORDS, vectorizer

Span = tuple[int, int]


def word_scores(
    vocabulary: dict[str, int], weights: dict[str, NDArray[np.floating]], text: str, asked: tuple[int, int | None]
) -> tuple[list[Span], NDArray[np.float64]]:
    """Computes coefficient times TF-IDF of each word and word pair, those of a word that comes again shared evenly.

    Args:
        vocabulary: columns by word.
        weights: `idf`, `coef` and `classes` of a fitted model.
        text: the note.
        asked: a DRG's index, and another's or None. The values of classes that no training note has do not follow from
            words, and count as 0.

    Returns:
        Where words and pairs stand in the text, and their scores; with the intercept they add up to the value.
    """
    model = vectorizer(vocabulary, weights["idf"])
    spans = _occurrences(text, model.token_pattern)
    row = model.transform([text]).toarray()[0]
    rows = {int(name): coef for name, coef in zip(weights["classes"], weights["coef"], strict=True)}
    zero = np.zeros_like(row)
    coef = rows.get(asked[0], zero) - (zero if asked[1] is None else rows.get(asked[1], zero))
    where, numbers = [], []
    for word, occurrences in spans.items():
        if word in vocabulary:
            column = vocabulary[word]
            where += occurrences
            numbers += [float(coef[column]) * float(row[column]) / len(occurrences)] * len(occurrences)
    return where, np.array(numbers, dtype=np.float64)


def _occurrences(text: str, pattern: str) -> dict[str, list[Span]]:
    """Finds the words of a text, and the runs of words that `WORDS` counts as one."""
    words = list(re.finditer(pattern, text))
    spans: dict[str, list[Span]] = defaultdict(list)
    least, most = WORDS["ngram_range"]
    for length in range(least, most + 1):
        for first in range(len(words) - length + 1):
            run = words[first : first + length]
            spans[" ".join(word[0].lower() for word in run)].append((run[0].start(), run[-1].end()))
    return spans
