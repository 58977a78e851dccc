import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from src.evaluation.comparison import compare, read_runs
from src.runs.finished import Run, read_run
from src.scaling_analysis.analysis import METRICS, analyse
from src.scaling_analysis.combined_interval import combined_interval
from src.scaling_analysis.grid import gather
from src.scaling_analysis.result import Scaling
from src.scaling_analysis.result_tables import as_json, as_text, tables, write_scaling
from src.scaling_analysis.run_sources import Source
from src.testing.made_up_runs import SIZES, Truth, grid_of

STILL = Truth(seeds=1e-7, patients=1e-7)
"""A law that its runs follow exactly."""


def study(runs: Sequence[Run], **more: Any) -> Scaling:
    return analyse(Source(tuple(runs)), **more)


def changed(run: Run, **more: Any) -> Run:
    return dataclasses.replace(run, record=dataclasses.replace(run.record, **more))


def test_a_cell_s_mean_has_student_s_interval_over_its_seeds() -> None:
    cell = study(grid_of(Truth())).cells[0]
    told = cell.metrics["val/loss"]  # symmetric, for a loss is no share
    values = list(told.values.values())
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (told.seeds.low, told.seeds.high) == pytest.approx((low, high))
    assert told.both == told.seeds
    assert math.isnan(told.patients.low)


def test_a_cell_of_one_seed_has_its_run_s_recorded_interval() -> None:
    runs = grid_of(Truth(), seeds=1)
    by_name = {run.name: run for run in runs}
    for cell in study(runs).cells:
        told = cell.metrics["test/accuracy"]
        recorded = by_name[cell.runs[0]].record.intervals["test/accuracy"]
        assert (told.both.low, told.both.high) == pytest.approx(recorded, abs=1e-9)
        assert math.isnan(told.seeds.low)


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_a_share_that_is_nothing_or_all_has_no_interval_beyond_it_and_a_loss_has_no_bounds(accuracy: float) -> None:
    recorded = {0.0: (0.0, 0.1), 1.0: (0.9, 1.0)}[accuracy]
    runs = [
        changed(run, metrics={"test/accuracy": accuracy}, intervals={"test/accuracy": recorded})
        for run in grid_of(Truth(), seeds=2)
    ]
    for cell in study(runs).cells:
        told = cell.metrics["test/accuracy"]
        assert (told.both.low, told.both.high) == (told.patients.low, told.patients.high) == pytest.approx(recorded)
    apart = combined_interval(0.0, 0.01, 2, 0.01, share=False)
    assert -apart.both.low == apart.both.high > 0


def test_seeds_and_patients_together_are_wider_than_either_and_no_wider_than_their_sum() -> None:
    for cell in study(grid_of(Truth())).cells:
        told = cell.metrics["test/accuracy"]
        spread, seeds, patients = (each.high - each.low for each in (told.both, told.seeds, told.patients))
        assert patients < spread < seeds + patients


def test_neighbours_are_one_step_apart_on_one_axis() -> None:
    found = study(grid_of(Truth(), ranks=(4, 8, 16), labels=("single", "two"), seeds=2), metrics=["test/accuracy"])
    accuracy = [each for each in found.differences if each.metric == "test/accuracy"]
    assert {axis: sum(each.axis == axis for each in accuracy) for axis in found.varied} == {
        "params": 2 * 3 * 3 * 2, "max_len": 2 * 3 * 3 * 2, "lora_r": 2 * 3 * 3 * 2, "labels": 27,
    }  # fmt: skip
    for each in accuracy:
        one, other = (found.cells[at].axes for at in (each.one, each.other))
        apart = {name for name in one if one[name] != other[name]}
        assert apart == {"params": {"params", "model"}, "lora_r": {"lora_r", "lora_alpha"}}.get(each.axis, {each.axis})


def test_losses_of_two_label_schemes_are_not_compared() -> None:
    found = study(grid_of(Truth(), labels=("single", "two"), seeds=2), metrics=["val/loss"])
    assert {each.axis for each in found.differences} == {"params", "max_len"}


def test_a_loss_s_difference_is_the_paired_t_test_s() -> None:
    found = study(grid_of(Truth()))
    seen = 0
    for each in (each for each in found.differences if each.metric == "val/loss"):
        one, other = (list(found.cells[at].metrics["val/loss"].values.values()) for at in (each.one, each.other))
        assert each.p == pytest.approx(stats.ttest_rel(one, other).pvalue)
        seen += 1
    assert seen == 12


def test_cells_that_share_no_seed_are_compared_unpaired() -> None:
    runs = grid_of(Truth(), models=("pico",), lengths=(96, 192), seeds=4)
    kept = [run for run in runs if (run.axes["seed"] < 2) == (run.axes["max_len"] == 96)]
    (told,) = (each for each in study(kept).differences if each.metric == "test/accuracy")
    means = [np.mean([run.metrics["test/accuracy"] for run in kept if run.axes["max_len"] == n]) for n in (192, 96)]
    assert told.value == pytest.approx(means[0] - means[1])


def test_fits_recover_a_law_that_the_runs_follow() -> None:
    found = study(grid_of(STILL, lengths=(96, 192, 384, 768), models=("femto", "pico", "nano", "micro")))
    (fit,) = found.fits_of("test/accuracy", ("params", "max_len"))
    told = {name: each.value for name, each in fit.parameters.items()}
    size, length = fit.reference
    assert told["a"] == pytest.approx(1 - STILL.e, abs=1e-3)
    assert (told["c"], told["f"]) == pytest.approx((STILL.c, STILL.f), abs=1e-2)
    assert told["b"] == pytest.approx(STILL.b * (size / 1e6) ** -STILL.c, rel=1e-2)
    assert told["d"] == pytest.approx(STILL.d * (length / 100) ** -STILL.f, rel=1e-2)
    assert fit.identified
    value, low, high = fit.at([(SIZES["milli"], 1536)])
    assert value[0] == pytest.approx(STILL.accuracy(SIZES["milli"], 1536), abs=2e-3)
    assert low[0] <= value[0] <= high[0]


def test_the_largest_cell_is_predicted_from_the_others() -> None:
    found = study(grid_of(STILL))
    for each in found.held_out:
        assert each.points == 8
        assert abs(each.error) < 2e-3
        assert abs(each.error) < abs(each.no_growth - each.measured)
        axes = found.cells[each.cell].axes
        assert (axes["model"], axes["max_len"]) == ("nano", 384)
    assert {each.metric for each in found.held_out} == set(METRICS)


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    truth, hits, tried = Truth(), dict.fromkeys(("cell", "difference", "curve", "next", "held out"), 0), 40
    for draw in range(tried):
        found = study(grid_of(truth, draw=draw), metrics=["test/accuracy"])
        pico = found.cells[4].axes
        told = found.cells[4].metrics["test/accuracy"]
        hits["cell"] += told.low <= truth.accuracy(pico["params"], pico["max_len"]) <= told.high
        step = found.differences[0]
        ends = (found.cells[at].axes for at in (step.one, step.other))
        above, below = (truth.accuracy(each["params"], each["max_len"]) for each in ends)
        hits["difference"] += step.both.low <= above - below <= step.both.high
        (fit,) = found.fits_of("test/accuracy", ("params", "max_len"))
        points = [(SIZES["pico"], 192), (4_860_000, 768)]
        _, low, high = fit.at(points)
        inside = [low[at] <= truth.accuracy(*points[at]) <= high[at] for at in range(2)]
        hits["curve"], hits["next"] = hits["curve"] + inside[0], hits["next"] + inside[1]
        (held,) = found.held_out
        hits["held out"] += held.low <= held.measured <= held.high
    assert all(each >= 0.8 * tried for each in hits.values()), hits


def test_a_law_that_the_points_contradict_is_wrong_by_its_misfit_and_its_band_is_wider() -> None:
    told = []
    for together in (0.0, 0.1):
        found = study(grid_of(Truth(together=together)), metrics=["test/accuracy"])
        (fit,) = found.fits_of("test/accuracy", ("params", "max_len"))
        (_, low, high), (held,) = fit.at([(SIZES["pico"], 192)]), found.held_out
        told.append((fit.misfit, high[0] - low[0], abs(held.error), held.high - held.low))
    assert all(wrong > 1.5 * right for right, wrong in zip(*told, strict=True)), told


def test_a_law_without_effect_is_not_identified_rather_than_printed() -> None:
    found = study(grid_of(Truth(b=0.0, d=0.0)))
    (fit,) = found.fits_of("test/accuracy", ("params", "max_len"))
    assert not fit.identified
    assert "c not identified" in as_text(found, METRICS)


def test_two_sizes_and_lengths_are_compared_but_not_fitted() -> None:
    found = study(grid_of(Truth(), models=("pico", "nano"), lengths=(96, 192)))
    assert found.differences
    assert not found.fits_of("test/accuracy", ("params", "max_len"))
    assert not found.fits_of("test/accuracy", ("params",))
    assert not found.held_out


def test_sizes_with_a_length_of_their_own_are_fitted_over_compute_alone() -> None:
    diagonal = []
    for step in range(6):
        for run in grid_of(Truth(), models=("nano",), lengths=(64 << step,)):
            model = {"model": f"base{step}", "params": 64_000 << step}
            axes = {**run.record.axes, **model}
            diagonal.append(dataclasses.replace(changed(run, axes=axes), name=f"{run.name}-{step}"))
    overs = {fit.over for fit in study(diagonal).fits}
    assert ("params", "max_len") not in overs
    assert ("flop",) in overs


def test_one_size_is_fitted_over_its_lengths_alone() -> None:
    found = study(grid_of(Truth(), models=("nano",), lengths=(96, 192, 384, 768)))
    assert found.varied == ("max_len",)
    assert {fit.over for fit in found.fits} == {("max_len",), ("flop",)}
    assert {each.over for each in found.held_out} == {("max_len",)}


def test_the_next_size_and_length_and_the_holes_are_predicted() -> None:
    runs = [run for run in grid_of(Truth()) if (run.axes["model"], run.axes["max_len"]) != ("nano", 384)]
    found = study(runs)
    told = {each.why: each for each in found.predictions if each.metric == "test/accuracy" and len(each.at) == 2}
    assert told["a hole of the grid"].at == {"params": 1_328_256, "max_len": 384}
    assert told["next length"].at["max_len"] == 768
    assert told["next size"].at["params"] == round(1_328_256**2 / 362_816)
    assert all(each.low <= each.value <= each.high for each in told.values())


def test_holes_of_the_product_are_named_as_they_are_typed() -> None:
    runs = grid_of(Truth())
    found = study([run for run in runs if run.name != runs[13].name])
    assert [each.words for each in found.missing] == ["model=pico max_len=192 seed=1"]


def test_what_a_sweep_has_is_all_that_is_missing_of_it() -> None:
    assert not analyse(Source(tuple(grid_of(Truth())[:20]), closed=True)).missing


def test_metrics_that_are_not_defined_are_left_out_of_their_cell() -> None:
    runs = grid_of(Truth())
    runs[0] = changed(runs[0], metrics={**runs[0].metrics, "test/accuracy": None, "test/top5": math.nan})
    cell = study(runs).cells[0]
    assert list(cell.metrics["test/accuracy"].values) == [1, 2]
    assert len(cell.metrics["test/top5"].values) == 2
    assert len(cell.metrics["test/macro_f1"].values) == 3


def test_cohorts_are_never_compared() -> None:
    runs = [*grid_of(Truth(), models=("pico",)), *grid_of(Truth(), models=("nano",), cohort="decade00")]
    found = study(runs)
    assert len(found.grounds) == 2
    assert {each.axis for each in found.differences} == {"max_len"}
    for fit in found.fits:
        assert len({found.cells[at].ground for at in fit.cells}) == 1
    assert any("kept apart" in note for note in found.notes)


def test_protocols_and_numbers_of_notes_are_kept_apart_too() -> None:
    runs = grid_of(Truth(), models=("pico",), lengths=(96,), seeds=3)
    runs[0] = changed(runs[0], axes={**runs[0].axes, "protocol": "paper"})
    runs[1] = changed(runs[1], counts={**runs[1].record.counts, "train": 60})
    assert len(study(runs).grounds) == 3


def test_runs_that_differ_in_no_axis_are_named_and_not_averaged() -> None:
    runs = grid_of(Truth(), models=("pico",), lengths=(96,))
    found = study([*runs, dataclasses.replace(runs[0], name="zz")])
    assert found.cells[0].seeds == 3
    assert any(note.startswith("zz is left out") for note in found.notes)


def test_a_baseline_is_a_cell_but_no_point_of_a_fit() -> None:
    runs = grid_of(Truth())
    axes = {**runs[0].axes, "model": "tfidf", "params": 0}
    found = study([*runs, dataclasses.replace(changed(runs[0], axes=axes), name="tfidf")])
    (at,) = (at for at, cell in enumerate(found.cells) if cell.axes["model"] == "tfidf")
    assert found.varied == ("params", "max_len")
    assert not any(at in fit.cells for fit in found.fits)
    assert not any(at in (each.one, each.other) for each in found.differences)
    assert not found.missing


def test_baselines_alone_are_cells_and_nothing_more() -> None:
    runs = grid_of(Truth(), models=("pico",), lengths=(96,), seeds=2)
    found = study([changed(run, axes={**run.axes, "model": "tfidf", "params": 0}) for run in runs])
    assert [cell.seeds for cell in found.cells] == [2]
    assert (found.differences, found.fits, found.missing) == ((), (), ())
    assert "2 runs in 1 cells" in as_text(found, METRICS)


def test_a_learning_rate_that_goes_with_the_size_is_no_axis_of_its_own() -> None:
    rates = {"femto": 1e-3, "pico": 2e-3, "nano": 2e-3}
    runs = [changed(run, axes={**run.axes, "lr": rates[run.axes["model"]]}) for run in grid_of(Truth())]
    grid = gather(runs)
    assert grid.free == ("params", "max_len")
    assert grid.tied == {"params": ("lr",)}
    assert any("lr changes with params" in note for note in grid.notes)


def test_the_same_runs_and_seed_give_the_same_numbers_in_any_order() -> None:
    runs = grid_of(Truth())
    told = [json.dumps(as_json(study(each, seed=4))) for each in (runs, runs[::-1])]
    assert told[0] == told[1]
    assert told[0] != json.dumps(as_json(study(runs, seed=5)))


def test_what_is_written_holds_every_number(tmp_path: Path) -> None:
    found = study(grid_of(Truth()))
    told = json.loads(write_scaling(found, tmp_path).read_text())
    assert told["cells"][0]["metrics"]["test/accuracy"]["mean"] == found.cells[0].metrics["test/accuracy"].mean
    assert len(told["fits"]) == len(found.fits)
    for name, rows in tables(found).items():
        assert len((tmp_path / f"{name}.csv").read_text().splitlines()) == 1 + len(rows)


def test_predictions_give_the_paired_differences_of_the_comparison(runs: dict[str, Path], cohort: Path) -> None:
    found = study(list(map(read_run, runs.values())), data_dir=cohort)
    _, compared, space = read_runs(list(runs.values()), cohort)
    rows = compare(compared, space).differences.to_dicts()
    seen = 0
    for each in found.differences:
        if each.metric == "val/loss":
            continue
        one, other = (found.cells[at].axes["labels"] for at in (each.one, each.other))
        (row,) = (
            row for row in rows if f"test/{row['metric']}" == each.metric and {row["run"], row["than"]} == {one, other}
        )
        assert each.how == "predictions"
        assert abs(each.value) == pytest.approx(abs(row["difference"]))
        assert each.both.high - each.both.low == pytest.approx(row["high"] - row["low"], rel=0.15, abs=1e-6)
        seen += 1
    assert seen == 6


def test_predictions_that_are_not_there_are_replaced_by_recorded_intervals_and_said_so() -> None:
    runs = [dataclasses.replace(run, folder=Path("nowhere")) for run in grid_of(Truth())]
    found = study(runs)
    assert {each.how for each in found.differences} == {"recorded"}
    assert any("predictions cannot be read" in note for note in found.notes)


def test_the_analysis_needs_no_torch() -> None:
    code = "import sys, src.scaling, src.scaling_analysis.analysis, src.scaling_analysis.result_tables\n"
    code += "print('torch' in sys.modules or 'wandb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_command_refuses_what_cannot_be(command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = command("src.scaling", "nosuch", "seed=-1", "metrics=[]", ok=False)
    assert done.returncode == 2
    assert "seed=-1" in done.stderr
    assert "metrics=[]" in done.stderr
