"""Works out what a study shows: seconds, accuracy, agreement, what became of proposals, and weights, by arm."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy.stats import gaussian_kde, wilcoxon

from src.coding_study.agreement import Influenced, cohens_kappa, fleiss_kappa
from src.coding_study.allocation import Arm
from src.coding_study.crossed import Array, effect_of, mean_of
from src.coding_study.desk_log import Action
from src.coding_study.study_plan import Plan
from src.display.tables import Column, Entry, Estimate, Table, p_value

NONE = Estimate(float("nan"))

BANDWIDTH = 0.5
"""Of Scott's: his flattens the density at the median, and an interval from it is too long."""

RIGHT = pl.col("decided") == pl.col("adjudicated")
"""Null for readings that were deferred or not adjudicated."""

PROPOSED_RIGHT = pl.col("proposed") == pl.col("adjudicated")

CHANGES: Mapping[str, tuple[pl.Expr, pl.Expr]] = {
    "wrong proposals decided as proposed": (~PROPOSED_RIGHT, pl.col("decided") == pl.col("proposed")),
    "wrong proposals, right decisions": (~PROPOSED_RIGHT, RIGHT),
    "right proposals, wrong decisions": (PROPOSED_RIGHT, ~RIGHT),
}
"""Of adjudicated readings with a proposal: which are counted, and of them which share is told."""


@dataclass(frozen=True)
class Outcomes:
    """Measures outcomes of the readings in two arms, and the difference between them.

    Attributes:
        rows: as `src.coding_study.desk_log.Decisions` has them.
        arms: the first, with which the second is compared, and the second.
    """

    rows: pl.DataFrame
    arms: tuple[str, str]

    def having(self, outcome: pl.Expr, arm: str | None = None) -> pl.DataFrame:
        """Selects the readings that have an outcome, a column of that name, in both arms or one."""
        rows = self.rows.with_columns(outcome=outcome.cast(pl.Float64)).drop_nulls("outcome")
        return rows.filter(pl.col("arm") == arm) if arm else rows

    def share(self, outcome: pl.Expr, arm: str) -> Estimate:
        """Estimates how often an outcome is true in an arm."""
        rows = self.having(outcome, arm)
        return mean_of(rows["coder"], rows["case"]).share(rows["outcome"].to_numpy()) if rows.height else NONE

    def mean(self, outcome: pl.Expr, arm: str) -> Estimate:
        """Estimates an outcome's mean in an arm."""
        rows = self.having(outcome, arm)
        return mean_of(rows["coder"], rows["case"]).interval(rows["outcome"].to_numpy()) if rows.height else NONE

    def effect(self, outcome: pl.Expr) -> Estimate:
        """Estimates what the second arm adds to an outcome, freed of coders, cases and the period."""
        rows = self.having(outcome)
        second = (rows["arm"] == self.arms[1]).to_numpy().astype(float)
        if rows["arm"].n_unique() < 2:
            return NONE
        effect = effect_of(rows["coder"], rows["case"], second, (rows["period"] == 2).to_numpy().astype(float))
        return effect.interval(rows["outcome"].to_numpy()) if effect else NONE

    def influenced(self, outcome: pl.Expr, statistic: Callable[[pl.DataFrame], Influenced]) -> list[Estimate]:
        """Estimates a statistic in both arms, and their difference, by each reading's influence."""
        of_arms = [statistic(self.having(outcome, arm)) for arm in self.arms]
        estimates = [
            _around(value, mean_of(rows["coder"], rows["case"]).interval(rows["pseudovalue"].to_numpy()))
            if rows.height
            else NONE
            for value, rows in of_arms
        ]
        (first, _), (second, _) = of_arms
        if not all(rows.height for _, rows in of_arms):
            return [*estimates, NONE]
        both = Outcomes(pl.concat([rows for _, rows in of_arms]), self.arms)
        return [*estimates, _around(second - first, both.effect(pl.col("pseudovalue")))]


def result_tables(rows: pl.DataFrame, plan: Plan, weights: Mapping[str, float]) -> list[Table]:
    """Makes the tables on a study.

    Args:
        rows: as `src.coding_study.desk_log.Decisions` has them.
        plan: where the arms are masked, nothing is told of proposals, by which they would be known.
        weights: relative weight by DRG.
    """
    outcomes = Outcomes(rows, plan.arms)
    tables = [_seconds(outcomes), _shares(outcomes)]
    if plan.open and rows["proposed"].count():
        tables += [_proposals(outcomes), _weeks(outcomes)]
    tables += [_weights(outcomes, weights), _coders(outcomes)]
    return tables


def _seconds(outcomes: Outcomes) -> Table:
    first, second = outcomes.arms
    decided = pl.when(pl.col("decided").is_not_null()).then(pl.col("seconds"))
    means = [_exponential(outcomes.mean(decided.log(), arm)) for arm in outcomes.arms]
    *middles, difference = outcomes.influenced(decided, median_of)
    rows: list[Sequence[Entry]] = [
        ("geometric mean", *means, _exponential(outcomes.effect(decided.log())), None),
        ("median", *middles, None, difference),
    ]
    columns = [
        Column("measure", "seconds a case"), Column(first, first, 1), Column(second, second, 1),
        Column("ratio", f"{second} / {first}"), Column("difference", f"{second} less {first}", 1),
    ]  # fmt: skip
    return Table("seconds", "Seconds a case", columns, rows)


def _exponential(estimate: Estimate) -> Estimate:
    return Estimate(*(float(np.exp(part)) for part in (estimate.value, estimate.low, estimate.high)))


def median_of(rows: pl.DataFrame) -> Influenced:
    """Computes the median of outcomes above nothing."""
    values = rows["outcome"].to_numpy()
    if not rows.height:
        return float("nan"), rows
    median = float(np.median(values))
    if np.ptp(values) == 0:
        return median, rows.with_columns(pseudovalue=median)
    # The density at the median, from that of logarithms, which has no long tail.
    density = float(gaussian_kde(np.log(values), BANDWIDTH * len(values) ** -0.2)(np.log(median))[0]) / median
    return median, rows.with_columns(pseudovalue=median + ((pl.col("outcome") > median) - 0.5) / density)


def _around(value: float, estimate: Estimate) -> Estimate:
    reach = (estimate.high - estimate.low) / 2
    return Estimate(value, value - reach, value + reach)


def _shares(outcomes: Outcomes) -> Table:
    first, second = outcomes.arms
    deferred = pl.col("decided").is_null()
    rows: list[Sequence[Entry]] = [
        (name, *(outcomes.share(outcome, arm) for arm in outcomes.arms), outcomes.effect(outcome),
         outcomes.having(outcome).height)
        for name, outcome in (("accuracy", RIGHT), ("deferred", deferred))
    ]  # fmt: skip
    for name, outcome, kappa in (
        ("kappa with the adjudicated DRG (Cohen)", RIGHT, cohens_kappa),
        ("kappa between coders (Fleiss)", ~deferred, fleiss_kappa),
    ):
        kept = pl.when(outcome.is_not_null() & ~deferred).then(1)
        *arms, difference = outcomes.influenced(kept, kappa)
        most = [replace(arm, high=min(arm.high, 1.0)) for arm in arms]
        rows.append((name, *most, difference, outcomes.having(kept).height))
    columns = [
        Column("measure", "measure"), Column(first, first), Column(second, second),
        Column("difference", f"{second} less {first}"), Column("readings", "readings"),
    ]  # fmt: skip
    return Table("shares", "Accuracy, deferral and agreement", columns, rows)


def _proposals(outcomes: Outcomes) -> Table:
    assisted = pl.col("arm") == Arm.ASSISTED
    rows: list[Sequence[Entry]] = []
    for action in (Action.ACCEPT, Action.OVERRIDE):
        done = pl.when(assisted & pl.col("decided").is_not_null()).then(pl.col("action") == action)
        rows.append((f"decisions by {action}", None, outcomes.share(done, Arm.ASSISTED), None,
                     None, outcomes.having(done, Arm.ASSISTED).height))  # fmt: skip
    for name, (counted, hit) in CHANGES.items():
        outcome = pl.when(counted & pl.col("decided").is_not_null()).then(hit)
        counts = [outcomes.having(outcome, arm).height for arm in outcomes.arms]
        shares = [outcomes.share(outcome, arm) for arm in outcomes.arms]
        rows.append((name, *shares, outcomes.effect(outcome), *counts))
    first, second = outcomes.arms
    columns = [
        Column("measure", "share of"), Column(first, first), Column(second, second),
        Column("difference", f"{second} less {first}"), Column(f"readings_{first}", f"readings {first}"),
        Column(f"readings_{second}", f"readings {second}"),
    ]  # fmt: skip
    title = "What became of proposals; those of the arm alone were logged and not shown"
    return Table("proposals", title, columns, rows)


def _weeks(outcomes: Outcomes) -> Table:
    """Says of each week of the calendar how often assisted coders decided as proposed: whether they take it up."""
    assisted = outcomes.having(pl.when(pl.col("decided").is_not_null()).then(pl.col("action") == Action.ACCEPT),
                               Arm.ASSISTED)  # fmt: skip
    rows: list[Sequence[Entry]] = [
        (week, Outcomes(own, outcomes.arms).share(pl.col("outcome"), Arm.ASSISTED), own["coder"].n_unique(), own.height)
        for (week,), own in assisted.group_by("week", maintain_order=True)
    ]
    columns = [
        Column("week", "week"), Column("accepted", "proposals accepted"), Column("coders", "coders"),
        Column("readings", "decisions"),
    ]  # fmt: skip
    return Table("weeks", "Proposals accepted, week by week", columns, sorted(rows, key=lambda row: str(row[0])))


def _weights(outcomes: Outcomes, weights: Mapping[str, float]) -> Table:
    of = [pl.col(name).replace_strict(dict(weights), default=None, return_dtype=pl.Float64)
          for name in ("decided", "adjudicated")]  # fmt: skip
    shift = of[0] - of[1]
    by_case = [
        outcomes.having(shift, arm).group_by("case").agg(pl.col("outcome").mean()).sort("case") for arm in outcomes.arms
    ]
    rows: list[Sequence[Entry]] = [
        (arm, outcomes.mean(shift, arm), outcomes.mean(shift.abs(), arm), cases.height, _signed_rank(cases["outcome"]))
        for arm, cases in zip(outcomes.arms, by_case, strict=True)
    ]
    paired = by_case[0].join(by_case[1], "case", suffix="_second")
    differences = paired["outcome_second"] - paired["outcome"]
    rows.append((f"{outcomes.arms[1]} less {outcomes.arms[0]}", outcomes.effect(shift), outcomes.effect(shift.abs()),
                 paired.height, _signed_rank(differences)))  # fmt: skip
    columns = [
        Column("arm", "arm"), Column("shift", "decided less adjudicated"), Column("distance", "the same, unsigned"),
        Column("cases", "cases"), Column("p", "p (Wilcoxon, by case)"),
    ]  # fmt: skip
    return Table("weights", "Relative weights", columns, rows)


def _signed_rank(values: pl.Series) -> str | None:
    """Tests whether values lie around nothing; None where all are nothing."""
    moved: Array = values.filter(values.abs() > 1e-12).to_numpy()
    return p_value(float(wilcoxon(moved).pvalue)) if len(moved) else None


def _coders(outcomes: Outcomes) -> Table:
    rows: list[Sequence[Entry]] = []
    for (coder,), own in outcomes.rows.group_by("coder", maintain_order=True):
        cells: list[Entry] = []
        for arm in outcomes.arms:
            decided = own.filter((pl.col("arm") == arm) & pl.col("decided").is_not_null())
            cells += [decided.height, *decided.select(pl.col("seconds").median(), RIGHT.cast(pl.Float64).mean()).row(0)]
        rows.append((str(coder), *cells))
    columns = [Column("coder", "coder")]
    for arm in outcomes.arms:
        columns += [Column(f"cases_{arm}", f"cases {arm}"), Column(f"seconds_{arm}", f"median seconds {arm}", 1),
                    Column(f"accuracy_{arm}", f"accuracy {arm}")]  # fmt: skip
    return Table("coders", "Each coder", columns, sorted(rows, key=lambda row: str(row[0])))
