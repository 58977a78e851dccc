"""The line to beat: TF-IDF and a linear model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class TfidfLinear:
    """Words and word pairs weighted by TF-IDF, then one linear classifier a class."""

    def __init__(self, seed: int = 0) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import SGDClassifier
        from sklearn.pipeline import make_pipeline

        self._pipeline = make_pipeline(
            TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=3, max_features=40_000, dtype=np.float32),
            SGDClassifier(loss="modified_huber", alpha=1e-5, max_iter=7, tol=None, random_state=seed, n_jobs=1),
        )

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> "TfidfLinear":
        """Fits on texts with their labels."""
        self._pipeline.fit(texts, labels)
        return self

    def scores(self, texts: Sequence[str]) -> tuple[NDArray[np.float64], list[str]]:
        """Decision values [B, classes] and the names of the classes met in training."""
        values = self._pipeline.decision_function(texts)
        classes = [str(name) for name in self._pipeline[-1].classes_]
        return (np.stack([-values, values], axis=1) if values.ndim == 1 else values), classes

    def predict(self, texts: Sequence[str]) -> NDArray[np.str_]:
        """The likeliest class of each text."""
        return np.asarray(self._pipeline.predict(texts))


def first_words(text: str, words: int) -> str:
    """The first words of a text.

    >>> first_words("acute on chronic CHF", 2)
    'acute on'
    """
    return " ".join(text.split()[:words])
