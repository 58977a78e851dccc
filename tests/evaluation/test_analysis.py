"""Error analysis, cost, slices, calibration and selective prediction, each against a plain count."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from src.cli.errors import UserError
from src.cohort.apr import apr_drg
from src.cohort.msdrg import load_drgs
from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.cohort.weights import Weights, read_weights, weights_for
from src.evaluation.calibration import (
    Confidences,
    calibration_table,
    confidences,
    coverage_curve,
    expected_calibration_error,
    fit_temperature,
    reliability,
    selective_table,
    threshold_for,
)
from src.evaluation.cost import cost_table
from src.evaluation.error_tables import by_training_notes, confusions, costly_confusions, error_tables, kinds_of_error
from src.evaluation.groups import by_group, gap, mean_error, mean_estimate
from src.evaluation.prediction_table import label_table, prediction_table
from src.evaluation.slices import slice_table
from src.metrics.intervals import holm
from src.models.labelspace import LabelSpace
from src.runs.predictions import Predictions


@pytest.fixture(scope="module")
def space() -> LabelSpace:
    return LabelSpace.from_labels(list(load_drgs().values()))


def predicted(cohort: Path, space: LabelSpace, split: Split, seed: int = 0) -> Predictions:
    """Scores that are right on about half of a split's notes."""
    notes = read_cohort(cohort).notes(split)
    draw = np.random.default_rng(seed)
    truth = np.array([space.index[code] for code in notes["drg"]])
    scores = draw.normal(size=(len(truth), 757)).astype(np.float32)
    scores[np.arange(len(truth)), truth] += draw.normal(3, 2, len(truth)).astype(np.float32)
    return Predictions(notes["subject_id"].to_numpy(), notes["hadm_id"].to_numpy(), truth, {"scores": scores})


@pytest.fixture(scope="module")
def notes(cohort: Path, space: LabelSpace) -> pl.DataFrame:
    read = read_cohort(cohort)
    trained = read.notes(Split.TRAIN)["drg"].to_list()
    test = predicted(cohort, space, Split.TRAIN)  # many notes
    return prediction_table(test, space, read, trained, weights_for("v34"), np.arange(len(test.drg)) % 3 == 0)


def test_judged_notes_stand_beside_the_truth(notes: pl.DataFrame, cohort: Path) -> None:
    own = read_cohort(cohort).notes(Split.TRAIN)
    assert notes["hadm_id"].to_list() == own["hadm_id"].to_list()
    assert notes["words"].to_list() == own["words"].to_list()
    counts = own["drg"].value_counts()
    assert dict(zip(notes["drg"], notes["training_notes"], strict=True)) == dict(counts.iter_rows())
    drgs = load_drgs()
    assert [drgs[code].mdc for code in notes["drg"]] == notes["drg_mdc"].to_list()
    assert (notes["right"] == (notes["rank"] == 1)).all()


def test_every_table_counts_every_note_once_or_names_a_group_only(notes: pl.DataFrame) -> None:
    found = error_tables(notes)
    for name in ("by_training_notes", "by_words", "by_cut", "by_mdc", "by_type", "by_severity"):
        table = found[name]
        hidden = table["patients"].is_null()
        assert (table["patients"].drop_nulls() >= 10).all()
        assert table["notes"].sum() == notes.height if not hidden.any() else table["notes"].sum() < notes.height
        assert table["top1"].is_null().to_list() == hidden.to_list()
    assert found["kinds_of_error"]["notes"].sum() == notes.height
    medical = notes.filter(pl.col("drg_type") == "M")
    row = found["by_type"].row(by_predicate=pl.col("type") == "medical", named=True)
    assert (row["notes"], row["top1"]) == (medical.height, pytest.approx(medical["right"].mean()))


def test_macro_f1_of_a_band_equals_scikit_learn(notes: pl.DataFrame) -> None:
    from sklearn.metrics import f1_score

    table = by_training_notes(notes)
    for band, low, high in (("1 to 2", 1, 2), ("3 to 5", 3, 5), ("6 to 10", 6, 10)):
        own = notes.filter(pl.col("training_notes").is_between(low, high))["drg"].unique().to_list()
        expected = f1_score(
            notes["drg"].to_list(), notes["predicted"].to_list(), labels=own, average="macro", zero_division=0
        )
        row = table.row(by_predicate=pl.col("training_notes").cast(pl.String) == band, named=True)
        assert row["macro_f1"] == pytest.approx(expected)
        assert row["drgs"] == len(own)


def test_kinds_of_error_are_those_of_a_plain_count(notes: pl.DataFrame) -> None:
    told = dict(kinds_of_error(notes).select("what", "notes").iter_rows())
    drgs = load_drgs()
    pairs = [(drgs[one], drgs[other]) for one, other in notes.select("drg", "predicted").iter_rows()]
    assert told["DRG right"] == sum(one is other for one, other in pairs)
    base = sum(one.base_drg == other.base_drg and one is not other for one, other in pairs)
    assert told["base DRG right, severity wrong"] == base
    assert told["nothing right"] == sum(
        one.severity != other.severity and one.mdc != other.mdc and one.base_drg != other.base_drg
        for one, other in pairs
    )


def test_confusions_hold_every_wrong_note_and_the_costliest_come_first(notes: pl.DataFrame) -> None:
    wrong = confusions(notes)
    assert wrong["notes"].sum() == (~notes["right"]).sum()
    same = {drg.code for drg in load_drgs().values() if drg.base_drg == "HEART FAILURE AND SHOCK"}
    inside = wrong.filter(pl.col("drg").is_in(same) & pl.col("predicted").is_in(same))
    assert set(inside["nearness"]) <= {"same base DRG"}
    shifted = costly_confusions(notes)["weight_shifted"].abs()
    assert shifted.is_sorted(descending=True)


def test_cost_is_that_of_a_plain_count(notes: pl.DataFrame) -> None:
    weights = weights_for("v34")
    pairs = [
        (weights.of[one], weights.of[other])
        for one, other in notes.select("drg", "predicted").iter_rows()
        if one in weights.of and other in weights.of
    ]
    told = {row["measure"]: row for row in cost_table(notes, weights).to_dicts()}
    true, guess = np.array(pairs).T
    assert told["share of notes"]["value"] == len(pairs) / notes.height
    assert told["CMI error"]["value"] == pytest.approx(guess.mean() - true.mean())
    assert told["CMI error, size"]["value"] == pytest.approx(abs(guess.mean() - true.mean()))
    assert told["CMI error, relative"]["value"] == pytest.approx(guess.mean() / true.mean() - 1)
    assert told["weight error, size"]["value"] == pytest.approx(np.abs(guess - true).mean())
    over, under = told["over-payment"]["value"], told["under-payment"]["value"]
    assert over - under == pytest.approx(told["CMI error"]["value"])
    for row in told.values():
        assert row["low"] is None or row["low"] <= row["value"] <= row["high"]


def test_table_5_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "FY 2017 Table 5.txt"
    header = "TABLE 5.\u2014LIST OF MS-DRGs\n\nTYPE\tMS-DRG\tTitle\tWeights\tGMLOS\n"
    path.write_bytes((header + "SURG\t001\tHEART\t25.5\t3\nMED\t998\tX\t.\t.\n").encode("cp1252"))
    assert read_weights(path) == Weights("FY 2017", {"001": 25.5}, {"001": 3.0})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "is a zip archive"),
        (b"a,b\n1,2\n", "no header"),
        (b"MS-DRG\tWeights\n998\t.\n", "no DRG has a weight"),
    ],
)
def test_what_is_no_table_5_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "t")


def test_a_mean_by_patient_has_the_error_of_its_definition() -> None:
    draw = np.random.default_rng(0)
    patients = np.repeat(np.arange(200), draw.integers(1, 5, 200))
    values = (draw.random(len(patients)) < draw.random(200)[patients]).astype(float)
    means = []
    for _ in range(3000):
        drawn = draw.integers(0, 200, 200)
        times = np.bincount(drawn, minlength=200)[patients]
        means.append((times * values).sum() / times.sum())
    assert mean_error(values, patients) == pytest.approx(np.std(means), rel=0.05)


def test_the_interval_of_a_group_in_which_all_are_right_is_not_a_point() -> None:
    told = mean_estimate(np.ones(12), np.arange(12))
    assert (round(told.low, 2), told.high) == (0.76, 1.0)


def test_a_gap_is_found_where_there_is_one_and_small_groups_are_named_only() -> None:
    draw = np.random.default_rng(0)
    count = 1200
    old, few = np.arange(count) % 2 == 0, np.arange(count) < 9
    frame = pl.DataFrame(
        {
            "subject_id": np.arange(count),
            "right": draw.random(count) < np.where(old, 0.7, 0.4),
            "rank": 1,
            "age": np.where(old, 80, 30),
            "race": np.where(few, "ASIAN - CHINESE", "BLACK/CAPE VERDEAN"),
            "sex": np.where(np.arange(count) % 3 == 0, "F", "M"),
        }
    )
    table = slice_table(frame)
    rows = {(row["attribute"], row["group"]): row for row in table.to_dicts()}
    young = rows["age", "18 to 44"]
    right = frame["right"].to_numpy()
    assert young["gap"] == pytest.approx(right[~old].mean() - right[old].mean())
    assert young["p_holm"] < 1e-6
    assert rows["age", "75 to 84"]["p"] is None
    assert rows["race", "Asian"] == dict.fromkeys(table.columns) | {"attribute": "race", "group": "Asian"}
    assert rows["sex", "F"]["p_holm"] > 0.05
    tested = table["p"].drop_nulls().to_list()
    assert table["p_holm"].drop_nulls().to_list() == pytest.approx(holm(tested))


def test_apr_drgs_are_sliced_by_risk_of_mortality_and_have_no_mdc_and_no_cost() -> None:
    labels = [apr_drg(code, {"194": "HEART FAILURE"}) for code in ("194-1", "194-4", "720-4")]
    described = label_table(labels, weights_for("apr"))
    assert described["weight"].to_list() == described["gmlos"].to_list() == [None] * 3
    count = 90
    frame = pl.DataFrame(
        {
            "subject_id": np.arange(count), "rank": 1, "training_notes": 3, "words": 60, "right": np.arange(count) > 44,
            "risk_of_mortality": np.arange(count) // 30 + 1, "drg": ["194-1", "194-4", "720-4"] * 30,
            "predicted": ["194-1", "720-4", "720-4"] * 30,
        }
    )  # fmt: skip
    for side in ("drg", "predicted"):
        columns = {name: f"{side}_{name}" for name in described.columns if name != "code"}
        frame = frame.join(described.rename({**columns, "code": side}), side, how="left", maintain_order="left")
    slices = slice_table(frame)
    assert slices.select("attribute", "group", "top1").rows() == [
        ("risk_of_mortality", "1", 0.0), ("risk_of_mortality", "2", 0.5), ("risk_of_mortality", "3", 1.0),
    ]  # fmt: skip
    tables = error_tables(frame.with_columns(right=pl.col("drg") == pl.col("predicted")))
    kinds = dict(tables["kinds_of_error"].select("what", "notes").iter_rows())
    assert kinds == {"DRG right": 60, "severity right, base DRG wrong": 30}
    assert dict(tables["by_severity"].select("severity", "notes").iter_rows()) == {
        "severity of illness 1": 30, "severity of illness 4": 60,
    }  # fmt: skip
    assert tables["by_mdc"].is_empty()
    assert tables["by_type"].is_empty()
    assert tables["costly_confusions"].is_empty()


def test_a_gap_counts_patients_on_both_sides_once() -> None:
    patients, inside = np.tile(np.arange(50), 2), np.arange(100) < 50
    same = np.tile((np.arange(50) % 2 == 0).astype(float), 2)
    told = gap(same, inside, patients)
    assert (told.value, told.error, told.p) == (0.0, pytest.approx(0.0), 1.0)


def test_groups_are_those_of_a_plain_count(notes: pl.DataFrame) -> None:
    table = by_group(notes, "sex")
    for name, count, top1 in table.select("sex", "notes", "top1").iter_rows():
        own = notes.filter(pl.col("sex") == name)
        assert (count, top1) == (own.height, pytest.approx(own["right"].mean()))


def made(temperature: float, notes: int = 4000, seed: int = 0) -> Predictions:
    """Predictions whose log-probabilities are right at a temperature."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(0, 2, (notes, 6))
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    truth = (chances.cumsum(1) > draw.random((notes, 1))).argmax(1)
    return Predictions(np.arange(notes), np.arange(notes), truth, {"scores": (scores * temperature).astype(np.float32)})


def test_the_temperature_is_found_on_validation_and_mends_test() -> None:
    validation, test = made(3.0, seed=1), made(3.0, seed=2)
    assert fit_temperature(validation) == pytest.approx(3.0, rel=0.06)
    before, after = calibration_table(validation, test).to_dicts()
    assert before["ece"] > 0.1
    assert after["ece"] < 0.03
    assert after["log_loss"] < before["log_loss"]
    assert after["accuracy"] == before["accuracy"]


def test_ece_is_that_of_its_definition() -> None:
    told = confidences(made(2.0))
    expected = 0.0
    for low in range(15):
        inside = (told.confidence > low / 15) & (told.confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(told.confidence[inside].mean() - told.right[inside].mean())
    assert expected_calibration_error(told) == pytest.approx(expected)
    assert reliability(told)["notes"].sum() == 4000


def test_coverage_at_the_aim_is_the_largest_that_reaches_it() -> None:
    told = confidences(made(1.0))
    threshold = threshold_for(told, 0.8)
    assert threshold is not None
    kept = told.confidence >= threshold
    assert told.right[kept].mean() >= 0.8
    for other in np.unique(told.confidence[told.confidence < threshold]):
        assert told.right[told.confidence >= other].mean() < 0.8
    curve = coverage_curve(told)
    assert curve["accuracy"][-1] == pytest.approx(told.right.mean())


def test_notes_as_sure_as_each_other_are_decided_together() -> None:
    told = Confidences(np.array([0.9, 0.5, 0.5]), np.array([True, True, False]), np.arange(3), np.zeros(3))
    assert threshold_for(told, 0.9) == 0.9
    assert threshold_for(told, 1.1) is None


def test_the_threshold_comes_from_validation_and_none_is_decided_without_one() -> None:
    validation, test = made(1.0, seed=1), made(1.0, seed=2)
    row = selective_table(validation, test, 0.8).row(0, named=True)
    assert row["coverage_low"] < row["coverage"] < row["coverage_high"]
    assert row["accuracy"] == pytest.approx(0.8, abs=0.05)
    never = selective_table(validation, test, 1.01).row(0, named=True)
    assert (never["threshold"], never["coverage"], never["accuracy"]) == (None, 0.0, None)
