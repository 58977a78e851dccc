"""Draws the line to beat: TF-IDF and a linear model.

Its stopping rule is of no paper: 7 passes of stochastic gradient descent. The learning rate follows from the penalty,
as Bottou (2012) has it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

WORDS: dict[str, Any] = {"sublinear_tf": True, "ngram_range": (1, 2), "dtype": np.float32}
"""How words are weighted, in training and after."""


class TfidfLinear:
    """Words and word pairs weighted by TF-IDF, then one linear classifier a class."""

    def __init__(self, seed: int = 0) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import SGDClassifier

        self._words = TfidfVectorizer(min_df=3, max_features=40_000, **WORDS)
        self._linear = SGDClassifier(
            loss="modified_huber", alpha=1e-5, max_iter=7, tol=None, random_state=seed, n_jobs=1
        )

    def fit(self, texts: Sequence[str], labels: Sequence[Any], more: csr_matrix | None = None) -> "TfidfLinear":
        """Fits on texts with their labels, and on further columns of each text."""
        self._linear.fit(_beside(self._words.fit_transform(texts), more), labels)
        return self

    def learnt(self) -> tuple[dict[str, int], dict[str, NDArray[Any]]]:
        """The vocabulary, and `idf`, `coef`, `intercept` and `classes`, a row of `coef` for each class."""
        vocabulary = {word: int(column) for word, column in self._words.vocabulary_.items()}
        arrays = {"idf": self._words.idf_.astype(np.float32), "classes": np.asarray(self._linear.classes_)}
        coef, intercept = self._linear.coef_.astype(np.float32), self._linear.intercept_
        if len(coef) == 1:  # of two classes scikit-learn keeps the second's
            coef, intercept = np.concatenate([-coef, coef]), np.concatenate([-intercept, intercept])
        return vocabulary, {**arrays, "coef": coef, "intercept": intercept}

    def scores(self, texts: Sequence[str]) -> tuple[NDArray[np.float64], list[str]]:
        """Returns decision values [B, classes] and the names of the classes met in training."""
        values = self._linear.decision_function(self._words.transform(texts))
        classes = [str(name) for name in self._linear.classes_]
        return (np.stack([-values, values], axis=1) if values.ndim == 1 else values), classes

    def predict(self, texts: Sequence[str]) -> NDArray[np.str_]:
        """Returns the likeliest class of each text."""
        return np.asarray(self._linear.predict(self._words.transform(texts)))


def vectorizer(vocabulary: dict[str, int], idf: NDArray[np.float32]) -> Any:
    """Rebuilds the weighting of words that a fitted model learnt."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(vocabulary=vocabulary, **WORDS)
    words.idf_ = idf
    return words


def linear_scores(words: Any, more: csr_matrix | None, weights: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Computes decision values [B, classes] of weighted words and further columns."""
    return np.asarray(_beside(words, more) @ weights["coef"].T + weights["intercept"], dtype=np.float64)


def _beside(words: Any, more: csr_matrix | None) -> Any:
    return words if more is None else hstack([words, more]).tocsr()


def first_words(text: str, words: int) -> str:
    """Returns the first words of a text.

    >>> first_words("acute on chronic CHF", 2)
    'acute on'
    """
    return " ".join(text.split()[:words])
