"""Measures how far coders agree with each other and with the adjudicated DRG, beyond chance.

Each kappa comes with a pseudo-value for each reading: the kappa and the reading's influence on it. Their mean is the
kappa, and their mean's variance is its own where readings are many.
"""

import numpy as np
import polars as pl

from src.coding_study.crossed import Array

Influenced = tuple[float, pl.DataFrame]
"""A statistic, and the readings that count in it with their `pseudovalue`: none where the statistic is nan."""


def cohens_kappa(rows: pl.DataFrame) -> Influenced:
    """Computes Cohen's kappa of decided and adjudicated DRGs; nan where a single DRG is all there is.

    >>> rows = pl.DataFrame({"decided": ["001", "001", "002", "002"], "adjudicated": ["001", "001", "002", "001"]})
    >>> round(cohens_kappa(rows)[0], 3)
    0.5
    """
    names = np.concatenate([rows[column].to_numpy().astype(str) for column in ("decided", "adjudicated")])
    drgs, index = np.unique(names, return_inverse=True)
    decided, adjudicated = np.split(index, 2)
    of_decided, of_adjudicated = (
        np.bincount(part, minlength=len(drgs)) / rows.height for part in (decided, adjudicated)
    )
    chance = of_adjudicated[decided] + of_decided[adjudicated] - of_decided @ of_adjudicated
    return _beyond_chance(rows, (decided == adjudicated).astype(float), chance)


def fleiss_kappa(rows: pl.DataFrame) -> Influenced:
    """Computes Fleiss' kappa of coders who decided the same case, in the same arm where rows are of one.

    Cases may have different numbers of coders; those with one are left out (Fleiss 1971 with the agreement of each
    case by its own pairs).

    >>> rows = pl.DataFrame({"case": list("1122"), "coder": list("abab"), "decided": ["001", "001", "002", "003"]})
    >>> round(fleiss_kappa(rows)[0], 3)
    0.2
    """
    rows = rows.filter(pl.len().over("case") > 1)
    if rows.is_empty():
        return float("nan"), rows
    size = pl.len().over("case")
    agrees = (pl.len().over("case", "decided") - 1) / (size - 1)
    columns = rows.select(
        agrees=agrees, case=agrees.mean().over("case"), share=pl.len().over("decided") / pl.len(),
        weight=pl.len() / (pl.col("case").n_unique() * size),
    )  # fmt: skip
    own, case, share, weight = (columns[name].to_numpy() for name in columns.columns)
    mean = float((weight * case).mean())
    # A reading is one of its case's, and one of the two of each pair.
    kappa, moved = _beyond_chance(rows, mean + weight * (2 * own - case - mean), 2 * share - share.mean())
    if moved.is_empty():
        return kappa, moved
    # Who agrees little makes their partners seem to: differences between n coders shrink to n - 2 of n - 1.
    coders = moved["coder"].n_unique()
    of_coder = pl.col("pseudovalue").mean().over("coder") - kappa
    return kappa, moved.with_columns(
        pseudovalue=pl.col("pseudovalue") + of_coder / (coders - 2 if coders > 2 else float("nan"))
    )


def _beyond_chance(rows: pl.DataFrame, agreeing: Array, chance: Array) -> Influenced:
    """Computes a kappa from agreement, and from that of chance, each the mean of a value for each reading, [B]."""
    if rows.is_empty() or chance.mean() >= 1:
        return float("nan"), rows.clear()
    beyond = 1 - chance.mean()
    kappa = float(1 - (1 - agreeing.mean()) / beyond)
    moved = kappa + (agreeing - agreeing.mean() - (1 - kappa) * (chance - chance.mean())) / beyond
    return kappa, rows.with_columns(pseudovalue=moved)
